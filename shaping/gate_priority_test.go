package shaping

import (
	"fmt"
	"testing"
	"time"
)

// offeredMix is how much of what is offered is of each band.
var offeredMix = [Bands]float64{0.1, 0.2, 0.4, 0.3}

// crowds are ways in which bands go with flows: the flow of the i-th of ten tenants that a band's requests come from.
var crowds = map[string]func(b Band, i int) uint64{
	"all of one flow":  func(Band, int) uint64 { return 0 },
	"a flow a band":    func(b Band, _ int) uint64 { return uint64(b) },
	"tenants with all": func(_ Band, i int) uint64 { return uint64(i) },
	"tenants apart":    func(b Band, i int) uint64 { return uint64(b)<<8 | uint64(i) },
}

// TestPriorities has three times as much come as can be done: what is critical is served, and of the rest the more the more it matters, but some
// of all.
func TestPriorities(t *testing.T) {
	for name, flow := range crowds {
		b := newBench(GateConfig{Limit: 8, MaxLength: 1024, MaxWait: 500 * time.Millisecond, Aging: 125 * time.Millisecond})
		const capacity, service = 8 / 0.02, 20 * time.Millisecond
		var byBand [Bands][]*tenant
		var all []*tenant
		for band, part := range offeredMix {
			for i := range 10 {
				n := &tenant{class: Class{Band(band), 0, flow(Band(band), i)}, rate: 3 * capacity * part / 10}
				byBand[band], all = append(byBand[band], n), append(all, n)
			}
		}
		b.serve(all, service, 20*time.Second)
		var rates [Bands]float64
		total := 0
		for band, ns := range byBand {
			asked, served := 0, 0
			for _, n := range ns {
				asked, served = asked+n.asked, served+n.served
			}
			rates[band], total = float64(served)/float64(asked), total+served
		}
		at := fmt.Sprintf("%s: served %.4f, %.3f of the capacity", name, rates, float64(total)/capacity/20)
		t.Log(at)
		if rates[Critical] < 0.999 || rates[Low] < 0.01 || float64(total) < 0.98*capacity*20 {
			t.Error(at)
		}
		for band := High; band < Bands; band++ {
			if rates[band] > rates[band-1] {
				t.Errorf("band %d: %s", band, at)
			}
		}
	}
}

// TestCriticalAlone has three times as much that is critical come as can be done. It has 15 of 16 seats, and the others the rest; in a queue full
// of what displaces them they do not live to age.
func TestCriticalAlone(t *testing.T) {
	for length, least := range map[int]float64{64: 0, 1024: 0.06} {
		b := newBench(GateConfig{Limit: 8, MaxLength: length, MaxWait: 500 * time.Millisecond, Aging: 125 * time.Millisecond})
		const capacity = 8 / 0.02
		critical := &tenant{class: Class{Critical, 0, 0}, rate: 3 * capacity}
		high, low := &tenant{class: Class{High, 0, 1}, rate: capacity}, &tenant{class: Class{Low, 0, 2}, rate: capacity}
		b.serve([]*tenant{critical, high, low}, 20*time.Millisecond, 10*time.Second)
		total := float64(critical.served + high.served + low.served)
		at := fmt.Sprintf("queue of %d: critical %d, high %d, low %d of %v seats", length, critical.served, high.served, low.served, total)
		t.Log(at)
		if total < 0.98*capacity*10 || float64(critical.served) < total*15/16-1 || float64(high.served+low.served) < least*total || length > 64 && low.served < 20 {
			t.Error(at)
		}
	}
}

// TestShortOfTime: what is low and can wait for 200 ms only has its part of the open seats, though what is normal has waited longer all the time.
func TestShortOfTime(t *testing.T) {
	b := newBench(GateConfig{Limit: 8, MaxLength: 1024, MaxWait: 500 * time.Millisecond, Aging: 125 * time.Millisecond})
	const capacity = 8 / 0.02
	flood, low := &tenant{class: Class{Normal, 0, 1}, rate: 3 * capacity}, &tenant{class: Class{Low, 0, 2}, rate: capacity / 10, patience: 200 * time.Millisecond}
	b.serve([]*tenant{flood, low}, 20*time.Millisecond, 10*time.Second)
	at := fmt.Sprintf("low: %d of %d served, normal: %d of %d", low.served, low.asked, flood.served, flood.asked)
	t.Log(at)
	if total := low.served + flood.served; low.served < total/openEvery/4 || flood.served < total*(openEvery-1)/openEvery {
		t.Error(at)
	}
}
