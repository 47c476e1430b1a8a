package tests

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// drive is an open-loop load on the nodes of a fleet: what is due is sent whatever became of what was sent before.
type drive struct {
	nodes []*weir
	field string                                   // that tells who asks
	users []string                                 // who asks, in turn
	rate  func(node int, at time.Duration) float64 // requests per second
	conns int                                      // to each node; default 4

	shots [][]shot      // by node, in the order of the answers
	stall time.Duration // the longest that a sender was kept from sending
}

// spread is a rate that is shared among nodes by weights.
func spread(total float64, weights ...float64) func(int, time.Duration) float64 {
	sum := 0.0
	for _, w := range weights {
		sum += w
	}
	return func(node int, _ time.Duration) float64 { return total * weights[node] / sum }
}

// run sends for d and returns when every answer is there.
func (d *drive) run(t testing.TB, long time.Duration) {
	conns := max(d.conns, 4)
	shooters := make([][]*shooter, len(d.nodes))
	for i, w := range d.nodes {
		for range conns {
			s := &shooter{addr: w.addr("web"), in: w.in}
			if err := s.connect(); err != nil {
				t.Errorf("node %d: %v", i, err)
				return
			}
			shooters[i] = append(shooters[i], s)
		}
	}
	d.shots = make([][]shot, len(d.nodes))
	stalls := make([]time.Duration, len(d.nodes))
	begin := time.Now()
	var wg sync.WaitGroup
	for i := range d.nodes {
		wg.Go(func() { d.shots[i], stalls[i] = d.one(i, shooters[i], begin, long) })
	}
	wg.Wait()
	d.stall = slices.Max(stalls)
}

// one loads node i by its connections.
func (d *drive) one(i int, shooters []*shooter, begin time.Time, long time.Duration) (all []shot, stall time.Duration) {
	due := make(chan string, 1<<16) // requests
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range shooters {
		wg.Go(func() {
			defer func() { s.c.Close() }()
			var own []shot
			for r := range due {
				s.request = []byte(r)
				own = append(own, s.shoot())
			}
			mu.Lock()
			all = append(all, own...)
			mu.Unlock()
		})
	}
	requests := make([]string, len(d.users))
	for j, u := range d.users {
		requests[j] = "GET / HTTP/1.1\r\nHost: a.test\r\n" + d.field + ": " + u + "\r\n\r\n"
	}
	last, owed := begin, float64(i)/float64(len(d.nodes)) // so that nodes are not asked in step
	for n := 0; ; {
		now := time.Now()
		if now.Sub(begin) >= long {
			break
		}
		stall = max(stall, now.Sub(last))
		for owed += d.rate(i, now.Sub(begin)) * now.Sub(last).Seconds(); owed >= 1; owed-- {
			due <- requests[n%len(requests)]
			n++
		}
		last = now
		time.Sleep(time.Millisecond)
	}
	close(due)
	wg.Wait()
	slices.SortFunc(all, func(a, b shot) int { return a.received.Compare(b.received) })
	return all, stall
}

// tally is what a load was answered, held against a token bucket.
type tally struct {
	offered, admitted, refused, faults int
	ideal                              int     // what one bucket admits of the same requests at the times at which they were sent
	over                               float64 // the most units over burst + rate·T in any interval T, for sure
	apparent                           float64 // the same if requests were decided about when their answers came
	passed                             []shot
	begin, end                         time.Time // of sending
}

// tally merges what all nodes answered. A decision lies between the sending of a request and its answer: over takes the longest interval
// that may have held the decisions, apparent the times of the answers, so that the truth lies between the two.
func (d *drive) tally(burst, rate float64) tally {
	var o tally
	all := slices.Concat(d.shots...)
	slices.SortFunc(all, func(a, b shot) int { return a.sent.Compare(b.sent) })
	for _, s := range all {
		switch s.status {
		case 200:
			o.admitted++
			o.passed = append(o.passed, s)
		case 429:
			o.refused++
		default:
			o.faults++
		}
	}
	o.ideal = oneBucket(all, burst, rate, func(s *shot) time.Time { return s.sent })
	o.offered = len(all)
	if len(all) > 0 {
		o.begin, o.end = all[0].sent, all[len(all)-1].sent
	}
	slices.SortFunc(o.passed, func(a, b shot) int { return a.received.Compare(b.received) })
	o.over = overRate(o.passed, burst, rate)
	answered := slices.Clone(o.passed)
	for i := range answered {
		answered[i].sent = answered[i].received
	}
	o.apparent = overRate(answered, burst, rate)
	return o
}

// passed is what node i admitted.
func (d *drive) passed(i int) (passed []shot) {
	for _, s := range d.shots[i] {
		if s.status == 200 {
			passed = append(passed, s)
		}
	}
	return passed
}

// course is what each node admitted in each second.
func (d *drive) course() string {
	var b strings.Builder
	begin := d.shots[0][0].sent
	for i := range d.shots {
		var n []int
		for _, s := range d.passed(i) {
			at := int(s.sent.Sub(begin).Seconds())
			for len(n) <= at {
				n = append(n, 0)
			}
			n[at]++
		}
		fmt.Fprintf(&b, "node %d: %d\n", i, n)
	}
	return b.String()
}

// err is the error in the long run, as a share.
func (o *tally) err() float64 { return float64(o.admitted)/float64(max(1, o.ideal)) - 1 }

// between counts what was sent and admitted from a to b after the beginning.
func (o *tally) between(a, b time.Duration) (n int) {
	for _, s := range o.passed {
		if at := s.sent.Sub(o.begin); at >= a && at < b {
			n++
		}
	}
	return n
}

// busiest is the most that was admitted within d, for sure.
func (o *tally) busiest(d time.Duration) (n int) {
	from := earliest(o.passed)
	for i, j := 0, 0; j < len(o.passed); j++ {
		for o.passed[j].received.Sub(from[i]) > d {
			i++
		}
		n = max(n, j-i+1)
	}
	return n
}

// record writes a row of a table: to the log, and for `make bench-fleet` to the file that WEIR_FLEET_FIGURES names.
func record(t testing.TB, table string, columns string, cells ...any) {
	t.Helper()
	row := make([]string, len(cells))
	for i, c := range cells {
		if row[i] = fmt.Sprint(c); strings.ContainsAny(row[i], "|\n") {
			t.Fatalf("BUG: cell %q", row[i])
		}
	}
	t.Logf("%s: %s\n  %s", table, columns, strings.Join(row, " | "))
	path := os.Getenv("WEIR_FLEET_FIGURES")
	if path == "" {
		return
	}
	line, err := json.Marshal(map[string]any{"table": table, "columns": strings.Split(columns, " | "), "cells": row})
	noError(t, err)
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	noError(t, err)
	_, err = file.Write(append(line, '\n'))
	noError(t, err)
	noError(t, file.Close())
}

// inFull says that scenarios run at full length, as `make bench-fleet` has them do.
var inFull = os.Getenv("WEIR_FLEET_FULL") == "1"

// lasting is how long a scenario runs.
func lasting(short, full time.Duration) time.Duration {
	if inFull {
		return full
	}
	return short
}

func percent(v float64) string { return fmt.Sprintf("%+.2f %%", 100*v) }
