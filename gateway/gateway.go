package gateway

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"weir/internal/mono"
	"weir/limiter"
	"weir/telemetry"
)

// Options are what a gateway is given once, for its life.
type Options struct {
	Hub    *telemetry.Hub
	Log    *slog.Logger
	Secret [16]byte // keys the hash of dimension values; the same on all nodes of a fleet
	// HTTP01 answers ACME challenges on cleartext listeners; nil: none.
	HTTP01 func(path, host string) (body []byte, ok bool)
	// Fleet shares policies of scope: cluster with other gateways; nil: there are none. All of them must have the same Secret.
	Fleet *limiter.Fleet
	// Resolve looks up host names of endpoints; nil is the system's resolver.
	Resolve func(ctx context.Context, host string) ([]string, error)
}

// Gateway carries exchanges. Its methods are safe for concurrent use.
type Gateway struct {
	snap   atomic.Pointer[Snapshot]
	access atomic.Pointer[telemetry.AccessLog]
	hub    *telemetry.Hub
	log    *slog.Logger
	http01 func(path, host string) ([]byte, bool)
	hasher limiter.Hasher
	fleet  *limiter.Fleet // nil: policies of scope: cluster are this gateway's own

	budget              *limiter.Budget // of all buckets
	epoch               int64           // wall clock at mono.Time(0), in ns since 1970: what windows go by
	callers             *callers
	documents, encoding atomic.Int64 // bytes of JSON that is being changed, and of encoders at work

	captured atomic.Int64 // bytes of responses that are kept until their cost is known
	quotas   quotas
	pressure pressure
	adapting adapting

	refusals   [reasons]*telemetry.Counter
	exprErrors *telemetry.Counter
	floods     floodLog
	mirrors    atomic.Int64 // under way
	behind     atomic.Int64 // answers that are fetched behind stale ones
	outdated   outbox

	install  sync.Mutex // one Install at a time
	live     *live
	draining atomic.Bool
	feedsEnd atomic.Int64 // mono.Time; when draining: when the last event stream ends

	mu       sync.Mutex
	cut      bool                 // Drain has cut what was left, and waited for it
	conns    map[*h1conn]struct{} // of HTTP/1, and streams of HTTP/2
	sessions map[*session]struct{}
	tunnels  map[*tunnel]struct{} // each one of conns
	feeds    map[*feed]struct{}
	shrunk   int           // connections at the last collection for their sake; the sweep's own
	idle     chan struct{} // closed when draining and no connection is left
}

// New returns a gateway without a configuration; Install gives it one. Run must run until Close.
func New(o Options) *Gateway {
	g := &Gateway{hub: o.Hub, exprErrors: o.Hub.ExpressionErrors(), log: o.Log, http01: o.HTTP01, hasher: limiter.NewHasher(o.Secret), fleet: o.Fleet,
		budget: limiter.NewBudget(defaultMemory), epoch: mono.Time(0).Wall().UnixNano(), callers: newCallers(), conns: map[*h1conn]struct{}{}, sessions: map[*session]struct{}{}, tunnels: map[*tunnel]struct{}{}, feeds: map[*feed]struct{}{}, idle: make(chan struct{}),
		outdated: outbox{waiting: make(chan struct{}, 1)}}
	for r := range g.refusals {
		if r > 0 {
			g.refusals[r] = o.Hub.Refusal(Reason(r).String())
		}
	}
	g.live = newLive(g, o.Resolve)
	g.pressure.gw = g
	return g
}

// defaultMemory bounds the buckets until a configuration does.
const defaultMemory = 256 << 20

// SetAccessLog changes where requests are logged, and returns the log used so far, which the caller closes.
func (g *Gateway) SetAccessLog(l *telemetry.AccessLog) (old *telemetry.AccessLog) {
	return g.access.Swap(l)
}

// AccessLogDropped returns how many lines the access log in use has lost.
func (g *Gateway) AccessLogDropped() uint64 {
	if l := g.access.Load(); l != nil {
		return l.Dropped()
	}
	return 0
}

// Snapshot returns what is in force.
func (g *Gateway) Snapshot() *Snapshot { return g.snap.Load() }

// sweepEvery is how often connections are looked at for clients that left while they waited, and pools for idle
// connections that are too old.
const sweepEvery = 250 * time.Millisecond

// Run does what must be done beside requests, until ctx ends.
func (g *Gateway) Run(ctx context.Context) {
	tick, beat := time.NewTicker(sweepEvery), time.NewTicker(pressureEvery)
	defer tick.Stop()
	defer beat.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-beat.C:
			g.pressure.tick(mono.Now())
		case <-tick.C:
			g.sweep()
			g.live.expire(mono.Now())
			g.adapt(mono.Now())
			g.callers.tick(mono.Now())
			g.watchQuotas(mono.Now())
		}
	}
}

