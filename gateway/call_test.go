package gateway

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/mono"
	"weir/shaping"
)

// message is one of gRPC of n bytes.
func message(n int) string {
	return string([]byte{0, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}) + strings.Repeat("m", n)
}

// callee answers calls as their path says: the status, where it stands, and how many messages come before.
func callee(w http.ResponseWriter, r *http.Request) {
	how, status, _ := strings.Cut(r.URL.Path[1:], "/")
	io.Copy(io.Discard, r.Body) //nolint:errcheck // the client tells
	w.Header().Set("Content-Type", "application/grpc")
	c := http.NewResponseController(w)
	switch how {
	case "head":
		w.Header().Set("Grpc-Status", status)
		return
	case "pushback":
		w.Header().Set("Grpc-Retry-Pushback-Ms", status)
		w.Header().Set("Grpc-Status", "14")
		return
	case "early":
		c.Flush() //nolint:errcheck // the client tells
	case "message", "broken":
		io.WriteString(w, message(3)) //nolint:errcheck // as above
		c.Flush()                     //nolint:errcheck // as above
	case "cut":
		c.Flush() //nolint:errcheck // as above
	}
	if how == "broken" || how == "cut" {
		panic(http.ErrAbortHandler)
	}
	if status != "none" {
		w.Header().Set(http.TrailerPrefix+"Grpc-Status", status)
	}
}

// calls is a gateway that calls go through, from a client of HTTP/2.
func calls(t *testing.T, pool, rest string, h http.HandlerFunc) (*Gateway, pair) {
	t.Helper()
	g := newGateway(t, poolYAML("    protocol: h2c\n"+pool, endpoint(t, "h2c", h))+"routes: [{name: all, pool: api}]\n"+rest)
	p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c"), DisableCompression: true}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	return g, p
}

// call makes one, and returns the status that it ended with, or how else it ended.
func (p pair) call(t *testing.T, path string, body io.Reader, fields ...string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "POST", p.url+path, struct{ io.Reader }{body})
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/grpc")
	for i := 0; i < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return "broken"
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return "broken"
	}
	return resp.Header.Get("Grpc-Status") + resp.Trailer.Get("Grpc-Status")
}

// settled waits until nothing is in progress, as the end of an answer reaches the client before it is accounted for.
func settled(t *testing.T, g *Gateway) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); everythingBack(g) != nil; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal(everythingBack(g))
		}
	}
}

// TestCallsJudged: an endpoint is judged by the status of gRPC, wherever it stands, and a failure counts once.
func TestCallsJudged(t *testing.T) {
	f := func(path, ends string, failures, faults uint64, fields ...string) {
		t.Helper()
		g, p := calls(t, "    retry: {attempts: 1}\n", "", callee)
		got := p.call(t, path, strings.NewReader(message(2)), fields...)
		settled(t, g)
		e := g.snap.Load().pools[0].balancer.Stats().Endpoints[0]
		if got != ends || e.Failures != failures || e.Faults != faults {
			t.Errorf("%s: ended with %s, %d failures and %d faults; want %s, %d and %d", path, got, e.Failures, e.Faults, ends, failures, faults)
		}
		for n := range 17 {
			want := uint64(0)
			if ends == fmt.Sprint(n) {
				want = 1
			}
			count := func() uint64 { return g.hub.Route("all").GRPC(n) }
			for end := time.Now().Add(5 * time.Second); count() < want && time.Now().Before(end); { // it is given back before it is counted
				time.Sleep(time.Millisecond)
			}
			if is := count(); is != want {
				t.Errorf("%s: status %d is counted %d times", path, n, is)
			}
		}
	}
	for _, how := range []string{"head", "early", "message"} {
		f("/"+how+"/0", "0", 0, 0)
		f("/"+how+"/14", "14", 1, 0)
		f("/"+how+"/4", "4", 1, 0)
		f("/"+how+"/4", "4", 0, 0, "grpc-timeout", "10S") // by the client's own impatience
		f("/"+how+"/13", "13", 0, 0)
		f("/"+how+"/8", "8", 0, 0)
	}
	f("/early/none", "", 0, 0)
	f("/cut/", "broken", 0, 1)
	f("/broken/", "broken", 1, 0)
}

