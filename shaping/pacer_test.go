package shaping

import (
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

func mustPacer(t testing.TB, rate, burst int64) *Pacer {
	t.Helper()
	p, err := NewPacer(PacerConfig{rate, burst})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPacerTableOfTime(t *testing.T) {
	p := mustPacer(t, 1000, 500) // a byte a millisecond
	f := func(ms int64, n int, want time.Duration) {
		t.Helper()
		if got := p.Reserve(n, mono.Time(ms*1e6)); got != want {
			t.Errorf("at %d ms, %d bytes: wait %v, want %v", ms, n, got, want)
		}
	}
	const ms = time.Millisecond
	f(1000, 300, 0)
	f(1000, 200, 0) // that was the burst
	f(1000, 100, 100*ms)
	f(1000, 1, 101*ms)
	f(1100, 1, 5*ms) // no timer for 2 ms
	f(1101, 0, 4*ms) // nor before who came first
	f(1105, 0, 0)
	f(1104, 0, 1*ms) // the clock does not go back
	f(2000, 500, 0)  // full again
	f(2000, 2000, 2000*ms)
	f(2001, 0, 1999*ms)
	p.Cancel(2000, 2010*1e6)
	f(2010, 10, 0)
	f(2010, 10, 10*ms)
}

func TestPacerRefusesNonsense(t *testing.T) {
	for _, c := range []PacerConfig{{}, {Rate: -1}, {Rate: 1, Burst: -1}, {Rate: MaxPace + 1}, {Rate: 1, Burst: MaxPace + 1}} {
		if p, err := NewPacer(c); err == nil || p != nil {
			t.Errorf("%+v is a pacer", c)
		}
	}
	p := mustPacer(t, 1000, 10)
	if p.Reshape(PacerConfig{}, 0) == nil || p.clock.rate != 1000 {
		t.Error("reshaped to nonsense")
	}
}

// sent is a piece and the instant at which it went.
type sent struct {
	at mono.Time
	n  int64
}

// excess returns by how many bytes more than burst + rate·T went over the worst interval, exactly; at most 0 is right.
func excess(all []sent, rate, burst int64) int64 {
	slices.SortStableFunc(all, func(a, b sent) int { return int(a.at - b.at) })
	worst := big.NewInt(-1 << 62)
	billion := big.NewInt(1e9)
	for i := range all {
		sum := int64(0)
		for _, s := range all[i:] {
			sum += s.n
			if float64(sum-burst)*1e9-float64(rate)*float64(s.at-all[i].at) < -2e9 {
				continue // far from it
			}
			e := new(big.Int).Mul(big.NewInt(sum-burst), billion)
			e.Sub(e, new(big.Int).Mul(big.NewInt(rate), big.NewInt(int64(s.at-all[i].at))))
			if e.Cmp(worst) > 0 {
				worst = e
			}
		}
	}
	q, m := new(big.Int).DivMod(worst, billion, new(big.Int))
	if m.Sign() > 0 {
		q.Add(q, big.NewInt(1))
	}
	return q.Int64()
}

func TestExcessIsSeen(t *testing.T) {
	f := func(want int64, all ...sent) {
		t.Helper()
		if got := excess(all, 1000, 100); got != want {
			t.Errorf("excess of %v is %d, want %d", all, got, want)
		}
	}
	f(0, sent{5, 100})
	f(1, sent{5, 101})
	f(1, sent{5, 100}, sent{5 + 1e6 - 1, 1})
	f(0, sent{5, 100}, sent{5 + 1e6, 1})
}

// TestPacerNeverExceeds: over every interval no more than burst + rate·T, whatever is asked, given back in time, or comes late.
func TestPacerNeverExceeds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(1, 1<<36).Draw(t, "rate")
		burst := rapid.Int64Range(1, 1<<20).Draw(t, "burst")
		p, err := NewPacer(PacerConfig{rate, burst})
		if err != nil {
			t.Fatal(err)
		}
		step := max(1, burst*2e9/rate) // what two bursts take
		var all []sent
		now := mono.Time(rapid.Int64Range(0, 1<<40).Draw(t, "start"))
		for range rapid.IntRange(1, 60).Draw(t, "pieces") {
			now = now.Add(time.Duration(rapid.Int64Range(-step/10, step).Draw(t, "later")))
			n := int(rapid.Int64Range(0, burst).Draw(t, "n"))
			wait := p.Reserve(n, now)
			if wait > 0 && rapid.Bool().Draw(t, "gone") {
				p.Cancel(n, now.Add(wait/2))
				continue
			}
			all = append(all, sent{now.Add(wait), int64(n)})
		}
		most := burst
		for _, s := range all {
			most = max(most, s.n+(burst+3)/4)
		}
		if burst/4 < rate/1e9 {
			most += rate/1e9 + 1
		}
		if e := excess(all, rate, most); e > 0 {
			t.Fatalf("%d bytes too many: %v", e, all)
		}
	})
}

