package gateway

import (
	"log/slog"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"weir/balancer"
	"weir/config"
	"weir/gateway/cache"
	"weir/internal/mono"
	"weir/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse reads a configuration; a listener called web is there already.
func parse(t testing.TB, yaml string) *config.Config {
	t.Helper()
	const web = "listeners: [{name: web, address: '127.0.0.1:0'}]\n"
	c, err := config.Parse("test.yaml", []byte(web+yaml), func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newGateway returns a gateway with yaml in force, which ends with the test.
func newGateway(t testing.TB, yaml string) *Gateway {
	t.Helper()
	g := New(Options{Hub: telemetry.NewHub(), Log: slog.New(slog.DiscardHandler)})
	t.Cleanup(g.Close)
	reload(t, g, yaml)
	return g
}

func reload(t testing.TB, g *Gateway, yaml string) {
	t.Helper()
	s, err := g.Compile(parse(t, yaml))
	if err != nil {
		t.Fatal(err)
	}
	g.Install(s)
}

// fakeCarrier is a carrier without a connection: it answers attempts from a script and remembers what was done with it.
type fakeCarrier struct {
	question
	fields  map[string]string // by lower-case name
	stored  bool              // the body can be sent again
	prepare Verdict           // what Prepare says
	script  []Result          // of the attempts, in turn; the last one stands for all that follow
	deliver func()            // called by Deliver
	refuse  func(*Reply)      // called by Answer
	picked  []string          // endpoints, in turn
	done    int               // calls of Deliver
	replies int               // calls of Answer
	dropped int               // calls of Discard
	aborted int               // calls of Abort
	status  int               // of the last Deliver or Answer
	whole   bool              // Deliver brings answers to their end
	onTry   func(try int)     // called by Attempt
	gone    bool              // the client has left
	answer  map[string]string // fields of answers, by lower-case name
}

func (c *fakeCarrier) Field(name string) (string, bool) {
	v, ok := c.fields[name]
	return v, ok
}
func (c *fakeCarrier) Gone() bool { return c.gone }

func (c *fakeCarrier) Held() int64 { return 0 }
func (c *fakeCarrier) ResponseField(name string) (string, bool) {
	v, ok := c.answer[name]
	return v, ok
}
func (c *fakeCarrier) Header(name string) (string, bool) { return c.Field(name) }
func (c *fakeCarrier) Proto() string                     { return "HTTP/1.1" }
func (c *fakeCarrier) Replayable() bool                  { return c.stored }
func (c *fakeCarrier) Prepare(*Exchange) Verdict         { return c.prepare }
func (c *fakeCarrier) Abort()                            { c.aborted++ }
func (c *fakeCarrier) Discard()                          { c.dropped++ }
func (c *fakeCarrier) Copy(dst []byte) ([]byte, bool)    { return dst, false }
func (c *fakeCarrier) scripted(n int) Result             { return c.script[min(n, len(c.script)-1)] }
func (c *fakeCarrier) Attempt(x *Exchange, e *balancer.Endpoint) Result {
	c.picked = append(c.picked, e.Name())
	if c.onTry != nil {
		c.onTry(len(c.picked))
	}
	return c.scripted(len(c.picked) - 1)
}

func (c *fakeCarrier) Deliver(x *Exchange) {
	c.done++
	c.status = x.result.Status
	x.answered = c.status
	x.fill([]byte("body"))
	if c.deliver != nil {
		c.deliver()
	}
	if c.whole {
		x.keep()
	}
}

// Received is the answer with the fields that the script gives all of them.
func (c *fakeCarrier) Received() cache.Response {
	r := fakeAnswer{status: c.scripted(len(c.picked) - 1).Status, fields: http.Header{}}
	for name, v := range c.answer {
		r.fields.Set(name, v)
	}
	return r
}

func (c *fakeCarrier) Serve(x *Exchange, a *cache.Answer) {
	c.replies++
	c.status = a.Status
	x.answered = a.Status
}

// fakeAnswer is a response's head.
type fakeAnswer struct {
	status int
	fields http.Header
}

func (r fakeAnswer) Status() int { return r.status }
func (r fakeAnswer) Len() int    { return len(r.fields) }
func (r fakeAnswer) FieldAt(i int) (name, value string) {
	name = slices.Sorted(maps.Keys(r.fields))[i]
	return name, r.fields.Get(name)
}
func (r fakeAnswer) FieldValue(name string, i int) (string, bool) {
	v := r.fields.Values(name)
	if i >= len(v) {
		return "", false
	}
	return v[i], true
}

func (c *fakeCarrier) Answer(x *Exchange, r *Reply) {
	c.replies++
	if c.refuse != nil {
		c.refuse(r)
	}
	c.status = r.Status
	x.answered = r.Status
}

// request is a fake carrier for a request without a body.
func request(method, path string) *fakeCarrier {
	c := &fakeCarrier{stored: true, script: []Result{{Status: 200, Sent: true}}}
	c.method, c.path, c.host, c.authority = method, path, "test.local", "test.local"
	return c
}

// exchange makes an exchange for car, as an edge does.
func (g *Gateway) exchange(car carrier) *Exchange {
	x := &Exchange{gw: g, car: car, snap: g.snap.Load(), start: mono.Now(), peerText: new(peerText), peer: netip.MustParseAddr("192.0.2.1")}
	x.identify()
	return x
}
