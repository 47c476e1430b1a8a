package shaping

import (
	"container/heap"
	"math/bits"
	"time"

	"weir/internal/mono"
)

// How flows share a total: generalized processor sharing (Parekh and Gallager, 1993) with a floor and a ceiling to each share,
// simulated by the event.
//
// A flow is busy while it has been served less than it asked for, and a little longer. At every instant a busy flow of a tier
// is served at
//
//	rate = min(Rate, max(Guarantee, Weight·λ)),  λ such that the rates of all busy flows add up to Total
//
// (or every flow has its Rate, if all of them fit in). That is the weighted max-min fair share above the guarantees; if those
// alone exceed the total, all are cut in proportion. All busy flows of a tier have one rate, so one clock per tier, its share,
// shows the bytes that each of them was served, and a flow books its turns on it like on a Pacer's. How many connections a flow
// has does not matter: they book one after the other. A turn may go when the share reaches its beginning. Rates change only
// when a flow becomes busy, which is when it asks, or ceases to be, which the share tells: the flow that ceases first is on top
// of a heap, and who comes next runs through those that have ceased since. So no timer is needed, and no demand is estimated.
//
// "A little longer" is the patience with timers and writes that are late: a flow stays busy until it has a credit of a lag,
// which it can spend at once when it asks again; lag = rate · ¼ Burst/Total of the rule, with the rate of the moment. Then what
// it has not used goes to the others: their time runs on at double speed until it is ahead by credit/Total. So nothing is lost,
// neither to a flow that is late by less than a quarter of Burst/Total nor by one that asks for less than its share, and bytes
// over any time differ from the integral of the rate by a lag and a turn of every connection. A turn is 20 ms of the rate at
// which it was booked: when the rate falls to 1/k, the next turn comes after up to k · 20 ms. The first flow after a pause of
// all begins with a lag.
//
// Two clocks are exact whatever happens here, and hold a turn back if they must: the tier's ceiling, which every flow books on
// by itself, and the Pacer of the total. The latter has little to say: all lags make a quarter of its burst, and turns less
// than half, but at the lowest rates.
//
// Rates are whole bytes a second, at least 1, rounded down. Without a total there are only the ceilings, and flows are so many
// Pacers.

// tierClock is a tier and its clocks.
type tierClock struct {
	Tier
	ceiling byteClock // runs at Rate, always
	share   byteClock // with a total: in the time of Pacers.ahead
	busy    flowHeap
	want    float64 // scratch of fillLocked: the rate before and
	got     float64 // after floor and ceiling
	fixed   bool
}

// set makes t ready, defaults filled in.
func (t *tierClock) set(tier Tier, c PacersConfig) {
	t.Tier = tier
	t.Weight = max(t.Weight, 1)
	if t.Rate == 0 {
		t.Rate = c.Total
	}
	t.Burst = PacerConfig{t.Rate, t.Burst}.withDefaults().Burst
	t.ceiling.rate = t.Rate
}

// lagLocked is the credit that a busy flow of t may have.
func (p *Pacers) lagLocked(t *tierClock) int64 {
	hi, lo := bits.Mul64(uint64(min(t.share.rate, p.config.Total)), uint64(p.config.Burst))
	n, _ := bits.Div64(hi, lo, uint64(p.config.Total))
	return int64(n / 4)
}

// advanceLocked sets all clocks to now, through all instants at which a flow ceased to be busy.
func (p *Pacers) advanceLocked(now mono.Time) {
	if now <= p.at {
		return
	}
	for i := range p.tiers {
		p.tiers[i].ceiling.advance(now)
	}
	passed := now.Sub(p.at)
	p.at, p.ahead = now, p.ahead.Add(passed)
	if p.total != nil {
		p.serveLocked(p.served.Add(2 * min(passed, forever/2)))
	}
}

// serveLocked lets the shares run as far as they should be, but to end at most: twice as fast as time, so that flows that are
// asleep are not run over.
func (p *Pacers) serveLocked(end mono.Time) {
	for p.served < min(p.ahead, end) {
		next := min(p.ahead, end)
		for i := range p.tiers {
			if t := &p.tiers[i]; len(t.busy) > 0 {
				next = min(next, p.served.Add(t.share.until(t.busy[0].shared+p.lagLocked(t))))
			}
		}
		for i := range p.tiers {
			p.tiers[i].share.advance(next)
		}
		p.served = next
		p.settleLocked()
	}
}

