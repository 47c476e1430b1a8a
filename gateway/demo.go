package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// demo is an upstream inside this process that answers every request with what it saw of it, as JSON, or with a fixed
// answer. It listens on a
// loopback port, so that requests to it take the same way as any other.
type demo struct {
	ln     net.Listener
	server *http.Server
	once   sync.Once
	done   chan struct{}
}

func newDemo(answer *fixed) (*demo, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	d := &demo{ln: ln, done: make(chan struct{})}
	handler := http.HandlerFunc(echo)
	if answer != nil {
		handler = answer.serve
	}
	d.server = &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, Protocols: new(http.Protocols)}
	d.server.Protocols.SetHTTP1(true)
	d.server.Protocols.SetUnencryptedHTTP2(true)
	go func() {
		defer close(d.done)
		d.server.Serve(ln) //nolint:errcheck // it ends with close
	}()
	return d, nil
}

func (d *demo) address() string { return d.ln.Addr().String() }

// close lets answers under way finish, for a while.
func (d *demo) close() {
	d.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), demoGrace)
		defer cancel()
		if d.server.Shutdown(ctx) != nil {
			d.server.Close() //nolint:errcheck // nothing to be done about it
		}
		<-d.done
	})
}

// demoGrace is how long a demo that goes away may still answer.
const demoGrace = 5 * time.Second

// serve answers with f.
func (f *fixed) serve(w http.ResponseWriter, _ *http.Request) {
	for _, h := range f.headers {
		w.Header().Add(h.Name, h.Value)
	}
	w.WriteHeader(f.status)
	w.Write(f.body) //nolint:errcheck // the client is gone then
}

// maxEcho is how much of a body the demo shows.
const maxEcho = 4 << 10

func echo(w http.ResponseWriter, r *http.Request) {
	if s, err := strconv.Atoi(r.URL.Query().Get("status")); err == nil && s >= 200 && s <= 599 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(s)
		return
	}
	if d, err := time.ParseDuration(r.URL.Query().Get("delay")); err == nil && d > 0 && d <= time.Minute {
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return
		}
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxEcho))
	if err != nil {
		return
	}
	rest, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	out.Encode(map[string]any{ //nolint:errcheck // the client is gone then
		"method": r.Method, "path": r.URL.Path, "query": r.URL.RawQuery, "host": r.Host,
		"headers": r.Header, "body": string(body), "body_bytes": int64(len(body)) + rest, "answered_by": "weir demo upstream",
	})
}
