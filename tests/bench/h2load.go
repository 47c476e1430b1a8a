package main

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Of the HTTP/2 loads: connections, and requests in flight on each.
const (
	h2Conns   = 8
	h2Streams = 8
)

// runH2load loads url from core for d over HTTP/2. With body, the requests are gRPC calls that send that file.
func runH2load(ctx context.Context, core int, url, body string, d time.Duration) (wrkResult, error) {
	args := []string{"h2load", "-t1", "-c" + strconv.Itoa(h2Conns), "-m" + strconv.Itoa(h2Streams), "-D" + wrkSeconds(d)}
	for _, h := range requestHeaders {
		name := h.name
		if name == "Host" {
			name = ":authority"
		}
		args = append(args, "-H", name+": "+h.value)
	}
	if body != "" {
		args = append(args, "-d", body, "-H", "content-type: application/grpc", "-H", "te: trailers")
	}
	var out bytes.Buffer
	cmd := pinned(ctx, core, append(args, url)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startPreferred(cmd); err != nil {
		return wrkResult{}, err
	}
	if err := cmd.Wait(); err != nil {
		return wrkResult{}, fmt.Errorf("h2load %s: %w: %s", url, err, out.String())
	}
	return parseH2load(out.String(), d)
}

var (
	h2loadRequests = regexp.MustCompile(`(?m)^requests: \d+ total, \d+ started, (\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout$`)
	h2loadCodes    = regexp.MustCompile(`(?m)^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$`)
)

// parseH2load reads what h2load printed of a run of d. It tells of no quantiles.
func parseH2load(out string, d time.Duration) (wrkResult, error) {
	r, c := h2loadRequests.FindStringSubmatch(out), h2loadCodes.FindStringSubmatch(out)
	if r == nil || c == nil {
		return wrkResult{}, fmt.Errorf("h2load output has no requests: %q", out)
	}
	n := func(s string) int64 {
		v, _ := strconv.ParseInt(s, 10, 64) // the pattern lets only digits through
		return v
	}
	res := wrkResult{Requests: n(r[1]), NonOK: n(c[2]) + n(c[3]) + n(c[4]), SocketErrors: n(r[4]) + n(r[5]), Elapsed: d}
	if res.Requests == 0 {
		return wrkResult{}, fmt.Errorf("no request was answered: %q", out)
	}
	if failed := n(r[3]) - res.NonOK; failed > res.SocketErrors {
		res.SocketErrors = failed
	}
	return res, nil
}
