package gateway

import (
	"math/rand/v2"
	"time"

	"weir/gateway/cache"
	"weir/internal/http1"
	"weir/internal/mono"
	"weir/limiter"
	"weir/shaping"
)

// maxBehind bounds how many answers are fetched anew behind stale ones at once: what is more stays stale for the time being.
const maxBehind = 256

// revalidate fetches anew what x is answered with though it is stale, beside it. It takes a seat if one is free, and gives up if none is.
func (g *Gateway) revalidate(x *Exchange, f *cache.Flight) {
	c := x.cached
	flying := false
	defer func() {
		if !flying {
			f.Abort()
		}
	}()
	if v := x.car.Prepare(x); v.Reason != Pass {
		return
	}
	c.answer.Flight, c.conditional = f, true
	request, ok := x.car.Copy(nil)
	c.answer.Flight, c.conditional = nil, false
	if !ok {
		return
	}
	p := x.route.pick(rand.Uint64())
	seat, free := p.gate.TryEnter()
	if !free {
		return
	}
	if g.behind.Add(1) > maxBehind {
		g.behind.Add(-1)
		seat.Leave(shaping.Ignore, 0, mono.Now())
		return
	}
	t := &refill{gw: g, flight: f, policy: &c.conf.policy, drop: &x.route.response}
	if r := x.route.recode; r != nil {
		t.document = r.answer
	}
	s := shadow{request: request, hint: x.hintFor(p), timeout: p.header, to: t}
	flying = true
	g.live.background.Go(func() {
		defer func() {
			f.Abort()
			g.behind.Add(-1)
			seat.Leave(shaping.Ignore, 0, mono.Now())
		}()
		defer g.shield("revalidation", func() {})
		p.send(&s)
	})
}

// hintFor is what a pool picks an endpoint by.
func (x *Exchange) hintFor(p *poolConf) uint64 {
	if p.hashOn < 0 {
		return rand.Uint64()
	}
	v, _ := x.Dimension(p.hashOn)
	x.frame = limiter.AppendPart(x.frame[:0], v)
	return x.gw.hasher.Sum(x.frame).Lo
}

// refill has a flight see an answer that nobody waits for. Like one that a client waits for, it is not kept if its JSON cannot be changed: what
// is stored serves on.
type refill struct {
	gw       *Gateway
	flight   *cache.Flight
	policy   *cache.Policy
	drop     *transform
	document *document // nil: answers stay as they are
	changes  bool      // and this one does not
	filling  bool
}

func (r *refill) head(h *http1.Head, at mono.Time) {
	if d := r.document; d != nil && !http1.NoBody(h.Status) {
		var v Verdict
		if r.changes, v = d.concerns(h, h.Length); v.Reason != Pass {
			return
		}
	}
	q := cache.Query{Policy: r.policy, Now: at}
	r.filling = r.flight.Begin(&q, &received{h, r.drop}, time.Now()) == cache.Stores
}

func (r *refill) piece(p []byte) { r.filling = r.filling && r.flight.Fill(p) }

func (r *refill) end() {
	if r.filling && (!r.changes || r.changeable()) {
		r.flight.Commit()
	}
}

// changeable reports whether the JSON that came can be changed.
func (r *refill) changeable() bool {
	p := r.flight.Body()
	if len(p) == 0 {
		return true
	}
	re := recodings.Get().(*recoding)
	re.gw = r.gw
	defer re.release()
	if !re.count() {
		return false
	}
	made, err := r.document.program.Apply(re.made[:0], p, nil, re)
	re.made = made
	return err == nil
}
