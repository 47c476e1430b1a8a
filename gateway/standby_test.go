package gateway

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/mono"
	"weir/shaping"
	"weir/telemetry"
)

// observer notes what a gate is told.
type observer struct{ samples []shaping.Sample }

func (o *observer) Limit() int { return 2 }
func (o *observer) Observe(s shaping.Observation) int {
	o.samples = append(o.samples, s.Sample)
	return 2
}

// standing is a pool of two seats, and a call whose first answer asks for half a second before the next attempt.
type standing struct {
	g *Gateway
	*poolConf
	*fakeCarrier
	seen observer
	over chan struct{} // the call is
}

// standBy runs f in fake time, when the call waits for its second attempt.
func standBy(t *testing.T, more string, f func(t *testing.T, s *standing)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Hour - time.Duration(mono.Now())) // fake time begins before the process did
		g := New(Options{Hub: telemetry.NewHub(), Log: slog.New(slog.DiscardHandler)})
		defer g.Close()
		reload(t, g, poolYAML("    retry: {attempts: 2, budget: 100%, on: [grpc-unavailable]}\n    connections: {max: 1, queue: 1}\n", "127.0.0.1:1", "127.0.0.1:2")+"routes: [{name: all, pool: api"+more+"}]")
		s := &standing{g: g, poolConf: g.snap.Load().pools[0], fakeCarrier: request("POST", "/"), over: make(chan struct{})}
		s.gate.Reshape(shaping.GateConfig{Limit: 2, Estimator: &s.seen, MaxLength: 1, MaxWait: time.Second}, mono.Now())
		s.stored, s.answer = true, map[string]string{"grpc-retry-pushback-ms": "500"}
		s.script = []Result{{Status: 200, Sent: true, code: codeUnavailable}, {Status: 200, Sent: true, code: codeOK}}
		var tries atomic.Int32
		s.onTry = func(try int) { tries.Store(int32(try)) }
		go func() {
			defer close(s.over)
			g.serve(g.exchange(s.fakeCarrier))
		}()
		synctest.Wait()
		if n := s.gate.Stats().InFlight; n != 0 || tries.Load() != 1 {
			t.Errorf("%d seats are held while it waits, after %d attempts", n, tries.Load())
		}
		f(t, s)
		<-s.over
		if err := everythingBack(g); err != nil {
			t.Error(err)
		}
	})
}

// ends checks how the call did: attempts, answers given up, retries counted, and what the gate was told.
func (s *standing) ends(t *testing.T, tries, dropped int, samples ...shaping.Sample) {
	t.Helper()
	<-s.over
	if len(s.picked) != tries || s.dropped != dropped || s.done != 1 || s.retries.Value() != uint64(tries-1) {
		t.Errorf("%d attempts, %d answers given up, %d sent on, %d retries; want %d and %d", len(s.picked), s.dropped, s.done, s.retries.Value(), tries, dropped)
	}
	if len(s.seen.samples) != len(samples) {
		t.Fatalf("the gate was told %v, want %v", s.seen.samples, samples)
	}
	for i := range samples {
		if s.seen.samples[i] != samples[i] {
			t.Errorf("the gate was told %v, want %v", s.seen.samples, samples)
		}
	}
}

// TestStandByWithoutASeat: others have the seat while an exchange waits for its next attempt, and it takes one again.
func TestStandByWithoutASeat(t *testing.T) {
	standBy(t, "", func(t *testing.T, s *standing) {
		began := time.Now()
		s.ends(t, 2, 1, shaping.Drop, shaping.Success)
		if took := time.Since(began); took != 500*time.Millisecond {
			t.Errorf("it took %v", took)
		}
	})
	standBy(t, "", func(t *testing.T, s *standing) { // in the queue, for it finds both taken
		var seats [2]shaping.Seat
		for i := range seats {
			seats[i], _ = s.gate.TryEnter()
		}
		began := time.Now()
		time.Sleep(700 * time.Millisecond)
		seats[0].Leave(shaping.Ignore, 0, mono.Now())
		s.ends(t, 2, 1, shaping.Drop, shaping.Ignore, shaping.Success)
		if took := time.Since(began); took != 700*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		seats[1].Leave(shaping.Ignore, 0, mono.Now())
	})
}

// TestStandByInVain: without a seat, an endpoint or time afterwards, the client gets the answer that there is.
func TestStandByInVain(t *testing.T) {
	standBy(t, "", func(t *testing.T, s *standing) { // no seat in the second that it may queue
		var seats [2]shaping.Seat
		for i := range seats {
			seats[i], _ = s.gate.TryEnter()
		}
		s.ends(t, 1, 0, shaping.Drop)
		for i := range seats {
			seats[i].Leave(shaping.Ignore, 0, mono.Now())
		}
	})
	standBy(t, "", func(t *testing.T, s *standing) { // no endpoint
		for _, address := range []string{"127.0.0.1:1", "127.0.0.1:2"} {
			if err := s.balancer.Drain(address); err != nil {
				t.Fatal(err)
			}
		}
		s.ends(t, 1, 0, shaping.Drop, shaping.Ignore)
	})
	standBy(t, ", timeout: 800ms", func(t *testing.T, s *standing) { // no time: its queue would end with the route's
		var seats [2]shaping.Seat
		for i := range seats {
			seats[i], _ = s.gate.TryEnter()
		}
		began := time.Now()
		s.ends(t, 1, 0, shaping.Drop)
		if took := time.Since(began); took != 800*time.Millisecond {
			t.Errorf("it took %v", took)
		}
		for i := range seats {
			seats[i].Leave(shaping.Ignore, 0, mono.Now())
		}
	})
}