// TestPacerIsTight: a wait is the shortest possible, or a nap, or what those before have to wait; the model is a bucket in rationals.
func TestPacerIsTight(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Int64Range(1, 1<<34).Draw(t, "rate")
		burst := rapid.Int64Range(1, 1<<24).Draw(t, "burst")
		p, _ := NewPacer(PacerConfig{rate, burst})
		step := max(1, burst*2e9/rate)
		level, now, last := big.NewRat(burst, 1), mono.Time(0), mono.Time(0)
		for range rapid.IntRange(1, 60).Draw(t, "pieces") {
			d := rapid.Int64Range(0, step).Draw(t, "later")
			now += mono.Time(d)
			level.Add(level, new(big.Rat).Mul(big.NewRat(d, 1e9), big.NewRat(rate, 1)))
			if full := big.NewRat(burst, 1); level.Cmp(full) > 0 {
				level = full
			}
			n := rapid.Int64Range(0, burst).Draw(t, "n")
			level.Sub(level, big.NewRat(n, 1))
			due := new(big.Rat).Mul(new(big.Rat).Neg(level), big.NewRat(1e9, rate)) // ns
			got := p.Reserve(int(n), now)
			low, _ := due.Float64()
			want, slack := max(low, 0), 3+61*1e9/float64(rate) // a byte for every pause, at most
			if low > -slack {
				want = max(want, min(5e6, float64(burst)*250e6/float64(rate)))
			}
			if float64(got) < low-1e-6*max(low, 0) || float64(got) > max(want, float64(last-now))+slack+1e-6*want {
				t.Fatalf("wait %v, want about %.0f ns, at least %.0f", got, want, low)
			}
			last = max(last, now.Add(got))
		}
	})
}

// TestPacerLongRun: a thousand pieces and more in the rate's own time, one after the other by connections whose timers are up to a millisecond late.
func TestPacerLongRun(t *testing.T) {
	f := func(rate int64, connections int) {
		t.Helper()
		p := mustPacer(t, rate, 0)
		piece := p.Chunk(connections)
		end := mono.Time(min(200e9, max(6e9, 20_000*int64(piece)*1e9/rate)))
		ready := make([]mono.Time, connections)
		bytes, waits := int64(0), 0
		for {
			c := 0
			for i := range ready {
				if ready[i] < ready[c] {
					c = i
				}
			}
			now := ready[c]
			wait := p.Reserve(piece, now)
			if now.Add(wait) > end {
				break
			}
			if wait > 0 {
				waits++
				wait += time.Duration(bytes % 1e6)
			}
			bytes += int64(piece)
			ready[c] = now.Add(wait)
		}
		got := float64(bytes-p.burst) / time.Duration(end).Seconds()
		if off := got/float64(rate) - 1; off > 0.0005 || off < -0.001 {
			t.Errorf("%d B/s with %d connections in pieces of %d: %.0f B/s over %v, off by %.4f %%", rate, connections, piece, got, time.Duration(end), off*100)
		}
		if most := int(end/mono.Time(nap)) * connections; waits > most+most/2 {
			t.Errorf("%d B/s with %d connections: %d waits in %v", rate, connections, waits, time.Duration(end))
		}
	}
	for _, rate := range []int64{64 << 10, 333_333, 1 << 20, 1_428_571, 10 << 20, 100 << 20, 1 << 30, 10 << 30, 40<<30 + 7} {
		f(rate, 1)
		f(rate, 3)
		f(rate, 16)
	}
}

