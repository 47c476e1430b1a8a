package shaping

import (
	"math"
	"testing"

	"pgregory.net/rapid"
)

// Two flows that wait all the time are served alike for their weights, give or take one request of each, over every interval: the
// bound of Goyal, Vin and Cheng. Others come and go, with credit.
func TestFairnessBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint16Range(1, 50), 2, 6).Draw(t, "weights")
		guests := rapid.SliceOfN(rapid.Uint64Range(0, 39), 0, 400).Draw(t, "guests")
		q := newQueue(100)
		got := make([]float64, len(weights))
		for i, w := range weights {
			q.come(Class{Normal, w, uint64(i)}, 0)
		}
		most, least := make([]float64, len(weights)), make([]float64, len(weights)) // of got[0]/w0 - got[i]/wi
		for _, guest := range guests {
			if guest < 30 {
				q.come(Class{Normal, uint16(guest), 100 + guest}, 0)
			}
			w, open := q.next(0, 0)
			if w.id < 100 {
				got[w.id]++
				q.come(Class{Normal, weights[w.id], w.id}, 0) // it must not be empty for a moment
			}
			q.serve(w, open)
			for i := range weights {
				d := got[0]/float64(weights[0]) - got[i]/float64(weights[i])
				most[i], least[i] = max(most[i], d), min(least[i], d)
				if bound := 1/float64(weights[0]) + 1/float64(weights[i]); most[i]-least[i] > bound+1e-6 {
					t.Fatalf("weights %d and %d: apart by %f, the bound is %f", weights[0], weights[i], most[i]-least[i], bound)
				}
			}
		}
	})
}

// fairShares is the weighted max-min fair division of what there is, by filling with water: nobody gets more than it demands, and who
// gets less has as much for its weight as anybody.
func fairShares(demands, weights []float64, room float64) []float64 {
	shares := make([]float64, len(demands))
	open := make([]int, len(demands))
	for i := range open {
		open[i] = i
	}
	for len(open) > 0 {
		sum := 0.0
		for _, i := range open {
			sum += weights[i]
		}
		level := room / sum
		left := open[:0:0]
		for _, i := range open {
			if demands[i] <= level*weights[i] {
				shares[i] = demands[i]
				room -= demands[i]
			} else {
				left = append(left, i)
			}
		}
		if len(left) == len(open) {
			for _, i := range open {
				shares[i] = level * weights[i]
			}
			return shares
		}
		open = left
	}
	return shares
}

// Whatever flows demand, each gets its max-min fair share. In a round everybody's requests come and then seats are given; the shares
// are right but for what the flows that get all they ask for can have waiting, a round of theirs and one request of everybody.
func TestSharesAreMaxMinFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const rounds = 300
		n := rapid.IntRange(2, 8).Draw(t, "flows")
		seats := rapid.IntRange(1, 12).Draw(t, "seats")
		demands, weights, got := make([]float64, n), make([]float64, n), make([]float64, n)
		for i := range n {
			demands[i] = float64(rapid.IntRange(0, 12).Draw(t, "demand"))
			weights[i] = float64(rapid.IntRange(1, 8).Draw(t, "weight"))
		}
		q := newQueue(100)
		for range rounds {
			for i := range n {
				for range int(demands[i]) {
					q.come(Class{Normal, uint16(weights[i]), uint64(i)}, 0)
				}
			}
			for range seats {
				if w := q.take(0, 0); w != nil {
					got[w.id]++
				}
			}
		}
		want := fairShares(demands, weights, float64(seats))
		slack := float64(2 * n)
		for i := range n {
			if want[i] == demands[i] {
				slack += demands[i]
			}
		}
		for i := range n {
			if d := got[i] - rounds*want[i]; math.Abs(d) > slack {
				t.Errorf("flow %d of %v, weights %v, %d seats: %v served, want %v ± %v", i, demands, weights, seats, got[i], rounds*want[i], slack)
			}
		}
	})
}
