package fleetsim

import (
	"fmt"
	"math"
)

// Metrics say how a run went. All shares are percent.
type Metrics struct {
	Offered, Admitted, Ideal float64 // tokens; Ideal is what the oracle admitted

	// Excess is the worst of what any key admitted over its limit, in windows of any length, in tokens; Env is the
	// same as a share of the limit: of Burst and a second of Rate, or of Max. For Concurrency, seats in use.
	Excess, Env float64
	Over1s      float64 // worst second, in steps of 20 ms: admitted over Rate+Burst, of Rate; one key, TokenBucket
	Err         float64 // admitted more (or less, below 0) than the oracle, of what that admitted
	KeyErr      float64 // the same by key, regardless of sign, mean weighted by what the oracle admitted
	KeyErrMax   float64 // worst key of those of which the oracle admitted 50 tokens or more
	Acc1s       float64 // 100 less the mean difference from the oracle second by second
	Jain        float64 // Jain's index (0 to 1) of what nodes admit of what they are offered, second by second, mean
	ConvMs      float64 // ms from a shift until its node gets 80 % of its due in two bins of 20 ms; 5000 is never; mean
	MsgsPS      float64 // messages sent per second and node
	BytesPS     float64 // bytes sent per second and node, with IP and UDP headers
}

// String is what the tables of the design show, and the rest.
func (m Metrics) String() string {
	return fmt.Sprintf("%.1f / %+.2f  over1s %.1f%% excess %.1f acc1s %.2f%% jain %.3f conv %.0fms keyerr %.2f%% worst %.1f%% %.0f msg/s %.0f B/s",
		m.Env, m.Err, m.Over1s, m.Excess, m.Acc1s, m.Jain, m.ConvMs, m.KeyErr, m.KeyErrMax, m.MsgsPS, m.BytesPS)
}

// RunSeeds runs a scenario with the seeds 1 to n. Of the measures of excess (Excess, Env, Over1s, KeyErrMax) it returns
// the worst, of the others the mean.
func RunSeeds(sc *Scenario, f Factory, n int) Metrics {
	var x Metrics
	for seed := 1; seed <= n; seed++ {
		m := Run(sc, f, int64(seed))
		to, from := x.fields(), m.fields()
		for i := range to {
			if i < worstFields {
				*to[i] = max(*to[i], *from[i])
			} else {
				*to[i] += *from[i] / float64(n)
			}
		}
	}
	return x
}

const worstFields = 4

func (m *Metrics) fields() []*float64 {
	return []*float64{
		&m.Excess, &m.Env, &m.Over1s, &m.KeyErrMax,
		&m.Offered, &m.Admitted, &m.Ideal, &m.Err, &m.KeyErr, &m.Acc1s, &m.Jain, &m.ConvMs, &m.MsgsPS, &m.BytesPS,
	}
}

const (
	bin    = 20 * Millisecond
	perSec = int(Second / bin)
)

// recorder collects what happens.
type recorder struct {
	*Scenario
	limit                 Limit
	keys                  map[uint64]*record
	admitted, ideal       []float64   // per bin
	nodeOffered, nodeTook [][]float64 // per node and bin
	messages, bytes       int
}

// record is what is known of a key.
type record struct {
	ideal, forced                  *Oracle // forced had to admit what the nodes did
	offered, admitted, ideally, ex float64
}

func newRecorder(sc *Scenario) *recorder {
	r := &recorder{Scenario: sc, limit: sc.Limit(), keys: map[uint64]*record{}}
	series := func() []float64 { return make([]float64, sc.Duration/bin+1) }
	r.admitted, r.ideal = series(), series()
	for range sc.N {
		r.nodeOffered = append(r.nodeOffered, series())
		r.nodeTook = append(r.nodeTook, series())
	}
	return r
}

// offer notes a request and reports whether the oracle admits it.
func (r *recorder) offer(t Time, node int, key uint64, n int) bool {
	k := r.keys[key]
	if k == nil {
		k = &record{ideal: NewOracle(r.limit), forced: NewOracle(r.limit)}
		r.keys[key] = k
	}
	k.offered += float64(n)
	r.nodeOffered[node][t/bin] += float64(n)
	ok := k.ideal.Allow(t, n)
	if ok {
		k.ideally += float64(n)
		r.ideal[t/bin] += float64(n)
	}
	return ok
}

