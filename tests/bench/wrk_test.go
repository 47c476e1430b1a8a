package main

import (
	"testing"
	"time"
)

const wrkClean = `Running 1s test @ http://127.0.0.1:18000/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   332.39us  343.00us   5.61ms   94.63%
    Req/Sec    26.11k     5.01k   37.40k    80.00%
  Latency Distribution
     50%  241.00us
     75%  385.00us
     90%  567.00us
     99%    1.93ms
  25925 requests in 1.10s, 3.36MB read
Requests/sec:  25914.61
Transfer/sec:      3.36MB
`

const wrkFaulty = `Running 5s test @ http://127.0.0.1:18000/
  1 threads and 64 connections
  Latency Distribution
     50%    1.20ms
     99%    1.02s
  300 requests in 1.00m, 3.36MB read
  Socket errors: connect 1, read 20, write 300, timeout 4000
  Non-2xx or 3xx responses: 17
Requests/sec:  25914.61
`

func TestParseWrk(t *testing.T) {
	f := func(out string, want wrkResult) {
		t.Helper()
		got, err := parseWrk(out)
		if err != nil || got != want {
			t.Errorf("parseWrk = %+v, %v; want %+v", got, err, want)
		}
	}
	f(wrkClean, wrkResult{Requests: 25925, Elapsed: 1100 * time.Millisecond, P50: 241 * time.Microsecond, P99: 1930 * time.Microsecond})
	f(wrkFaulty, wrkResult{Requests: 300, Elapsed: time.Minute, P50: 1200 * time.Microsecond, P99: 1020 * time.Millisecond,
		NonOK: 17, SocketErrors: 4321})
}

func TestParseWrkRefuses(t *testing.T) {
	for _, out := range []string{
		"",
		"unable to connect to 127.0.0.1:1 Connection refused\n",
		"  0 requests in 1.00s, 0.00B read\n",
		"  12 requests in soon, 0.00B read\n",
		"  50%  241.00\n  12 requests in 1.00s, 0.00B read\n",
	} {
		if got, err := parseWrk(out); err == nil {
			t.Errorf("parseWrk(%q) = %+v, want an error", out, got)
		}
	}
}

func TestWrkSeconds(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := wrkSeconds(d); got != want {
			t.Errorf("wrkSeconds(%v) = %s, want %s", d, got, want)
		}
	}
	f(5*time.Second, "5s")
	f(1500*time.Millisecond, "2s")
}
