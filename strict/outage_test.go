package strict

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"weir/limiter"
)

// load is many goroutines that Take without a pause, and notice how long that takes.
type load struct {
	stop    atomic.Bool
	wg      sync.WaitGroup
	ok      atomic.Int64
	away    atomic.Int64
	longest atomic.Int64 // ns
	slow    atomic.Int64 // those of more than a fifth of the timeout that failed
}

func (l *load) run(t *testing.T, s *Store, p *Policy, goroutines int) {
	for g := range goroutines {
		l.wg.Go(func() {
			var answers [1]Answer
			asks := []Ask{{Policy: p, Key: key(uint64(g)), N: 1}}
			for !l.stop.Load() {
				start := time.Now()
				_, err := s.Take(context.Background(), asks, answers[:])
				d := time.Since(start)
				if int64(d) > l.longest.Load() {
					l.longest.Store(int64(d))
				}
				switch {
				case err == nil:
					l.ok.Add(1)
				case errors.Is(err, ErrAway):
					l.away.Add(1)
					if d > s.config.Timeout/5 {
						l.slow.Add(1)
					}
					time.Sleep(100 * time.Microsecond)
				default:
					t.Error(err)
				}
			}
		})
	}
}

func (l *load) end() { l.stop.Store(true); l.wg.Wait() }

const outageTimeout = 250 * time.Millisecond // wide, for busy machines and -race

// TestKilledUnderLoad: kill -9 costs whoever is on the way at most one timeout, and whoever comes after nothing; the return is noticed.
func TestKilledUnderLoad(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}, Timeout: outageTimeout}, nil)
	p := policy(t, 1, bucketOf(1_000_000_000, time.Second, 1_000_000_000))
	var l load
	l.run(t, s, p, 32)
	defer l.end()
	until(t, 10*time.Second, "it runs", func() bool { return l.ok.Load() > 1000 })
	l.longest.Store(0)
	r.kill()
	until(t, 5*time.Second, "it is noticed", func() bool { return !s.Up() && l.away.Load() > 1000 })
	if l.slow.Load() > 32 {
		t.Errorf("%d calls of 32 goroutines waited", l.slow.Load())
	}
	if d := time.Duration(l.longest.Load()); d > 2*outageTimeout {
		t.Errorf("a call took %v", d)
	}
	t.Logf("killed: %d failed, %d of them after more than %v; the longest took %v; %s", l.away.Load(), l.slow.Load(), outageTimeout/5,
		time.Duration(l.longest.Load()), s.Trouble())
	time.Sleep(2 * time.Second)
	r.start()
	back := until(t, 5*time.Second, "the return is noticed", s.Up)
	t.Logf("back: noticed after %v", back)
	if back > probeMax+outageTimeout {
		t.Errorf("the return was noticed after %v", back)
	}
	ok := l.ok.Load()
	until(t, 5*time.Second, "it runs again", func() bool { return l.ok.Load() > ok+1000 })
}

// TestStoppedUnderLoad: a server that hangs costs as much.
func TestStoppedUnderLoad(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}, Timeout: outageTimeout}, nil)
	p := policy(t, 1, bucketOf(1_000_000_000, time.Second, 1_000_000_000))
	var l load
	l.run(t, s, p, 32)
	defer l.end()
	until(t, 10*time.Second, "it runs", func() bool { return l.ok.Load() > 1000 })
	l.longest.Store(0)
	must(t, r.cmd.Process.Signal(syscall.SIGSTOP))
	until(t, 5*time.Second, "it is noticed", func() bool { return !s.Up() && l.away.Load() > 1000 })
	if l.slow.Load() > 32*tolerated {
		t.Errorf("%d calls of 32 goroutines waited", l.slow.Load())
	}
	if d := time.Duration(l.longest.Load()); d > 2*outageTimeout {
		t.Errorf("a call took %v", d)
	}
	t.Logf("stopped: %d failed, %d of them after more than %v; the longest took %v", l.away.Load(), l.slow.Load(), outageTimeout/5,
		time.Duration(l.longest.Load()))
	must(t, r.cmd.Process.Signal(syscall.SIGCONT))
	t.Logf("back: noticed after %v", until(t, 5*time.Second, "the return is noticed", s.Up))
}

func TestAwayAtTheStart(t *testing.T) {
	r := newServer(t)
	r.kill()
	s := started(t, Config{Addresses: []string{r.addr()}}, nil)
	var answers [1]Answer
	asks := []Ask{{Policy: policy(t, 1, bucketOf(1, time.Second, 1)), Key: key(1), N: 1}}
	if _, err := s.Take(context.Background(), asks, answers[:]); !errors.Is(err, ErrAway) {
		t.Errorf("error %v, want ErrAway", err)
	}
	until(t, 5*time.Second, "the trouble is known", func() bool { return strings.Contains(s.Trouble(), "refused") })
	time.Sleep(time.Second)
	r.start()
	until(t, 5*time.Second, "it is found", s.Up)
	take(t, s, asks[0])
}

