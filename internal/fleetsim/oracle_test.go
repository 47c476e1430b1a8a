package fleetsim

import "testing"

func TestOracle(t *testing.T) {
	type step struct {
		at   Time // ms
		n    int
		want bool
		left float64 // afterwards
	}
	f := func(name string, l Limit, steps ...step) {
		t.Helper()
		o := NewOracle(l)
		for i, s := range steps {
			at := s.at * Millisecond
			if got := o.Allow(at, s.n); got != s.want || !near(o.Avail(at), s.left, 1e-6) {
				t.Errorf("%s, step %d at %d ms: %v and %g left, want %v and %g", name, i, s.at, got, o.Avail(at), s.want, s.left)
			}
		}
	}
	f("bucket", Limit{Kind: TokenBucket, Rate: 10, Burst: 5},
		step{0, 5, true, 0}, step{99, 1, false, .99}, step{100, 1, true, 0}, step{400, 4, false, 3}, step{400, 3, true, 0},
		step{10_000, 6, false, 5}, step{10_000, 5, true, 0})
	f("sliding", Limit{Kind: SlidingWindow, Max: 10, Window: Second},
		step{500, 10, true, 0}, step{999, 1, false, 0}, step{1000, 1, false, 0}, step{1100, 1, true, 0}, step{1500, 4, true, 0},
		step{2000, 5, true, 0}, step{4500, 10, true, 0}) // two windows on, nothing is left of it
	f("fixed", Limit{Kind: FixedWindow, Max: 10, Window: Second},
		step{900, 10, true, 0}, step{999, 1, false, 0}, step{1000, 10, true, 0}, step{1001, 1, false, 0}, step{7000, 11, false, 10})
	f("concurrency", Limit{Kind: Concurrency, Max: 3},
		step{0, 2, true, 1}, step{5, 2, false, 1}, step{5, 1, true, 0}, step{9_000_000, 1, false, 0})
}

func TestOracleForced(t *testing.T) {
	f := func(o *Oracle, at Time, n int, want float64) {
		t.Helper()
		if got := o.Force(at, n); !near(got, want, 1e-6) {
			t.Errorf("left %g, want %g", got, want)
		}
	}
	b := NewOracle(Limit{Kind: TokenBucket, Rate: 10, Burst: 5})
	f(b, 0, 7, -2)
	f(b, Second/10, 2, -3) // an excess stays until the rate has made up for it
	f(b, 2*Second, 1, 4)   // full again

	c := NewOracle(Limit{Kind: Concurrency, Max: 3})
	f(c, 0, 2, 1)
	f(c, 0, 2, -1)
	c.Release(2)
	f(c, 1, 1, 0)
}
