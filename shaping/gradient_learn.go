package shaping

import (
	"math"

	"weir/internal/mono"
)

// compare learns from a pair of rounds. Elasticity is how much of the difference between the levels shows in throughput: 0, the
// upstream is full at the low level already; 1, it is not at the high level.
func (g *gradient) compare(high, low measure, now mono.Time) {
	contrast := max(1.01, high.used/low.used)
	raw := contrast * low.rtt / high.rtt
	pull := min(max(raw, 1/contrast), contrast*contrast) // in theory from 1 to contrast, in practice noisy
	certain := min(contrast, spread)

	elasticity := math.Log(raw) / math.Log(certain)
	g.lasting += learnSlowly * (min(max(elasticity, -1), 3) - g.lasting)
	elasticity = min(max(elasticity, -1), 2)
	g.elasticity += learn * (elasticity - g.elasticity)
	believed := min(elasticity, g.elasticity)
	if g.starting {
		believed = 2*elasticity - 1 // half of it may be other gateways
	}
	g.rebase(low.rtt, believed, (g.lasting-sure)/(1-sure), now)
	shrink := min(max(tolerance*g.baseline/low.rtt, math.Pow(certain, -veto)), 1)

	lost := pull > 1+min(loss, max(loss/3, 0.6/low.used))
	take := g.trial(low.used, lost)
	aim := low.used * pull * shrink
	share := g.share(aim > low.used)
	g.knee = g.within((share*aim + (1-share)*g.knee) * (1 - take))
	g.search(low.rtt, lost)
}

// recover takes the knee back to nine tenths of what it was before Drops took of it, once some answers in a row are as fast as before them.
// Trouble that is over tells nothing about the capacity; and if it did, each spell of Drops begins a tenth lower.
func (g *gradient) recover(rtt float64) bool {
	if rtt >= queueing*g.baseline {
		g.calm = 0
		return false
	}
	if g.calm++; g.calm < calmAnswers {
		return false
	}
	was := g.knee
	g.knee = g.within(max(g.knee, multiplier*g.before))
	g.before, g.calm = 0, 0
	return g.knee > was
}

// rebase moves the baseline towards a latency of the low level: down always, up as far as that latency is believed to be without a
// queue. The anchor goes along slowly, up as far as it is believed to last. Both are clipped to 0 and 1.
func (g *gradient) rebase(rtt, believed, lasts float64, now mono.Time) {
	believed, lasts = min(max(believed, 0), 1), min(max(lasts, 0), 1)
	if rtt < g.baseline {
		believed = 1
	}
	weight := learn
	if g.starting {
		weight = learnFast
	}
	g.baseline += weight * believed * (rtt - g.baseline)

	change := riseRate * max(0, now.Sub(g.paired)).Seconds()
	g.paired = now
	switch {
	case g.starting:
		g.anchor = g.baseline
	case g.baseline < g.anchor:
		g.anchor = max(g.baseline, min(g.anchor*math.Exp(-change), plunge*g.baseline))
	default:
		g.anchor = min(g.baseline, g.anchor*math.Exp(change*lasts*lasts))
	}
	g.baseline = min(g.baseline, slack*g.anchor)
}

// trial is the share of the knee to do without for once, to see whether throughput is lost. A trial that loses nothing is followed
// by the next; one that does, by twice as many pairs without.
func (g *gradient) trial(used float64, lost bool) float64 {
	if g.elasticity > unsettled || lost {
		g.descending = false
	}
	g.pairs++
	if lost && g.pairs > g.trialEvery {
		g.pairs = 0
		g.trialEvery = min(2*g.trialEvery, maxTrials)
	}
	switch {
	case g.descending:
		return descent
	case g.pairs >= g.trialEvery:
		return max(trial, 0.9/used)
	}
	return 0
}

// share of the way to the aim to go: all of it at the start or in a search, else more if the last pair went the same way. Rounds
// grow longer while pairs do not agree.
func (g *gradient) share(up bool) float64 {
	if up {
		g.streak = max(g.streak, 0) + 1
	} else {
		g.streak = min(g.streak, 0) - 1
	}
	same := max(g.streak, -g.streak)
	if same >= 3 || g.starting {
		g.patience = 1
	} else if same == 1 {
		g.patience = min(2*g.patience, maxPatience)
	}
	if g.descending || g.searching {
		return 1
	}
	if same > 1 {
		return longStride
	}
	return stride
}

// search decides whether the next high level is twice the knee: at the start, and after a few steps up in a row, as long as
// that gains throughput and does not cost latency: at the start, when the baseline may be far off, up to twice the least seen so far.
func (g *gradient) search(rtt float64, lost bool) {
	if g.least == 0 || rtt < g.least {
		g.least = rtt
	}
	enough, idle := 4, rtt < queueing*g.baseline
	if g.starting {
		enough, idle = 2, rtt < 2*g.least
	}
	g.searching = (g.searching || g.streak >= enough) && lost && idle
	g.begun++
	g.starting = g.starting && (g.searching || g.descending || g.begun < startPairs)
}
