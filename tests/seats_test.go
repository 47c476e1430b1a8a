package tests

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// holder is a server whose requests stay until they are let go, one by one.
type holder struct {
	*server
	free chan struct{}

	mu      sync.Mutex
	arrived []string // values of X-N, in order
	in      int
	most    int
}

func serveHeld(t *testing.T) *holder {
	h := &holder{free: make(chan struct{}, 1000)}
	h.server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		h.arrived = append(h.arrived, r.Header.Get("X-N"))
		h.in++
		h.most = max(h.most, h.in)
		h.mu.Unlock()
		select {
		case <-h.free:
		case <-r.Context().Done():
		}
		h.mu.Lock()
		h.in--
		h.mu.Unlock()
		io.WriteString(w, "ok")
	})
	t.Cleanup(func() {
		for range cap(h.free) / 2 {
			select {
			case h.free <- struct{}{}:
			default:
			}
		}
	})
	return h
}

// now returns how many are in, the most there were, and who has arrived.
func (h *holder) now() (in, most int, arrived []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.in, h.most, slices.Clone(h.arrived)
}

func (h *holder) waitIn(n int) {
	h.t.Helper()
	eventually(h.t, 3*time.Second, fmt.Sprintf("%d at the endpoint", n), func() bool { in, _, _ := h.now(); return in == n })
}

func seatConfig(action string) string {
	return onePool + `
dimensions: [{name: key, from: "header:x-key", default: one}]
policies: [{name: seats, algorithm: concurrency, dimensions: [key], limit: 2, ` + action + `}]
`
}

// inUse is what explain says is taken of two seats.
func inUse(w *weir) int {
	_, body := w.admin("POST", "/api/v1/explain", `{"method":"GET","url":"http://a.test/"}`)
	return 2 - number(body, `"remaining":\s*(\d+)`)
}

func sit(t *testing.T, w *weir, n int) *raw {
	c := dial(t, w.addr("web"))
	c.send("GET / HTTP/1.1\r\nHost: a.test\r\nX-N: " + strconv.Itoa(n) + "\r\n\r\n")
	return c
}

// TestSeatsFIFO checks that waiters get seats in the order in which they came, each as soon as one is free.
func TestSeatsFIFO(t *testing.T) {
	t.Parallel()
	h := serveHeld(t)
	w := startWeir(t, seatConfig("action: queue, max_wait: 30s"), map[string]string{"up": h.addr})
	var conns []*raw
	for i := range 12 {
		conns = append(conns, sit(t, w, i))
		if i < 2 {
			h.waitIn(i + 1)
		} else {
			time.Sleep(patience(50 * time.Millisecond)) // so that the order is certain
		}
	}
	for i := range 10 {
		h.free <- struct{}{}
		eventually(t, 2*time.Second, "the next arrives", func() bool { _, _, all := h.now(); return len(all) == i+3 })
	}
	for range 2 {
		h.free <- struct{}{}
	}
	for i, c := range conns {
		if r := c.read(3*time.Second, false); r.status != 200 {
			t.Errorf("request %d: %s %v", i, r.line, r.err)
		}
	}
	_, most, arrived := h.now()
	if want := "0 1 2 3 4 5 6 7 8 9 10 11"; strings.Join(arrived, " ") != want {
		t.Errorf("they arrived as %v", arrived)
	}
	if most != 2 {
		t.Errorf("%d were at the endpoint at once", most)
	}
	eventually(t, 2*time.Second, "all seats are free", func() bool { return inUse(w) == 0 })
}

// TestSeatsGivenBack checks that a seat comes back however a request ends.
func TestSeatsGivenBack(t *testing.T) {
	t.Parallel()
	h := serveHeld(t)
	w := startWeir(t, seatConfig("action: reject"), map[string]string{"up": h.addr})
	full := func() {
		t.Helper()
		if resp, _ := fetch(t, "GET", w.url("/"), ""); resp.StatusCode != 429 || violated(resp) != "seats" {
			t.Errorf("with all seats in use: %d %v", resp.StatusCode, resp.Header)
		}
	}
	empty := func(what string) {
		t.Helper()
		eventually(t, 4*time.Second, what+": all seats come back", func() bool { return inUse(w) == 0 })
	}
	t.Run("done", func(t *testing.T) {
		a, b := sit(t, w, 0), sit(t, w, 1)
		h.waitIn(2)
		full()
		h.free <- struct{}{}
		h.free <- struct{}{}
		if x, y := a.read(3*time.Second, false), b.read(3*time.Second, false); x.status != 200 || y.status != 200 {
			t.Errorf("%s, %s", x.line, y.line)
		}
		empty("done")
	})
	t.Run("clients-abort", func(t *testing.T) {
		for range 3 {
			a, b := sit(t, w, 0), sit(t, w, 1)
			h.waitIn(2)
			full()
			a.c.Close()
			reset(b.c)
			empty("clients gone")
			h.waitIn(0)
		}
	})
	t.Run("another-key", func(t *testing.T) {
		sit(t, w, 0)
		sit(t, w, 1)
		h.waitIn(2)
		full()
		for range 3 {
			h.free <- struct{}{}
		}
		if resp, _ := fetch(t, "GET", w.url("/"), "", "X-Key: two"); resp.StatusCode != 200 {
			t.Errorf("another key: %d", resp.StatusCode)
		}
		empty("at the end")
	})
	t.Run("endpoint-dies", func(t *testing.T) {
		a, b := sit(t, w, 0), sit(t, w, 1)
		h.waitIn(2)
		h.kill()
		if x, y := a.read(5*time.Second, false), b.read(5*time.Second, false); x.status < 502 || y.status < 502 {
			t.Errorf("%s, %s", x.line, y.line)
		}
		empty("endpoint dead")
		for range 5 { // refused connections hold none either
			fetch(t, "GET", w.url("/"), "")
		}
		empty("endpoint refuses")
	})
}

