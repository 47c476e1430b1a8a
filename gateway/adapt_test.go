package gateway

import (
	"testing"
	"time"

	"weir/internal/mono"
	"weir/limiter"
	"weir/shaping"
)

// TestAdaptiveFollowsDemandAndPressure: the limit rises while more is asked than it allows and the pool is well, and falls as the pool is not. Requests
// are answered here: an endpoint that this machine makes slow would be pressure too.
func TestAdaptiveFollowsDemandAndPressure(t *testing.T) {
	g := newGateway(t, `pools: [{name: api, connections: {max: 4}, endpoints: [{address: '127.0.0.1:1'}]}]
routes: [{name: quick, match: {path: /}, respond: {status: 204}}, {name: all, pool: api}]
policies: [{name: p, algorithm: adaptive, limit: 100, burst: 10}]
`)
	p := g.Snapshot().policies[0]
	at := mono.Time(0)
	interval := func(requests int) {
		for range requests {
			spend(g, 1, nil)
		}
		at = at.Add(adaptEvery)
		g.adapt(at)
	}
	factor := func() float64 { return g.factor(p.variants[0].identity) }
	interval(0)
	for range 40 {
		interval(200)
	}
	if f := factor(); f < 1.9 || f > limiter.MaxFactor || p.variants[0].limiter.Spec().Rate.Burst != int64(10*f) {
		t.Errorf("factor %v, %+v, with twice the demand and no pressure", f, p.variants[0].limiter.Spec())
	}
	if got := g.Summary(g.Snapshot()).Policies[0].Factor; got != factor() {
		t.Errorf("summary shows %v", got)
	}
	reload(t, g, `pools: [{name: api, connections: {max: 4}, endpoints: [{address: '127.0.0.1:1'}]}]
routes: [{name: quick, match: {path: /}, respond: {status: 204}}, {name: all, pool: api}]
policies: [{name: p, algorithm: adaptive, limit: 50, burst: 10}]
`)
	p = g.Snapshot().policies[0]
	if f := factor(); f < 1.9 || p.variants[0].limiter.Spec().Rate.N != limiter.Rate(p.variants[0].spec.Rate).Scaled(f).N {
		t.Errorf("after a reload: factor %v, %+v", f, p.variants[0].limiter.Spec())
	}
	var held []*Exchange
	gate := g.Snapshot().pools[0].gate
	for range 4 {
		x := g.exchange(request("GET", "/"))
		seat, ok := gate.TryEnter()
		if !ok {
			t.Fatal("no seat")
		}
		x.seat = seat
		held = append(held, x)
	}
	for range 60 {
		interval(0)
	}
	if f := factor(); f > 1.1*limiter.MinFactor {
		t.Errorf("factor %v with all seats in use", f)
	}
	for _, x := range held {
		x.seat.Leave(shaping.Ignore, 0, 0)
	}
	for range 60 {
		interval(0)
	}
	if f := factor(); f < 0.95 || f > 1.05 {
		t.Errorf("factor %v when all is calm again", f)
	}
}

func TestUsualLatency(t *testing.T) {
	var u usual
	f := func(d time.Duration, want float64) {
		t.Helper()
		if got := u.slower(d); got < want-0.01 || got > want+0.01 {
			t.Errorf("%v: %v, want %v", d, got, want)
		}
	}
	const ms = time.Millisecond
	f(time.Millisecond, 0) // too short to tell from 5 ms
	f(4*ms, 0)
	f(10*ms, 1.0/3)
	f(20*ms, 1)
	f(time.Second, 1)
	for range 3000 {
		u.slower(10 * ms)
	}
	f(10*ms, 0)
}
