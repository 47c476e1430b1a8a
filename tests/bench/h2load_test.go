package main

import (
	"testing"
	"time"
)

const h2loadOut = `starting benchmark...
spawning thread #0: 8 total client(s). Timing-based test with 0s of warm-up time and 1s of main duration for measurements.
Main benchmark duration is started for thread #0.
finished in 1.02s, 21790.00 req/s, 3.35MB/s
requests: 21790 total, 21854 started, 21790 done, 21700 succeeded, 90 failed, 4 errored, 3 timeout
status codes: 21704 2xx, 0 3xx, 80 4xx, 2 5xx
traffic: 3.35MB (3512520) total, 511.45KB (523721) headers (space savings 92.62%), 2.37MB (2484516) data
`

func TestParseH2load(t *testing.T) {
	got, err := parseH2load(h2loadOut, time.Second)
	if want := (wrkResult{Requests: 21790, Elapsed: time.Second, NonOK: 82, SocketErrors: 8}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	for _, bad := range []string{"", "status codes: 1 2xx, 0 3xx, 0 4xx, 0 5xx", "requests: 0 total, 0 started, 0 done, 0 succeeded, 0 failed, 0 errored, 0 timeout\nstatus codes: 0 2xx, 0 3xx, 0 4xx, 0 5xx\n"} {
		if got, err := parseH2load(bad, time.Second); err == nil {
			t.Errorf("%q: %+v", bad, got)
		}
	}
}
