package fleetsim

import (
	"math"
	"math/rand"
	"strconv"
)

// Random draws a scenario: 2 to 30 nodes, 20 to 5000 tokens per second, bursts of 0.05 to 2 s of it, delays of 0.2 to 10
// ms, with even chance a loss of up to 5 %, a Delta of 50 to 250 ms, and for each node a demand that comes and goes, all
// together 0.2 to 10 times the rate. The rest is as in p.
func Random(p Params, seed int64) *Scenario {
	r := rand.New(rand.NewSource(seed * 7919))
	p.N = 2 + r.Intn(29)
	p.Rate = math.Round(20 * math.Pow(250, r.Float64()))
	p.Burst = math.Round(max(5, p.Rate*0.05*math.Pow(40, r.Float64())))
	p.Delay = Time(200*math.Pow(50, r.Float64())) * Microsecond
	p.Loss = 0.05 * r.Float64() * float64(r.Intn(2))
	p.Delta = Time(50+r.Intn(200)) * Millisecond
	p.Duration = 15 * Second
	load := 0.2 * math.Pow(50, r.Float64())

	const step = 0.25 // s of constant demand
	steps := int(seconds(p.Duration)/step) + 1
	total := make([]float64, steps)
	demand := make([][]float64, p.N)
	together := r.Intn(3) == 0 // all nodes are idle every other second
	on := r.Float64()
	for i := range demand {
		demand[i] = make([]float64, steps)
		now, weight := 0.0, math.Pow(20, r.Float64())
		for k := range demand[i] {
			if k == 0 || r.Float64() < 0.2 {
				now = 0
				if r.Float64() < 0.3+0.7*on {
					now = weight * r.Float64()
				}
			}
			if !together || k/4%2 == 0 {
				demand[i][k] = now
			}
			total[k] += demand[i][k]
		}
	}
	s := &Scenario{Name: "random" + strconv.FormatInt(seed, 10), Params: p}
	scale := load * p.Rate / (sum(total)/float64(steps) + 1e-9)
	for _, t := range total {
		s.MaxLoad = max(s.MaxLoad, t*scale)
	}
	s.Load = func(t float64, i int) float64 { return demand[i][min(int(t/step), steps-1)] * scale }
	return s
}