// TestCallsOpenBreaker: calls that fail in the head or in the trailers open a breaker as a 503 does; those that work keep it closed.
func TestCallsOpenBreaker(t *testing.T) {
	f := func(path string, open bool) {
		t.Helper()
		g, p := calls(t, "    retry: {attempts: 1}\n", "", callee)
		reload(t, g, strings.Replace(poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n", g.snap.Load().pools[0].conf.Endpoints[0].Address), "failure_threshold: 0", "failure_threshold: 3", 1)+
			"routes: [{name: all, pool: api}]\n")
		for range 3 {
			p.call(t, path, strings.NewReader(message(2)))
			settled(t, g)
		}
		if state := g.snap.Load().pools[0].balancer.Stats().Endpoints[0].BreakerState; (state == "open") != open {
			t.Errorf("%s: %s", path, state)
		}
	}
	f("/head/14", true)
	f("/early/14", true)
	f("/head/0", false)
	f("/early/0", false)
	f("/head/3", false)
}

// TestRetryCodes: a call that failed with a status that the pool names, in the head of its answer, is tried again, if its request is still
// here and the endpoint does not forbid it.
func TestRetryCodes(t *testing.T) {
	ended := func(c code) Result { return Result{Status: 200, Sent: true, code: c} }
	f := func(name, on, pushback string, stored bool, first Result, tries int, least time.Duration) {
		t.Helper()
		g := newGateway(t, poolYAML("    retry: {attempts: 2, budget: 100%, on: ["+on+"]}\n", "127.0.0.1:1", "127.0.0.1:2")+"routes: [{name: all, pool: api}]")
		c := request("POST", "/")
		c.stored, c.script = stored, []Result{first, ended(codeOK)}
		if pushback != "" {
			c.answer = map[string]string{"grpc-retry-pushback-ms": pushback}
		}
		began := mono.Now()
		g.serve(g.exchange(c))
		if took := mono.Now().Sub(began); len(c.picked) != tries || c.done != 1 || took < least || took > least+5*time.Second {
			t.Errorf("%s: %d attempts in %v, want %d", name, len(c.picked), took, tries)
		}
		slices.Sort(c.picked)
		if len(slices.Compact(c.picked)) != tries {
			t.Errorf("%s: at %v", name, c.picked)
		}
	}
	f("named", "grpc-unavailable", "", true, ended(codeUnavailable), 2, 0)
	f("another", "grpc-unavailable", "", true, ended(codeInternal), 1, 0)
	f("one of two", "grpc-internal, grpc-unavailable", "", true, ended(codeInternal), 2, 0)
	f("none", "connect, reset", "", true, ended(codeUnavailable), 1, 0)
	f("no call", "grpc-unavailable", "", true, Result{Status: 200, Sent: true}, 1, 0)
	f("not known yet", "grpc-unavailable", "", true, ended(codeAwaited), 1, 0)
	f("a stream", "grpc-unavailable", "", false, ended(codeUnavailable), 1, 0)
	f("at once", "grpc-unavailable", "0", true, ended(codeUnavailable), 2, 0)
	f("later", "grpc-unavailable", "40", true, ended(codeUnavailable), 2, 40*time.Millisecond)
	f("much later", "grpc-unavailable", "60000", true, ended(codeUnavailable), 1, 0)
	f("never", "grpc-unavailable", "-1", true, ended(codeUnavailable), 1, 0)
	f("nonsense", "grpc-unavailable", "x", true, ended(codeUnavailable), 1, 0)
}

// TestRetryUnary: what came of a request without a length is sent again whole, even if the endpoint did not wait for its end.
func TestRetryUnary(t *testing.T) {
	var tries atomic.Int32
	var got atomic.Pointer[string]
	g, p := calls(t, "    retry: {attempts: 2, budget: 100%, on: [grpc-unavailable]}\n", "", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		if tries.Add(1) == 1 {
			w.Header().Set("Grpc-Status", "14")
			return
		}
		b, _ := io.ReadAll(r.Body)
		text := string(b)
		got.Store(&text)
		w.Header().Set("Grpc-Status", "0")
	})
	sent := message(1000)
	body, in := io.Pipe()
	go func() {
		for _, piece := range []string{sent[:3], sent[3:500], sent[500:]} {
			io.WriteString(in, piece) //nolint:errcheck // the call tells
		}
		in.Close()
	}()
	if status := p.call(t, "/", body); status != "0" || tries.Load() != 2 || *got.Load() != sent {
		t.Errorf("status %s after %d attempts", status, tries.Load())
	}
	settled(t, g)
	tries.Store(0)
	if status := p.call(t, "/", strings.NewReader(message(100_000))); status != "14" || tries.Load() != 1 {
		t.Errorf("a long request: status %s after %d attempts", status, tries.Load())
	}
}

// TestCallsRest: an endpoint that is unavailable for a while, as it says itself, is left alone for so long.
func TestCallsRest(t *testing.T) {
	f := func(pushback string, rests bool) {
		t.Helper()
		address := []string{endpoint(t, "h2c", callee), endpoint(t, "h2c", callee)}
		g := newGateway(t, poolYAML("    protocol: h2c\n    retry: {attempts: 1}\n", address...)+"routes: [{name: all, pool: api}]\n")
		p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c")}}, "http://" + front(t, g)}
		t.Cleanup(p.client.CloseIdleConnections)
		p.call(t, "/pushback/"+pushback, strings.NewReader(message(2)))
		settled(t, g)
		n := 0
		for _, e := range g.snap.Load().pools[0].balancer.Stats().Endpoints {
			if e.State == "resting" {
				n++
			}
		}
		if (n == 1) != rests {
			t.Errorf("%s: %d rest", pushback, n)
		}
	}
	f("5000", true)
	f("0", false)
	f("-1", false)
}

// TestCallSamples: a call that was not served says nothing of how long calls take; one that asks to be left alone says that there are too many.
func TestCallSamples(t *testing.T) {
	f := func(r Result, want shaping.Sample) {
		t.Helper()
		c := request("POST", "/")
		x := &Exchange{car: c, headAt: 1, result: r}
		if got := x.sample(); got != want {
			t.Errorf("%+v: %v, want %v", r, got, want)
		}
	}
	for c, want := range map[code]shaping.Sample{codeOK: shaping.Success, codeNotFound: shaping.Success, codeInternal: shaping.Success,
		codeUnavailable: shaping.Ignore, codeResourceExhausted: shaping.Ignore, codeCancelled: shaping.Ignore, codeDeadlineExceeded: shaping.Ignore} {
		f(Result{Status: 200, Sent: true, code: c}, want)
	}
	f(Result{Status: 200, Sent: true, code: codeUnavailable, Rest: true}, shaping.Drop)
	for pushback, rests := range map[string]bool{"0": false, "-1": false, "5": true} {
		c := request("POST", "/")
		c.answer = map[string]string{"grpc-retry-pushback-ms": pushback}
		x := &Exchange{car: c, result: Result{Status: 200, code: codeUnavailable}}
		if x.rest(); x.result.Rest != rests {
			t.Errorf("pushback %s: rest %v", pushback, x.result.Rest)
		}
	}
}