func TestScriptForgotten(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	a := Ask{Policy: policy(t, 1, windowOf(limiter.FixedWindow, 100, 24*time.Hour)), Key: key(1), N: 1}
	for range 3 {
		must(t, r.client().ScriptFlush(context.Background()).Err())
		take(t, s, a)
		must(t, r.client().ScriptFlush(context.Background()).Err())
		settled(t, s, 1, func() { s.Correct(&a, &Mark{}, 2) })
	}
	if a.N = 0; take(t, s, a).Left != 91 {
		t.Errorf("%d are left, want 91: spent more or less than once", take(t, s, a).Left)
	}
	if s.Stats().Scripts == 0 {
		t.Error("nobody noticed")
	}
}

func TestWrongPassword(t *testing.T) {
	r := newServer(t, "--requirepass", "sesame")
	f := func(password, want string) {
		t.Helper()
		s := started(t, Config{Addresses: []string{r.addr()}, Password: password}, nil)
		until(t, 5*time.Second, "the trouble is known: "+want, func() bool { return strings.Contains(s.Trouble(), want) })
		if strings.Contains(s.Trouble(), "mellon") {
			t.Error("the password is in the trouble")
		}
	}
	f("mellon", "WRONGPASS")
	f("", "NOAUTH")
	s := opened(t, Config{Addresses: []string{r.addr()}, Password: "sesame"}, nil)
	must(t, r.client().Do(context.Background(), "auth", "sesame").Err())
	take(t, s, Ask{Policy: policy(t, 1, bucketOf(1, time.Second, 1)), Key: key(1), N: 1})
}

// TestReadOnly: a server that may not write is down, and says so, until it may.
func TestReadOnly(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	other := newServer(t)
	ctx := context.Background()
	must(t, r.client().ReplicaOf(ctx, "127.0.0.1", strings.TrimPrefix(other.addr(), "127.0.0.1:")).Err())
	asks := []Ask{{Policy: policy(t, 1, bucketOf(1, time.Second, 1)), Key: key(1), N: 1}}
	until(t, 5*time.Second, "it is noticed", func() bool {
		var answers [1]Answer
		_, _ = s.Take(ctx, asks, answers[:])
		return !s.Up()
	})
	time.Sleep(3 * probeMax)
	if s.Up() {
		t.Error("a replica is taken for up")
	}
	must(t, r.client().ReplicaOf(ctx, "no", "one").Err())
	until(t, 5*time.Second, "it may write", s.Up)
}

// TestNonsenseInAKey: what others wrote under our keys is an error of that call, or nothing.
func TestNonsenseInAKey(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}}, nil)
	p := policy(t, 1, bucketOf(1, time.Second, 1))
	c, ctx := r.client(), context.Background()
	must(t, c.Set(ctx, p.key("weir", key(1), limiter.Key{}), "nonsense", 0).Err())
	if !take(t, s, Ask{Policy: p, Key: key(1), N: 1}).OK {
		t.Error("it counts")
	}
	must(t, c.LPush(ctx, p.key("weir", key(2), limiter.Key{}), "nonsense").Err())
	var answers [1]Answer
	if _, err := s.Take(ctx, []Ask{{Policy: p, Key: key(2), N: 1}}, answers[:]); !errors.Is(err, ErrAway) || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("error %v", err)
	}
	if !s.Up() {
		t.Error("one bad key opens the breaker")
	}
}

func TestKeysVanish(t *testing.T) {
	r := newServer(t)
	s := opened(t, Config{Addresses: []string{r.addr()}, Lease: 20 * time.Second, Timeout: time.Second}, nil)
	for i, spec := range []limiter.Spec{bucketOf(1000, time.Second, 10), windowOf(limiter.FixedWindow, 9, 50*time.Millisecond),
		windowOf(limiter.SlidingWindow, 9, 50*time.Millisecond)} {
		take(t, s, Ask{Policy: policy(t, uint64(i), spec), Key: key(1), N: 2})
	}
	seats := Ask{Policy: policy(t, 9, limiter.Spec{Algorithm: limiter.Concurrency, Rate: limiter.Rate{N: 2}}), Key: key(1), N: 1}
	got := take(t, s, seats)
	c, ctx := r.client(), context.Background()
	for _, k := range c.Keys(ctx, "*").Val() {
		if c.PTTL(ctx, k).Val() <= 0 {
			t.Errorf("key %s stays", k)
		}
	}
	s.Release(&seats, &got.Mark)
	until(t, 5*time.Second, "all keys vanish", func() bool { return c.DBSize(ctx).Val() == 0 })
}
