package tests

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// onePool is a config with one listener, one pool of @up and one route to it. More of each may follow by appending.
const onePool = base + `
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`

// server is a net/http server on a loopback address that can be killed and started again.
type server struct {
	t    testing.TB
	addr string
	h    http.Handler
	hits atomic.Int64

	mu  sync.Mutex
	srv *http.Server
}

// serve starts a server on a free address; it ends with the test.
func serve(t testing.TB, h http.HandlerFunc) *server {
	t.Helper()
	s := &server{t: t, addr: freeAddr(t)}
	s.h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			s.hits.Add(1)
		}
		h(w, r)
	})
	s.start()
	t.Cleanup(s.kill)
	return s
}

func (s *server) start() {
	s.t.Helper()
	var l net.Listener
	eventually(s.t, 2*time.Second, "listen on "+s.addr, func() (ok bool) {
		var err error
		l, err = net.Listen("tcp", s.addr)
		return err == nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv = &http.Server{Handler: s.h}
	go s.srv.Serve(l)
}

// kill closes the listener and every connection at once.
func (s *server) kill() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv.Close()
}

// say is a handler that answers with a fixed text.
func say(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, text)
	}
}

// fetch sends one request with fields given as "Name: value" and returns the response with its body read.
func fetch(t testing.TB, method, url, body string, fields ...string) (*http.Response, string) {
	t.Helper()
	resp, text, err := tryFetch(plainClient, method, url, body, fields...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, text
}

func tryFetch(c *http.Client, method, url, body string, fields ...string) (*http.Response, string, error) {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	req, err := http.NewRequest(method, url, rd)
	if err != nil {
		return nil, "", err
	}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		if strings.EqualFold(name, "host") {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	resp, err := c.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp, string(b), err
}

// reasonOf is the first token of Weir-Reason.
func reasonOf(resp *http.Response) string {
	token, _, _ := strings.Cut(resp.Header.Get("Weir-Reason"), ";")
	return token
}

// load sends GETs at a steady rate until stop.
type load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	total  int
	status map[string]int // "200", "503 no_endpoint", "error: …"
	worst  map[string]time.Duration
	times  []time.Duration
}

// startLoad sends rate requests per second from as many keep-alive connections as workers.
func startLoad(url string, workers, rate int) *load {
	ctx, cancel := context.WithCancel(context.Background())
	l := &load{cancel: cancel, status: map[string]int{}, worst: map[string]time.Duration{}}
	tr := &http.Transport{MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers}
	client := &http.Client{Transport: tr, Timeout: 15 * time.Second, CheckRedirect: plainClient.CheckRedirect}
	for i := range workers {
		l.wg.Go(func() {
			every := time.Duration(workers) * time.Second / time.Duration(rate)
			tick := time.NewTicker(every)
			defer tick.Stop()
			time.Sleep(every * time.Duration(i) / time.Duration(workers))
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
					l.one(client, url)
				}
			}
		})
	}
	context.AfterFunc(ctx, func() { l.wg.Wait(); tr.CloseIdleConnections() })
	return l
}

func (l *load) one(c *http.Client, url string) {
	start := time.Now()
	resp, _, err := tryFetch(c, "GET", url, "")
	took := time.Since(start)
	key := "error: "
	if err != nil {
		key += err.Error()
		if i := strings.LastIndex(key, ": "); i > 8 {
			key = "error: " + key[i+2:]
		}
	} else {
		key = fmt.Sprint(resp.StatusCode)
		if r := reasonOf(resp); r != "" {
			key += " " + r
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total++
	l.status[key]++
	l.worst[key] = max(l.worst[key], took)
	l.times = append(l.times, took)
}

// stop ends the load and returns how many requests there were, how many had no 200, and what they had.
func (l *load) stop() (total, failed int, seen string) {
	l.cancel()
	l.wg.Wait()
	return l.sofar()
}

func (l *load) sofar() (total, failed int, seen string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var parts []string
	for k, n := range l.status {
		parts = append(parts, fmt.Sprintf("%d × %s (worst %v)", n, k, l.worst[k].Round(time.Millisecond)))
	}
	sort.Strings(parts)
	return l.total, l.total - l.status["200"], strings.Join(parts, ", ")
}

// quantile is the q-th quantile of the times so far.
func (l *load) quantile(q float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.times) == 0 {
		return 0
	}
	sorted := append([]time.Duration(nil), l.times...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	return sorted[int(q*float64(len(sorted)-1))]
}
