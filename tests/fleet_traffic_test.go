package tests

import (
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"
)

// TestFleetTraffic measures what gateways send each other: idle, and for 1 and 100 keys whose clients ask for twice their limit at all
// gateways. Part of `make bench-fleet`.
func TestFleetTraffic(t *testing.T) {
	if !inFull {
		t.Skip("part of make bench-fleet")
	}
	const long = 12 * time.Second
	for _, n := range []int{3, 5} {
		nw := newNetwork(t, n)
		f := startFleet(t, n, nw, fmt.Sprintf(`
policies:
  - {name: one, dimensions: [user], algorithm: token_bucket, limit: %d, window: 1s, burst: %d, scope: cluster}
  - {name: many, dimensions: [counted], algorithm: token_bucket, limit: 5, window: 1s, burst: 5, scope: cluster}
`, fleetRate, fleetBurst))
		many := make([]string, 100)
		for i := range many {
			many[i] = "client-" + strconv.Itoa(i)
		}
		even := make([]float64, n)
		for i := range even {
			even[i] = 1
		}
		for _, c := range []struct {
			keys  int
			drive *drive
		}{
			{0, nil},
			{1, &drive{nodes: f.nodes, field: "x-user", users: []string{"a"}, rate: spread(2*fleetRate, even...)}},
			{100, &drive{nodes: f.nodes, field: "x-counted", users: many, rate: spread(2*5*100, even...)}},
		} {
			measure := func() (views []fleetView) {
				for i := range f.nodes {
					views = append(views, f.view(i))
				}
				return views
			}
			var wg sync.WaitGroup
			if c.drive != nil {
				wg.Go(func() { c.drive.run(t, long+2*time.Second) })
			}
			time.Sleep(time.Second) // the first burst is spent
			begin, before, from := time.Now(), measure(), nw.traffic()
			time.Sleep(long)
			took, after, to := time.Since(begin).Seconds(), measure(), nw.traffic()
			wg.Wait()
			per := func(total int) float64 { return float64(total) / float64(n) / took }
			frames, bytes, wire, packets, ip, hot := 0, 0, 0, 0, 0, 0
			for i := range f.nodes {
				frames += after[i].Sent.Frames - before[i].Sent.Frames
				bytes += after[i].Sent.Bytes - before[i].Sent.Bytes
				wire += after[i].Sent.Wire - before[i].Sent.Wire
				packets += to[i].packets - from[i].packets
				ip += to[i].bytes - from[i].bytes
				hot = max(hot, after[i].HotKeys)
			}
			record(t, "What gateways send each other",
				"gateways | keys at their limit | hot keys shown | frames/s | kB/s of frames | kB/s with encryption and membership | IP packets/s | kB/s of IP packets",
				n, c.keys, hot, fmt.Sprintf("%.0f", per(frames)), kb(per(bytes)), kb(per(wire)), fmt.Sprintf("%.0f", per(packets)), kb(per(ip)))
			if c.keys > hot {
				t.Errorf("%d hot keys of %d", hot, c.keys)
			}
			time.Sleep(3 * time.Second) // all is refilled
		}
		f.stop()
	}
}

func kb(bytes float64) string { return fmt.Sprintf("%.2f", bytes/1000) }
