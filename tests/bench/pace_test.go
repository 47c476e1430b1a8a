package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestParseResponse(t *testing.T) {
	f := func(in string, want response, complete bool) {
		t.Helper()
		got, ok, err := parseResponse([]byte(in))
		if err != nil || ok != complete || got != want {
			t.Errorf("parseResponse(%q) = %+v, %v, %v; want %+v, %v", in, got, ok, err, want, complete)
		}
	}
	f("", response{}, false)
	f("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n", response{}, false)
	f("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", response{Status: 200, Size: 41}, true)
	f("HTTP/1.1 429 Too Many Requests\r\nx: y\r\ncontent-length:0\r\nConnection: Close\r\n\r\n", response{Status: 429, Size: 77, Close: true}, true)
}

func TestParseResponseRefuses(t *testing.T) {
	for _, in := range []string{
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
		"HTTP/1.1 abc OK\r\nContent-Length: 1\r\n\r\n",
		"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
		"junk\r\n\r\n",
	} {
		if got, ok, err := parseResponse([]byte(in)); err == nil || ok {
			t.Errorf("parseResponse(%q) = %+v, %v, want an error", in, got, ok)
		}
	}
}

func TestPaceCountsEveryRequest(t *testing.T) {
	var seen atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := seen.Add(1); n%10 == 0 {
			w.WriteHeader(http.StatusTooManyRequests)
		}
		if r.Host != "api.example.com" || r.URL.Path != requestPath {
			t.Errorf("got %s %s", r.Host, r.URL.Path)
		}
	}))
	defer srv.Close()
	cfg := paceConfig{Address: strings.TrimPrefix(srv.URL, "http://"), Request: rawRequest(requestPath), Rate: 1000,
		Duration: 200 * time.Millisecond, Conns: 4}
	out, err := pace(cfg)
	if err != nil || out.Failed != 0 {
		t.Fatalf("pace: %+v, %v", out, err)
	}
	if seen.Load() != 200 || out.count(200, 299) != 180 || out.count(429, 429) != 20 {
		t.Errorf("server saw %d; %d were 2xx, %d were 429", seen.Load(), out.count(200, 299), out.count(429, 429))
	}
	if l := out.latencies(0, cfg.Duration); len(l) != 200 || l[0] <= 0 {
		t.Errorf("%d latencies", len(l))
	}
}

// One connection and a server that takes 10 ms: what waits for the connection must count its wait.
func TestPaceCountsWaitForAConnection(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { time.Sleep(10 * time.Millisecond) }))
	defer srv.Close()
	out, err := pace(paceConfig{Address: strings.TrimPrefix(srv.URL, "http://"), Request: rawRequest("/"), Rate: 1000,
		Duration: 20 * time.Millisecond, Conns: 1})
	if err != nil || out.Failed != 0 || len(out.Samples) != 20 {
		t.Fatalf("pace: %d samples, %+v, %v", len(out.Samples), out, err)
	}
	// The last was due at 19 ms and answered after 20 turns of 10 ms.
	if last := out.Samples[19].Latency; last < 180*time.Millisecond {
		t.Errorf("the last one waited %v, want at least 181 ms", last)
	}
}

func TestPaceCountsFailures(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort")
		conn.Close()
	}))
	defer srv.Close()
	out, err := pace(paceConfig{Address: strings.TrimPrefix(srv.URL, "http://"), Request: rawRequest("/"), Rate: 100,
		Duration: 100 * time.Millisecond, Conns: 2})
	if err != nil || out.Failed != 10 || len(out.Samples) != 0 || out.Why == "" {
		t.Errorf("pace: %+v, %v; want 10 failures", out, err)
	}
}