// TestSeatsWaiterGone checks that a waiter that leaves does not take a seat with it, and that waiting ends after max_wait.
func TestSeatsWaiterGone(t *testing.T) {
	t.Parallel()
	h := serveHeld(t)
	w := startWeir(t, seatConfig("action: queue, max_wait: 1500ms"), map[string]string{"up": h.addr})
	sit(t, w, 0)
	h.waitIn(1)
	sit(t, w, 1)
	h.waitIn(2)
	var leavers []*raw
	for i := range 5 {
		leavers = append(leavers, sit(t, w, 10+i))
	}
	time.Sleep(50 * time.Millisecond)
	last := sit(t, w, 20)
	for _, c := range leavers {
		c.c.Close()
	}
	time.Sleep(20 * time.Millisecond) // some have not been seen to be gone: a seat offered to them must go on to the last
	h.free <- struct{}{}
	eventually(t, time.Second, "the last has the seat", func() bool {
		_, _, all := h.now()
		return slices.Contains(all, "20")
	})
	start := time.Now()
	resp, _ := fetch(t, "GET", w.url("/"), "", "X-N: 30")
	if d := time.Since(start); resp.StatusCode != 429 || d < 1400*time.Millisecond || d > patience(1900*time.Millisecond) {
		t.Errorf("nobody leaves: %d after %v, want 429 after 1.5 s", resp.StatusCode, d)
	}
	h.free <- struct{}{}
	h.free <- struct{}{}
	if r := last.read(3*time.Second, false); r.status != 200 {
		t.Errorf("the last: %s %v", r.line, r.err)
	}
	eventually(t, 3*time.Second, "all seats are free", func() bool { return inUse(w) == 0 })
	if _, most, all := h.now(); most > 2 || strings.Join(all, " ") != "0 1 20" { // nobody's who had left
		t.Errorf("%d at once, arrived %v", most, all)
	}
}

// TestSeatsInSequence asks again on another connection as soon as it has an answer: one seat is enough for that.
func TestSeatsInSequence(t *testing.T) {
	t.Parallel()
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "o")
		if r.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, "k")
	})
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: self, match: {path: /self}, respond: {body: ok}}, {name: up, pool: up}]
policies: [{name: seats, algorithm: concurrency, limit: 1}]
`, map[string]string{"up": up.addr})
	conns := []*raw{dial(t, w.addr("web")), dial(t, w.addr("web"))}
	for _, path := range []string{"/whole", "/chunked", "/self"} {
		refused := 0
		for i := range 1000 {
			if r := conns[i%2].ask("GET " + path + " HTTP/1.1\r\nHost: a.test\r\n\r\n"); r.status == 429 {
				refused++
			}
		}
		if refused > 0 {
			t.Errorf("%s: %d of 1000 are refused", path, refused)
		}
	}
}

// TestSeatsOfTunnel checks that a tunnel holds its seat until it ends.
func TestSeatsOfTunnel(t *testing.T) {
	t.Parallel()
	w := startWeir(t, seatConfig("action: reject"), map[string]string{"up": tunnelServer(t, echoFrames)})
	a := openTunnel(t, w.addr("web"), "")
	b := openTunnel(t, w.addr("web"), "")
	for range 3 {
		c := dial(t, w.addr("web"))
		if r := c.ask(upgradeRequest); r.status != 429 {
			t.Errorf("a third tunnel: %s", r.line)
		}
		time.Sleep(50 * time.Millisecond)
	}
	a.c.Write(frame("ping", true))
	expectBytes(t, a, frame("ping", false))
	if n := inUse(w); n != 2 {
		t.Errorf("%d seats in use, want 2", n)
	}
	a.c.Close()
	eventually(t, 3*time.Second, "its seat comes back", func() bool { return inUse(w) == 1 })
	openTunnel(t, w.addr("web"), "")
	b.c.Write(frame("pong", true))
	expectBytes(t, b, frame("pong", false))
}
