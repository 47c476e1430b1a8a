package limiter

import (
	"testing"
	"time"

	"weir/internal/fleetsim"
	"weir/internal/mono"
)

// slidingRun is a run of a sliding window judged by what a sliding window promises, with the plain limiter for an ideal: the simulator's
// own oracle knows two slots only.
type slidingRun struct {
	t        testing.TB
	spec     Spec
	ideal    *Limiter
	admitted []mono.Time
	ideally  int
	bound    float64
}

// slidingNode has all nodes' requests, which come in true order, seen by the ideal. Clocks agree.
type slidingNode struct {
	*simNode
	run *slidingRun
}

func (n slidingNode) Allow(now fleetsim.Time, key uint64, cost int) bool {
	r := n.run
	if r.ideal.Take(simKey(key), int64(cost), mono.Time(now)).OK {
		r.ideally++
	}
	ok := n.simNode.Allow(now, key, cost)
	if ok {
		r.admitted = append(r.admitted, mono.Time(now))
	}
	b, _ := n.limiter.Excess()
	r.bound = max(r.bound, b)
	return ok
}

func runSliding(t testing.TB, scenario string, p fleetsim.Params) *slidingRun {
	p.Skew, p.Drift = 0, 0
	r := &slidingRun{t: t, spec: specOf(p.Limit())}
	r.ideal, _ = New("ideal", r.spec, Options{})
	f := simFactory(t, nil)
	fleetsim.Run(fleetsim.Make(scenario, p), func(e fleetsim.Env) fleetsim.Node { return slidingNode{f(e).(*simNode), r} }, 1)
	return r
}

// worst is the most admitted in any interval of the window's length.
func (r *slidingRun) worst() (most int) {
	from := 0
	for i, t := range r.admitted {
		for t-r.admitted[from] >= mono.Time(r.spec.Rate.Per) {
			from++
		}
		most = max(most, i-from+1)
	}
	return most
}

// err is by how many percent more was admitted than ideally.
func (r *slidingRun) err() float64 {
	return 100 * float64(len(r.admitted)-r.ideally) / float64(r.ideally)
}

// allowed is the most that an interval of the window's length may have.
func (r *slidingRun) allowed() float64 { return float64(r.spec.Rate.N) + r.bound }

// slidingError is the error in percent that a scenario may have, from and to; the limit is exceeded in cuts only.
var slidingError = map[string][2]float64{
	"":          {-2.8, 1.5},
	"crash":     {-7, 1.5}, // what the dead node may have spent
	"rolling":   {-6.5, 1.5},
	"partition": {-1, 4},
	"split21":   {-1, 4},
}

func TestSharedSliding(t *testing.T) {
	short := fleetsim.Defaults(fleetsim.SlidingWindow)
	long := fleetsim.Defaults(fleetsim.SlidingWindow)
	long.Rate, long.Window, long.Duration = 100, 20*fleetsim.Second, 70*fleetsim.Second
	for _, sc := range sharedScenarios {
		for i, p := range []fleetsim.Params{short, long, short, long} {
			if p.N = 3; i > 1 {
				p.N = 10
			}
			if i > 1 && raceEnabled {
				break
			}
			r := runSliding(t, sc, p)
			e, ok := slidingError[sc]
			allowed := r.allowed()
			if !ok {
				e = slidingError[""]
			} else if e[1] > 2 {
				allowed += float64(r.spec.Rate.N) / 2 // what is spent between a cut and its notice is spent twice
			}
			if w := r.worst(); float64(w) > allowed || r.err() < e[0] || r.err() > e[1] {
				t.Errorf("%s, %d nodes, window %v: %d in one, %.0f allowed; error %+.2f %%, %v", sc, p.N, r.spec.Rate.Per, w, allowed, r.err(), e)
			}
			t.Logf("%-10s N=%d window %v: worst %d, allowed %.0f, error %+.2f %%", sc, p.N, r.spec.Rate.Per, r.worst(), allowed, r.err())
		}
	}
}

// TestSharedSlidingBack: what is spent comes back once, told or not, given back meanwhile or not.
func TestSharedSlidingBack(t *testing.T) {
	s, k := Spec{Algorithm: SlidingWindow, Parts: 10, Rate: Rate{N: 90, Per: time.Second}}, simKey(1)
	left := func(c *crew, now mono.Time) int64 { return c.limiters[0].Peek(k, 0, now).Left }
	spend := func(c *crew, n int64, now mono.Time) *Charge {
		ch := new(Charge)
		ch.Add(c.limiters[0], k, 0)
		ch.Take(now)
		ch.Correct(0, n, now)
		return ch
	}
	at := func(ms int) mono.Time { return mono.Time(ms) * mono.Time(time.Millisecond) }

	c := newCrew(t, 3, s, Options{})
	c.limiters[0].Take(k, 25, at(1)) // hot
	c.run(at(2), at(100))
	spend(c, 10, at(400)) // not told
	if n := left(c, at(1350)); n > 81 {
		t.Errorf("%d left while 10 of 90 count", n)
	}
	if n := left(c, at(1650)); n != 90 {
		t.Errorf("%d left when all of 90 are back", n)
	}

	c = newCrew(t, 3, s, Options{})
	c.limiters[0].Take(k, 25, at(1))
	c.run(at(2), at(40))
	told := spend(c, 30, at(50))
	c.run(at(51), at(150))
	told.Refund(at(200))
	spend(c, 30, at(600))
	if n := left(c, at(1450)); n > 61 {
		t.Errorf("%d left while 30 of 90 count", n)
	}
}