// settleLocked takes out the flows that have ceased to be busy, and gives their credit to the others.
func (p *Pacers) settleLocked() {
	for changed := true; changed; {
		changed = false
		for i := range p.tiers {
			t := &p.tiers[i]
			for lag := p.lagLocked(t); len(t.busy) > 0 && t.share.pos-t.busy[0].shared >= lag; {
				f := heap.Pop(&t.busy).(*Flow)
				credit := float64(t.share.pos - f.shared)
				p.ahead = p.ahead.Add(time.Duration(credit * 1e9 / float64(p.config.Total)))
				changed = true
			}
		}
		if changed { // and lags, too
			p.fillLocked()
		}
	}
	if p.idleLocked() {
		p.ahead = max(p.at, p.served) // there is nobody to give it to
	}
}

// shareLocked books n bytes more of f on its tier's share and returns where they end.
func (p *Pacers) shareLocked(f *Flow, n int) int64 {
	if p.total == nil {
		return 0
	}
	t := &p.tiers[f.tier]
	if f.index == idle {
		alone := p.idleLocked()
		f.visit++
		f.shared = t.share.pos
		heap.Push(&t.busy, f)
		p.fillLocked()
		if alone {
			f.shared -= p.lagLocked(t)
		}
	}
	f.shared += int64(n)
	heap.Fix(&t.busy, f.index)
	return f.shared
}

// idleLocked reports whether no flow is busy.
func (p *Pacers) idleLocked() bool {
	for i := range p.tiers {
		if len(p.tiers[i].busy) > 0 {
			return false
		}
	}
	return true
}

// unshareLocked gives back n bytes of f, booked when it became busy for the visit'th time, and says how many count. They become credit.
func (p *Pacers) unshareLocked(f *Flow, visit, n int) int64 {
	if p.total == nil || f.index == idle || f.visit != visit {
		return 0
	}
	f.shared -= int64(n)
	heap.Fix(&p.tiers[f.tier].busy, f.index)
	p.settleLocked()
	return int64(n)
}

// moveLocked makes f, and what it owes, one of another tier.
func (p *Pacers) moveLocked(f *Flow, tier int) {
	from, to := &p.tiers[f.tier], &p.tiers[tier]
	busy := f.index != idle
	if busy {
		heap.Remove(&from.busy, f.index)
	}
	f.shift(from, to)
	f.tier = tier
	if busy {
		heap.Push(&to.busy, f)
		p.fillLocked()
	}
}

// fillLocked works out the rates of all tiers: water filling in as many rounds as there are tiers at most. In every round all that are not
// fixed get the same λ. If floors then take more than ceilings leave, those at their floor are fixed there, as a smaller λ will not lift them; else
// those at their ceiling.
func (p *Pacers) fillLocked() {
	if p.total == nil {
		return
	}
	rest, promised := float64(p.config.Total), 0.0
	for i := range p.tiers {
		t := &p.tiers[i]
		t.fixed = len(t.busy) == 0
		t.share.rate = 0
		promised += float64(len(t.busy)) * float64(t.Guarantee)
	}
	scale := min(1, rest/max(promised, 1))
	for {
		over, left := p.levelLocked(rest, scale)
		if left == 0 {
			return
		}
		for i := range p.tiers {
			t := &p.tiers[i]
			if t.fixed || over > 0 && t.got <= t.want || over < 0 && t.got >= t.want {
				continue
			}
			t.fixed = true
			t.share.rate = max(1, int64(t.got))
			rest -= float64(len(t.busy)) * t.got
		}
	}
}

// levelLocked shares rest among the tiers that are not fixed, left of them. over is by how much floors and ceilings make it more than the rest.
func (p *Pacers) levelLocked(rest, scale float64) (over float64, left int) {
	weight := 0.0
	for i := range p.tiers {
		if t := &p.tiers[i]; !t.fixed {
			weight += float64(len(t.busy)) * float64(t.Weight)
			left++
		}
	}
	for i := range p.tiers {
		t := &p.tiers[i]
		if t.fixed {
			continue
		}
		t.want = max(rest, 0) / weight * float64(t.Weight)
		t.got = max(float64(t.Guarantee)*scale, min(t.want, float64(t.Rate)))
		over += float64(len(t.busy)) * (t.got - t.want)
	}
	return over, left
}

// idle is the index of a flow that is in no heap.
const idle = -1

// flowHeap has the flow on top that ceases first to be busy.
type flowHeap []*Flow

func (h flowHeap) Len() int           { return len(h) }
func (h flowHeap) Less(i, j int) bool { return h[i].shared-h[j].shared < 0 }
func (h flowHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *flowHeap) Push(x any) {
	f := x.(*Flow)
	f.index = len(*h)
	*h = append(*h, f)
}

// Pop is for container/heap.
func (h *flowHeap) Pop() any {
	last := len(*h) - 1
	f := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	f.index = idle
	return f
}
