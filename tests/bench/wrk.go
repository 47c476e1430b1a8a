package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// wrkResult is what one run of wrk reported.
type wrkResult struct {
	Requests     int64         // answers received
	Elapsed      time.Duration // wall time of the run
	P50, P99     time.Duration // latency as wrk saw it, 0 if it printed none
	NonOK        int64         // answers outside 2xx and 3xx
	SocketErrors int64         // connect, read, write and timeout errors together
}

// RPS is answers per second.
func (r wrkResult) RPS() float64 { return float64(r.Requests) / r.Elapsed.Seconds() }

// parseWrk reads what `wrk --latency` prints.
func parseWrk(out string) (wrkResult, error) {
	var r wrkResult
	var err error
	lines := bufio.NewScanner(strings.NewReader(out))
	for lines.Scan() && err == nil {
		line := strings.TrimSpace(lines.Text())
		f := strings.Fields(line)
		switch {
		case strings.HasPrefix(line, "50%") && len(f) == 2:
			r.P50, err = parseWrkTime(f[1])
		case strings.HasPrefix(line, "99%") && len(f) == 2:
			r.P99, err = parseWrkTime(f[1])
		case len(f) >= 4 && f[1] == "requests" && f[2] == "in":
			if r.Requests, err = strconv.ParseInt(f[0], 10, 64); err == nil {
				r.Elapsed, err = parseWrkTime(strings.TrimSuffix(f[3], ","))
			}
		case strings.HasPrefix(line, "Non-2xx or 3xx responses:"):
			r.NonOK, err = strconv.ParseInt(f[len(f)-1], 10, 64)
		case strings.HasPrefix(line, "Socket errors:"):
			r.SocketErrors, err = parseSocketErrors(line)
		}
	}
	if err != nil {
		return wrkResult{}, fmt.Errorf("wrk output: %w", err)
	}
	if r.Requests == 0 || r.Elapsed == 0 {
		return wrkResult{}, fmt.Errorf("wrk output has no requests: %q", out)
	}
	return r, nil
}

// parseWrkTime reads wrk's numbers: 950.00us, 1.23ms, 5.00s, 1.50m.
func parseWrkTime(s string) (time.Duration, error) {
	for _, unit := range []struct {
		suffix string
		d      time.Duration
	}{{"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}} {
		number, ok := strings.CutSuffix(s, unit.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return 0, fmt.Errorf("time %q: %w", s, err)
		}
		return time.Duration(v * float64(unit.d)), nil
	}
	return 0, fmt.Errorf("time %q has no unit", s)
}

// parseSocketErrors adds up "Socket errors: connect 0, read 1, write 0, timeout 2".
func parseSocketErrors(line string) (int64, error) {
	var sum int64
	for _, f := range strings.FieldsFunc(line, func(c rune) bool { return c < '0' || c > '9' }) {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("socket errors %q: %w", line, err)
		}
		sum += n
	}
	return sum, nil
}

// runWrk loads url from core for d with conns keep-alive connections. A script gives the requests if it is not empty.
func runWrk(ctx context.Context, core int, url string, conns int, d time.Duration, script string) (wrkResult, error) {
	args := []string{"wrk", "-t1", "-c" + strconv.Itoa(conns), "-d" + wrkSeconds(d), "--latency"}
	for _, h := range requestHeaders {
		args = append(args, "-H", h.name+": "+h.value)
	}
	if script != "" {
		args = append(args, "-s", script)
	}
	var out bytes.Buffer
	cmd := pinned(ctx, core, append(args, url)...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := startPreferred(cmd); err != nil {
		return wrkResult{}, err
	}
	if err := cmd.Wait(); err != nil {
		return wrkResult{}, fmt.Errorf("wrk %s: %w: %s", url, err, out.String())
	}
	return parseWrk(out.String())
}

// wrkSeconds rounds d up to whole seconds: wrk takes no fractions.
func wrkSeconds(d time.Duration) string {
	return strconv.Itoa(int((d+time.Second-1)/time.Second)) + "s"
}