// sweep ends exchanges whose clients left while they waited for an upstream. When many more connections than at the last
// time are there and most are idle, it has the collector shrink the stacks that their first requests grew: nothing else
// might for minutes, as idle connections allocate nothing.
func (g *Gateway) sweep() {
	g.mu.Lock()
	var waiting []*h1conn
	idle, all := len(g.sessions)+len(g.tunnels), len(g.conns)+len(g.sessions) // those with streams count by them
	for c := range g.conns {
		if c.waitedATick() {
			waiting = append(waiting, c)
		}
		if c.idle() {
			idle++
		}
	}
	g.mu.Unlock()
	for _, c := range waiting {
		c.endIfGone()
	}
	switch {
	case all >= manyIdle && all > g.shrunk+g.shrunk/2 && idle > all-all/8:
		debug.FreeOSMemory()
		g.shrunk = all
	case all < g.shrunk/2:
		g.shrunk = all
	}
}

// manyIdle is how many idle connections are worth a collection.
const manyIdle = 1024

// Drain stops keep-alive: idle connections are closed, requests in flight are answered with Connection: close, tunnels and event streams
// are ended over a part of the time that ctx has. It returns when no connection is left, or when ctx ends; whatever is left then is cut,
// and the first time gets cutGrace to be accounted for. left is how many requests that cost; a tunnel is none.
func (g *Gateway) Drain(ctx context.Context) (left int) {
	within := time.Duration(0)
	if end, ok := ctx.Deadline(); ok {
		within = max(0, time.Until(end))
	}
	g.feedsEnd.Store(int64(mono.Now().Add(portion(within, feedsGone))))
	g.draining.Store(true)
	g.farewell(func(place) bool { return true }, within, endedShutdown)
	g.mu.Lock()
	conns := make([]*h1conn, 0, len(g.conns))
	for c := range g.conns {
		conns = append(conns, c)
	}
	none := g.drainedLocked()
	g.mu.Unlock()
	for _, c := range conns {
		c.endSoon()
	}
	for _, s := range g.sessionsOf("") {
		s.drain()
	}
	if !none {
		select {
		case <-ctx.Done():
		case <-g.idle:
		}
	}
	g.mu.Lock()
	for c := range g.conns {
		c.cut()
	}
	for s := range g.sessions {
		s.nc.Raw.Close() //nolint:errcheck // nothing to be done about it
	}
	left = len(g.conns) - len(g.tunnels)
	waited := g.cut
	g.cut = waited || len(g.conns)+len(g.sessions) > 0
	g.mu.Unlock()
	for end := time.Now().Add(cutGrace); !waited && g.connected() && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	return left
}

// cutGrace is how long requests that were cut may take to be settled: what their answers cost is to be on disk with the rest.
const cutGrace = 300 * time.Millisecond

// cut closes c, and ends its wait for an upstream: nobody is there any more for the answer.
func (c *h1conn) cut() {
	c.kill()
	c.endWait()
}

// connected reports whether there is a connection.
func (g *Gateway) connected() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.conns)+len(g.sessions) > 0
}

// DrainListener ends the idle connections of one listener and lets the others finish, when it goes away by a reload.
func (g *Gateway) DrainListener(name string) {
	g.mu.Lock()
	var conns []*h1conn
	for c := range g.conns {
		if c.listener == name {
			conns = append(conns, c)
		}
	}
	g.mu.Unlock()
	for _, c := range conns {
		c.leaving.Store(true)
		c.endSoon()
	}
	for _, s := range g.sessionsOf(name) {
		s.drain()
	}
	g.farewell(func(p place) bool { return p.listener == name }, g.snap.Load().conf.ShutdownTimeout, endedReload)
}

// Close stops probes and closes upstream connections. Drain comes first.
func (g *Gateway) Close() { g.live.close() }

func (g *Gateway) enroll(c *h1conn) {
	g.mu.Lock()
	g.conns[c] = struct{}{}
	g.mu.Unlock()
}

func (g *Gateway) leave(c *h1conn) {
	g.mu.Lock()
	delete(g.conns, c)
	g.drainedLocked()
	g.mu.Unlock()
}

// drainedLocked reports whether nothing is left; a Drain that waits for that is told.
func (g *Gateway) drainedLocked() bool {
	if len(g.conns)+len(g.sessions) > 0 {
		return false
	}
	if g.draining.Load() {
		select {
		case <-g.idle:
		default:
			close(g.idle)
		}
	}
	return true
}

// rebase returns s as a view of the copy of what it is a view of; s itself if that is something else.
func rebase(s string, old, new []byte) string {
	at := uintptr(unsafe.Pointer(unsafe.StringData(s))) - uintptr(unsafe.Pointer(unsafe.SliceData(old)))
	if at >= uintptr(len(old)) {
		return s
	}
	return view(new[at : at+uintptr(len(s))])
}

// view returns b as a string without copying. It is valid as long as b is not changed.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