// TestPacerDoesNotDrift: 200,000 odd pieces at an odd rate end at the exact nanosecond.
func TestPacerDoesNotDrift(t *testing.T) {
	const rate, pieces, n = 7_000_003, 200_000, 1009
	p := mustPacer(t, rate, 1)
	now := mono.Time(12345)
	start := now
	for range pieces {
		now = now.Add(p.Reserve(n, now))
	}
	// Every Reserve comes within a burst of the one before, a byte: nothing is lost but the rounding of each pause.
	exact := (pieces*n - 1) * 1e9 / float64(rate)
	if off := float64(now.Sub(start)) - exact; off < 0 || off > pieces*1e9/float64(rate)+1 {
		t.Errorf("off by %.0f ns of %.0f", off, exact)
	}

	p = mustPacer(t, rate, 2048)
	now = start
	for range pieces {
		now = now.Add(p.Reserve(n, now))
	}
	pos := int64(pieces*n - 2048)
	first := start.Add(time.Duration((pos*1e9 + rate - 1) / rate))
	if d := now.Sub(first); d < 0 || d > nap {
		t.Errorf("the last piece goes at %d, %v after %d", now, d, first)
	}
}

func TestPacerChunk(t *testing.T) {
	f := func(rate, burst int64, connections, want int) {
		t.Helper()
		if got := mustPacer(t, rate, burst).Chunk(connections); got != want {
			t.Errorf("rate %d, burst %d, %d connections: pieces of %d, want %d", rate, burst, connections, got, want)
		}
	}
	f(64<<10, 0, 1, 2<<10)
	f(64<<10, 0, 50, 2<<10)
	f(256<<10, 0, 50, 8<<10)
	f(100<<20, 0, 1, 1<<20)
	f(100<<20, 0, 10, 209715)
	f(100<<20, 0, 1000, 16<<10)
	f(10<<30, 0, 1, 1<<20)
	f(10<<30, 4096, 1, 2048)
	f(1, 1, 0, 1)
}

func TestPacerReshapeKeepsWhatIsOwed(t *testing.T) {
	p := mustPacer(t, 1000, 100)
	p.Reserve(100, 0)
	p.Reserve(1000, 0) // due in 1 s
	if err := p.Reshape(PacerConfig{Rate: 10_000, Burst: 100}, mono.Time(500e6)); err != nil {
		t.Fatal(err)
	}
	// 500 bytes stand between it and the burst, and go ten times as fast.
	if got, want := p.Reserve(50, mono.Time(500e6)), 55*time.Millisecond; got != want {
		t.Errorf("wait %v, want %v", got, want)
	}
	if err := p.Reshape(PacerConfig{Rate: 1000, Burst: 1}, mono.Time(600e6)); err != nil { // 100 at 605 ms, 1 has all of it due
		t.Fatal(err)
	}
	if got := p.Reserve(1, mono.Time(5e9)); got != 0 {
		t.Errorf("wait %v after a long pause", got)
	}
	if got, want := p.Reserve(1, mono.Time(5e9)), time.Millisecond; got != want {
		t.Errorf("wait %v, want %v", got, want)
	}
}