func (r *recorder) admit(t Time, node int, key uint64, n int) {
	k := r.keys[key]
	k.admitted += float64(n)
	k.ex = max(k.ex, -k.forced.Force(t, n))
	r.admitted[t/bin] += float64(n)
	r.nodeTook[node][t/bin] += float64(n)
}

func (r *recorder) release(whose int, key uint64, n int) {
	if whose == ideal {
		r.keys[key].ideal.Release(n)
	} else {
		r.keys[key].forced.Release(n)
	}
}

func (r *recorder) sent(bytes int) {
	r.messages++
	r.bytes += bytes
}

func (r *recorder) metrics() Metrics {
	var m Metrics
	size := r.limit.Max
	if r.Kind == TokenBucket {
		size = r.limit.Burst + r.limit.Rate
	}
	for _, k := range r.keys { // in any order: the sums are of whole numbers, so exact
		m.Offered += k.offered
		m.Admitted += k.admitted
		m.Ideal += k.ideally
		m.Excess = max(m.Excess, k.ex)
		off := math.Abs(k.admitted - k.ideally)
		m.KeyErr += off
		if k.ideally >= 50 {
			m.KeyErrMax = max(m.KeyErrMax, 100*off/k.ideally)
		}
	}
	m.Env = 100 * m.Excess / size
	if m.Ideal > 0 {
		m.KeyErr *= 100 / m.Ideal
		m.Err = 100 * (m.Admitted - m.Ideal) / m.Ideal
	}
	if len(r.keys) == 1 && r.Kind == TokenBucket {
		m.Over1s = r.over1s()
	}
	m.Acc1s, m.Jain = r.bySecond()
	m.ConvMs = r.convergence()
	nodeSeconds := seconds(r.Duration) * float64(r.N)
	m.MsgsPS, m.BytesPS = float64(r.messages)/nodeSeconds, float64(r.bytes)/nodeSeconds
	return m
}

func sum(a []float64) (s float64) {
	for _, v := range a {
		s += v
	}
	return s
}

func (r *recorder) over1s() (worst float64) {
	in := 0.0
	for i, v := range r.admitted {
		in += v
		if i >= perSec {
			in -= r.admitted[i-perSec]
		}
		worst = max(worst, 100*(in-r.limit.Burst-r.limit.Rate)/r.limit.Rate)
	}
	return worst
}

// bySecond returns Acc1s and Jain, from the whole seconds after the start.
func (r *recorder) bySecond() (acc, jain float64) {
	var off, all, indexes, indexed float64
	for a := int(r.Warm / bin); a+perSec <= int(r.Duration/bin); a += perSec {
		b := a + perSec
		due := sum(r.ideal[a:b])
		all += due
		off += math.Abs(sum(r.admitted[a:b]) - due)

		var s, squares, n float64
		for i := range r.N {
			if offered := sum(r.nodeOffered[i][a:b]); offered >= 20 { // fewer say nothing
				x := sum(r.nodeTook[i][a:b]) / offered
				s, squares, n = s+x, squares+x*x, n+1
			}
		}
		if n > 1 {
			indexed++
			indexes++
			if squares > 0 {
				indexes += s*s/(n*squares) - 1
			}
		}
	}
	acc, jain = 100, 1
	if all > 0 {
		acc -= 100 * off / all
	}
	if indexed > 0 {
		jain = indexes / indexed
	}
	return acc, jain
}

func (r *recorder) convergence() float64 {
	if len(r.Shifts) == 0 {
		return 0
	}
	total := 0.0
	for _, s := range r.Shifts {
		total += r.converged(s)
	}
	return total / float64(len(r.Shifts))
}

func (r *recorder) converged(s Shift) float64 {
	from, row := int(s.At/bin), 0
	for b := from; b < from+250 && b < int(r.Duration/bin); b++ {
		offered := 0.0
		for i := range r.N {
			offered += r.nodeOffered[i][b]
		}
		if offered == 0 {
			continue
		}
		due := min(r.Rate*seconds(bin), offered) * r.nodeOffered[s.Node][b] / offered
		if r.nodeTook[s.Node][b] < 0.8*due {
			row = 0
		} else if row++; row == 2 {
			return float64(b-from-1) * seconds(bin) * 1000
		}
	}
	return 5000
}
