package limiter

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"weir/internal/fleetsim"
)

var sharedTable = flag.String("shared-table", "", "print the figures of every scenario for: sliding, sliding60, quota, quota100, seats")

// sharedKinds are the limits other than buckets that the fleet is judged by.
var sharedKinds = map[string]func() fleetsim.Params{
	"sliding": func() fleetsim.Params { return fleetsim.Defaults(fleetsim.SlidingWindow) },
	"sliding60": func() fleetsim.Params {
		p := fleetsim.Defaults(fleetsim.SlidingWindow)
		p.Rate, p.Window, p.Duration = 100, 60*fleetsim.Second, 200*fleetsim.Second
		return p
	},
	"quota": func() fleetsim.Params {
		p := fleetsim.Defaults(fleetsim.FixedWindow)
		p.Window, p.Duration = 10*fleetsim.Second, 40*fleetsim.Second
		return p
	},
	"quota100": func() fleetsim.Params {
		p := fleetsim.Defaults(fleetsim.FixedWindow)
		p.Rate, p.Window, p.Duration = 5, 20*fleetsim.Second, 100*fleetsim.Second
		return p
	},
	"seats": func() fleetsim.Params { return fleetsim.Defaults(fleetsim.Concurrency) },
}

var sharedScenarios = []string{"balanced", "skew90", "shift1", "onoff", "flash", "sub95", "sub99", "partition", "split21", "crash", "rolling", "scaleout"}

func TestSharedTable(t *testing.T) {
	build := sharedKinds[*sharedTable]
	if build == nil {
		t.Skip("prints figures")
	}
	for _, n := range []int{3, 10} {
		for _, sc := range sharedScenarios {
			p := build()
			p.N = n
			start := time.Now()
			m := fleetsim.RunSeeds(fleetsim.Make(sc, p), simFactory(t, nil), 1)
			fmt.Printf("N=%d %-10s adm %.0f ideal %.0f %v (%v)\n", n, sc, m.Admitted, m.Ideal, m, time.Since(start).Round(time.Millisecond))
		}
	}
}