// TestCancelAfterTheFact: bytes that were let go and given back later leave what there would be without them.
func TestCancelAfterTheFact(t *testing.T) {
	const ms = mono.Time(1e6)
	left := func(p *Pacer, now mono.Time, want int) {
		t.Helper()
		if got := p.Reserve(want, now); got != 0 {
			t.Errorf("%d bytes wait %v", want, got)
		}
		if p.Reserve(1, now) == 0 {
			t.Errorf("there were more than %d bytes", want)
		}
	}
	p := mustPacer(t, 1000, 100)
	x, _ := p.reserve(100, 0)
	p.Reserve(50, 50*ms)
	p.cancel(x, 100, 50*ms) // 50 came too late to be of use
	left(p, 50*ms, 50)

	p = mustPacer(t, 1000, 100)
	x, _ = p.reserve(100, 0)
	y, _ := p.reserve(50, 0)
	p.cancel(x, 100, 0)
	p.Reserve(30, 40*ms)
	p.cancel(y, 50, 40*ms) // of 50 that stood where x had been
	left(p, 40*ms, 70)
}

// TestByteClockMatchesRationals: in whatever steps and at whatever rates, it shows the exact sum.
func TestByteClockMatchesRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, sum := byteClock{}, new(big.Int)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			c.rate = rapid.Int64Range(0, MaxPace).Draw(t, "rate")
			d := rapid.Int64Range(0, 1<<50).Draw(t, "step")
			sum.Add(sum, new(big.Int).Mul(big.NewInt(d), big.NewInt(c.rate)))
			c.advance(c.at + mono.Time(d))
			n, rest := new(big.Int).DivMod(sum, big.NewInt(1e9), new(big.Int))
			wrapped := new(big.Int).And(n, new(big.Int).SetUint64(1<<64-1)).Uint64()
			if uint64(c.pos) != wrapped || c.nano != rest.Int64() {
				t.Fatalf("shows %d + %d/1e9, want %d + %d/1e9", c.pos, c.nano, n, rest)
			}
			ahead := rapid.Int64Range(0, 1<<40).Draw(t, "ahead")
			if w := c.until(c.pos + ahead); c.rate > 0 && w > 0 && w < 1<<50 {
				at, before := c, c
				at.advance(c.at.Add(w))
				before.advance(c.at.Add(w - 1))
				if at.pos-c.pos < ahead || before.pos-c.pos >= ahead {
					t.Fatalf("rate %d: %d bytes after %v, they come after %d and before %d", c.rate, ahead, w, before.pos-c.pos, at.pos-c.pos)
				}
			}
		}
	})
}

func TestPacerAllocates(t *testing.T) {
	p := mustPacer(t, 1<<20, 0)
	now := mono.Time(0)
	if n := testing.AllocsPerRun(100, func() { now = now.Add(p.Reserve(4096, now)); p.Cancel(10, now); p.Chunk(2) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestPacerByManyAtOnce: all waits that concurrent callers are told are those of one line.
func TestPacerByManyAtOnce(t *testing.T) {
	const rate, burst, n = 1 << 20, 4096, 1024
	p := mustPacer(t, rate, burst)
	var mu sync.Mutex
	var all []sent
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			now := mono.Time(0)
			for i := range 100 {
				now = now.Add(p.Reserve(n, now))
				if i%10 == 9 {
					p.Chunk(8)
				}
				mu.Lock()
				all = append(all, sent{now, n})
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if e := excess(all, rate, burst); e > 0 {
		t.Errorf("%d bytes too many", e)
	}
	if last, want := all[len(all)-1].at, mono.Time((800*n-burst)*1e9/rate); last < want || last > want.Add(2*nap) {
		t.Errorf("the last goes at %d, want %d", last, want)
	}
}

func BenchmarkPacerReserve(b *testing.B) {
	for _, rate := range []int64{64 << 10, 100 << 20, 10 << 30} {
		b.Run(fmt.Sprint(rate), func(b *testing.B) {
			b.ReportAllocs()
			p := mustPacer(b, rate, 0)
			now := mono.Time(0)
			for b.Loop() {
				now = now.Add(p.Reserve(4096, now))
			}
		})
	}
	b.Run("parallel", func(b *testing.B) {
		p := mustPacer(b, 10<<30, 0)
		b.RunParallel(func(pb *testing.PB) {
			now := mono.Time(0)
			for pb.Next() {
				now = now.Add(p.Reserve(4096, now))
			}
		})
	})
}
