package tests

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// closingServer is an endpoint of WebSockets that echoes messages, and answers a Close as a server does.
func closingServer(t *testing.T, closes chan<- string) string {
	return tunnelServer(t, func(c net.Conn, br io.Reader) {
		for {
			var head [6]byte
			if _, err := io.ReadFull(br, head[:]); err != nil {
				closes <- "cut"
				return
			}
			payload := make([]byte, head[1]&0x7f)
			if _, err := io.ReadFull(br, payload); err != nil {
				closes <- "cut"
				return
			}
			for i := range payload {
				payload[i] ^= head[2+i%4]
			}
			c.Write(append([]byte{head[0], byte(len(payload))}, payload...))
			if head[0] == 0x88 {
				closes <- string(payload)
				c.Close()
				return
			}
		}
	})
}

const endConfig = `
node: {name: test, data_dir: ""}
admin: {address: "@admin"}
telemetry: {access_log: {output: "@dir/access.log"}}
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}, {name: events, endpoints: [{address: "@events"}]}]
routes: [{name: feed, match: {path: /events}, pool: events, hold: headers}, {name: all, pool: up}]
shutdown_timeout: 4s
`

// TestTunnelsAtStop: at SIGTERM every WebSocket gets a Close and an event stream ends, nothing is cut, and the log and the metrics say what
// passed.
func TestTunnelsAtStop(t *testing.T) {
	t.Parallel()
	const n = 40
	closes := make(chan string, n)
	feed := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, "data: 1\n\ndata: 2\n\n")
		http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	w := startWeir(t, endConfig, map[string]string{"up": closingServer(t, closes), "events": feed.addr})
	resp, err := http.Get(w.url("/events"))
	noError(t, err)
	defer resp.Body.Close()
	conns := make([]*raw, n)
	for i := range conns {
		conns[i] = openTunnel(t, w.addr("web"), "")
		conns[i].send(string(frame("hello", true)) + string(frame("again", true)))
		expectBytes(t, conns[i], append(frame("hello", false), frame("again", false)...))
	}
	f := func(name string, want float64, labels ...string) {
		t.Helper()
		if got := w.metric(name, labels...); got != want {
			t.Errorf("%s %v: %v, want %v", name, labels, got, want)
		}
	}
	f("weir_tunnels", n, `route="all"`)
	f("weir_tunnel_bytes_total", n*2*11, `direction="in"`)
	f("weir_tunnel_bytes_total", n*2*7, `direction="out"`)
	f("weir_websocket_messages_total", n*2, `direction="in"`)
	f("weir_websocket_messages_total", n*2, `direction="out"`)
	f("weir_event_streams", 1, `route="feed"`)
	f("weir_events_total", 2, `route="feed"`)
	f("weir_concurrency_inflight", 0, `pool="up"`)
	f("weir_concurrency_inflight", 0, `pool="events"`)

	w.signal(syscall.SIGTERM)
	var wg sync.WaitGroup
	for _, c := range conns {
		wg.Go(func() {
			goodbye := "\x88\x0c\x03\xe9going away"
			got := make([]byte, len(goodbye))
			c.c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.ReadFull(c.br, got); err != nil || string(got) != goodbye {
				t.Errorf("%q %v", got, err)
			}
			c.c.Write(append([]byte{0x88, 0x8c, 0, 0, 0, 0}, got[2:]...))
			if rest, err := io.ReadAll(c.br); len(rest) > 0 || err != nil {
				t.Errorf("then %q %v", rest, err)
			}
		})
	}
	wg.Wait()
	for range n {
		if got := <-closes; got != "\x03\xe9going away" {
			t.Errorf("an endpoint: %q", got)
		}
	}
	if b, err := io.ReadAll(resp.Body); string(b) != "data: 1\n\ndata: 2\n\n" || err != nil {
		t.Errorf("%q %v", b, err)
	}
	if code := w.wait(5 * time.Second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	logged(t, w, n)
}

// logged looks at the lines of TestTunnelsAtStop.
func logged(t *testing.T, w *weir, n int) {
	t.Helper()
	file, err := os.Open(w.dir + "/access.log")
	noError(t, err)
	defer file.Close()
	tunnels := 0
	for sc := bufio.NewScanner(file); sc.Scan(); {
		var line struct {
			Path, Ended, Error, Reason string
			Status                     int
			BytesIn                    int `json:"bytes_in"`
			BytesOut                   int `json:"bytes_out"`
			MessagesIn                 int `json:"messages_in"`
			MessagesOut                int `json:"messages_out"`
			CloseCode                  int `json:"close_code"`
		}
		if err := json.Unmarshal(sc.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		switch {
		case line.Path == "/events":
			if line.Status != 200 || line.Ended != "shutdown" || line.MessagesOut != 2 || line.BytesOut != 18 || line.Error != "" || line.Reason != "" {
				t.Errorf("%s", sc.Text())
			}
		case line.Path == "/ws":
			tunnels++
			if line.Status != 101 || line.Ended != "shutdown" || line.MessagesIn != 2 || line.MessagesOut != 2 || line.BytesIn != 2*11+18 || line.BytesOut != 2*7 || line.CloseCode != 1001 || line.Error != "" {
				t.Errorf("%s", sc.Text())
			}
		}
	}
	if tunnels != n {
		t.Errorf("%d lines of tunnels, want %d", tunnels, n)
	}
}

// TestTunnelsOfARoute: a reload that takes a route away closes its WebSockets, and leaves those of others alone.
func TestTunnelsOfARoute(t *testing.T) {
	t.Parallel()
	closes := make(chan string, 2)
	w := startWeir(t, endConfig, map[string]string{"up": closingServer(t, closes)})
	c := openTunnel(t, w.addr("web"), "")
	w.writeConfig(strings.Replace(endConfig, "hold: headers", "hold: body", 1)) // of another route
	eventually(t, 5*time.Second, "the first reload", func() bool { return strings.Count(w.log.String(), "msg=reloaded") == 1 })
	c.send(string(frame("hello", true)))
	expectBytes(t, c, frame("hello", false))
	w.writeConfig(strings.Replace(endConfig, "{name: all, pool: up}", "{name: other, pool: up}", 1))
	expectBytes(t, c, []byte("\x88\x10\x03\xe9no longer here"))
	c.c.Write([]byte("\x88\x82\x00\x00\x00\x00\x03\xe9"))
	if got := <-closes; got != "\x03\xe9" {
		t.Errorf("the endpoint: %q", got)
	}
}
