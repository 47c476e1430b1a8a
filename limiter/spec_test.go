package limiter

import (
	"math/big"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// oracle is an algorithm as one would explain it.
type oracle interface {
	// take answers, and spends if keep is set and the answer is yes.
	take(n int64, now mono.Time, keep bool) Decision
	// spend charges whatever is left, and returns the number of the spending.
	spend(n int64, now mono.Time) int
	// give gives back n units of spending i.
	give(i int, n int64, now mono.Time)
}

func newOracle(s Spec, epoch int64) oracle {
	switch s.Algorithm {
	case SlidingWindow:
		return &logged{limit: s.Rate.N, per: int64(s.Rate.Per), parts: int64(s.Parts), keep: int64(s.Parts), epoch: epoch, newest: -1 << 62}
	case FixedWindow:
		return &logged{limit: s.Rate.N, per: int64(s.Rate.Per), parts: 1, epoch: epoch, newest: -1 << 62}
	case Quota: // in UTC, whose hours and days are all alike
		per := map[string]time.Duration{"hour": time.Hour, "day": 24 * time.Hour}[s.Calendar.Period]
		return &logged{limit: s.Rate.N, per: int64(per), parts: 1, epoch: epoch, newest: -1 << 62}
	case Concurrency:
		return &seated{limit: s.Rate.N}
	}
	m := newModel(s.Rate)
	m.wait, m.smooth = s.MaxWait, s.Algorithm == LeakyBucket && s.MaxWait > 0
	return &dripping{model: m}
}

// dripping is the model of a token or leaky bucket.
type dripping struct {
	*model
	places []place
}

func (d *dripping) spend(n int64, now mono.Time) int {
	at, tokens := d.drip(now)
	d.at, d.tokens = at, new(big.Rat).Sub(tokens, big.NewRat(n, 1))
	d.places = append(d.places, d.place(n))
	return len(d.places) - 1
}

func (d *dripping) give(i int, n int64, now mono.Time) { d.refund(&d.places[i], n, now) }

// logged is a window that keeps every spending. Time is cut into cells of per/parts; what was spent in the cell of now and in
// the keep cells before it counts.
type logged struct {
	limit, per, parts, keep, epoch int64
	newest                         int64
	still                          bool // a gift does not make an earlier now count as its own
	log                            []struct{ cell, n int64 }
}

func (l *logged) cell(now mono.Time) int64 {
	t := new(big.Int).Add(big.NewInt(int64(now)), big.NewInt(l.epoch))
	return floor(new(big.Rat).SetFrac(t.Mul(t, big.NewInt(l.parts)), big.NewInt(l.per)))
}

func (l *logged) begin(cell int64) mono.Time {
	t := new(big.Int).Mul(big.NewInt(cell), big.NewInt(l.per))
	return mono.Time(int64(ceil(new(big.Rat).SetFrac(t, big.NewInt(l.parts)))) - l.epoch)
}

func (l *logged) used(k int64) (sum int64) {
	for _, s := range l.log {
		if s.cell >= k-l.keep {
			sum += s.n
		}
	}
	return sum
}

// below is the first instant at which no more than most is in use, of what is at cell k.
func (l *logged) below(k, most int64) mono.Time {
	for l.used(k) > most {
		k++
	}
	return l.begin(k)
}

func (l *logged) take(n int64, now mono.Time, keep bool) Decision {
	k := max(l.cell(now), l.newest)
	used := l.used(k)
	d := Decision{OK: n == 0 || used+n <= l.limit}
	switch {
	case d.OK && n > 0:
		if used += n; keep {
			l.spend(n, now)
		}
		d.Reset = l.begin(k + l.keep + 1).Sub(now)
	case used > 0:
		d.Reset = l.below(k, 0).Sub(now)
	}
	if n > l.limit {
		d.Retry = Never
	} else if !d.OK {
		d.Retry = l.below(k, l.limit-n).Sub(now)
	}
	d.Left = max(0, l.limit-used)
	return d
}

func (l *logged) spend(n int64, now mono.Time) int {
	l.newest = max(l.cell(now), l.newest)
	l.log = append(l.log, struct{ cell, n int64 }{l.newest, n})
	return len(l.log) - 1
}

func (l *logged) give(i int, n int64, now mono.Time) {
	l.log[i].n -= n
	if l.keep > 0 && !l.still {
		l.newest = max(l.cell(now), l.newest)
	}
}

type seated struct{ limit, used int64 }

func (s *seated) take(n int64, _ mono.Time, keep bool) Decision {
	d := Decision{OK: n == 0 || s.used+n <= s.limit, Left: max(0, s.limit-s.used)}
	if d.OK {
		d.Left -= n
		if n > 0 && keep {
			s.used += n
		}
	} else if d.Retry = Unknown; n > s.limit {
		d.Retry = Never
	}
	if s.used > 0 || d.OK && n > 0 {
		d.Reset = Unknown
	}
	return d
}

func (s *seated) spend(n int64, _ mono.Time) int   { s.used += n; return 0 }
func (s *seated) give(_ int, n int64, _ mono.Time) { s.used -= n }

// anySpec draws small numbers, for which much happens, and windows whose parts are no whole nanoseconds.
func anySpec() *rapid.Generator[Spec] {
	return rapid.Custom(func(t *rapid.T) Spec {
		s := Spec{Algorithm: Algorithm(rapid.IntRange(0, len(algorithmNames)-1).Draw(t, "algorithm"))}
		s.Rate = Rate{N: rapid.Int64Range(1, 12).Draw(t, "n"), Burst: rapid.Int64Range(1, 8).Draw(t, "burst")}
		s.Rate.Per = time.Duration(rapid.OneOf(rapid.SampledFrom([]int64{1000, 7919, 1e9, 60e9, 3600e9}), rapid.Int64Range(60, 1e6)).Draw(t, "per"))
		switch s.Algorithm {
		case TokenBucket, LeakyBucket, Adaptive:
			if rapid.Bool().Draw(t, "waits") {
				unit := newGCRA(s.Rate).unit.ns
				s.MaxWait = time.Duration(rapid.Int64Range(0, min(int64(maxWait), 10*unit+10)).Draw(t, "wait"))
			}
		case SlidingWindow:
			s.Parts = rapid.OneOf(rapid.IntRange(1, 8), rapid.IntRange(1, 60)).Draw(t, "parts")
		case Quota:
			s.Calendar.Period = rapid.SampledFrom([]string{"hour", "day"}).Draw(t, "period")
		}
		return s
	})
}

// epochs are instants of 1970 and of now, that are no multiples of anything.
func epochs() *rapid.Generator[int64] {
	return rapid.SampledFrom([]int64{0, 1, 1_790_000_000_123_456_789})
}

// stride draws a time that matters to s.
func stride(t *rapid.T, s Spec) time.Duration {
	whole := int64(s.Rate.Per)
	switch s.Algorithm {
	case Quota:
		whole = int64(24 * time.Hour)
	case TokenBucket, LeakyBucket, Adaptive:
		return pause(t, s.Rate)
	}
	part := whole / int64(max(1, s.Parts))
	return time.Duration(rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(0, 2), rapid.Int64Range(0, part+1),
		rapid.Int64Range(max(0, part-1), part+1), rapid.Int64Range(0, whole+part+1)).Draw(t, "stride"))
}

// Every algorithm against its oracle: takes, corrections, gifts in part, time that goes back.
func TestEveryAlgorithmIsItsModel(t *testing.T) {
	type held struct {
		spending
		i int
		n int64
	}
	check(t, func(t *rapid.T) {
		spec, epoch := anySpec().Draw(t, "spec"), epochs().Draw(t, "epoch")
		l, o := newSpec(t, spec, Options{Epoch: epoch}), newOracle(spec, epoch)
		k, now := key(1), mono.Time(rapid.Int64Range(0, 1<<50).Draw(t, "start"))
		s, h := l.shard(k)
		var all []held
		draw := func(t *rapid.T) int64 { return rapid.Int64Range(0, 1+min(spec.Rate.N, 5)).Draw(t, "units") }
		t.Repeat(map[string]func(*rapid.T){
			"pass": func(t *rapid.T) { now = now.Add(stride(t, spec)) },
			"back": func(t *rapid.T) { now = max(0, now.Add(-stride(t, spec))) },
			"take": func(t *rapid.T) {
				n := draw(t)
				peek := l.Peek(k, n, now)
				got, sp := s.spendAs(k, h, n, now)
				want := o.take(n, now, false)
				if got != want || peek != want {
					t.Fatalf("take %d at %d: got %+v, peeked %+v, want %+v", n, now, got, peek, want)
				}
				if got.OK && n > 0 {
					all = append(all, held{sp, o.spend(n, now), n})
				}
			},
			"give": func(t *rapid.T) {
				if len(all) == 0 {
					return
				}
				p := &all[rapid.IntRange(0, len(all)-1).Draw(t, "which")]
				if p.n == 0 {
					return
				}
				n := rapid.Int64Range(1, p.n).Draw(t, "units")
				p.n -= n
				s.give(k, h, n, &p.spending, false, now)
				o.give(p.i, n, now)
			},
			"debit": func(t *rapid.T) {
				if n := 1 + draw(t); spec.Algorithm != Concurrency {
					sp := s.debit(k, h, n, false, now)
					all = append(all, held{sp, o.spend(n, now), n})
				}
			},
			"": func(t *rapid.T) {
				for n := range int64(3) {
					if got, want := l.Peek(k, n, now), o.take(n, now, false); got != want {
						t.Fatalf("peek %d at %d: got %+v, want %+v", n, now, got, want)
					}
				}
				checkRings(t, s)
			},
		})
	})
}

// checkRings finds every ring of a shard either idle or held by one bucket.
func checkRings(t fataler, s *shard) {
	held := map[int]int{}
	for _, r := range s.rings.idle {
		held[int(r)]++
	}
	if _, ok := s.meter.(*sliding); ok {
		for slot := range s.used {
			held[ring(&s.at(slot).bucket)]++
		}
		held[ring(&s.unknown)]++
		delete(held, 0)
	}
	for r, n := range held {
		if n != 1 || r > len(s.rings.all) {
			t.Fatal("ring ", r, " has owners: ", n)
		}
	}
	if len(held) != len(s.rings.all) {
		t.Fatal("rings: ", len(s.rings.all), " accounted for: ", len(held))
	}
}

func TestRetryAndResetOfAllAreTight(t *testing.T) {
	check(t, func(t *rapid.T) {
		spec, epoch := anySpec().Draw(t, "spec"), epochs().Draw(t, "epoch")
		l := newSpec(t, spec, Options{Epoch: epoch})
		k, now := key(1), mono.Time(1<<50)
		most := spec.Rate.N
		if spec.Algorithm == TokenBucket || spec.Algorithm == LeakyBucket || spec.Algorithm == Adaptive {
			most = spec.Rate.Burst
		}
		for range rapid.IntRange(1, 20).Draw(t, "takes") {
			now = now.Add(stride(t, spec))
			n := rapid.Int64Range(1, most+1).Draw(t, "units")
			d := l.Take(k, n, now)
			if never := d.Retry == Never; never != (n > most) || d.OK && d.Retry != 0 {
				t.Fatalf("take %d at %d: %+v", n, now, d)
			}
			if !d.OK && d.Retry > 0 && d.Retry != Never && (!l.Peek(k, n, now.Add(d.Retry)).OK || l.Peek(k, n, now.Add(d.Retry-1)).OK) {
				t.Fatalf("take %d at %d: retry is not tight in %+v", n, now, d)
			}
			if d.Reset >= 0 && (l.Peek(k, 0, now.Add(d.Reset)) != Decision{OK: true, Left: most}) {
				t.Fatalf("take %d at %d: %+v, and not full then: %+v", n, now, d, l.Peek(k, 0, now.Add(d.Reset)))
			}
			if d.Reset > 0 && l.Peek(k, 0, now.Add(d.Reset-1)).Reset == 0 {
				t.Fatalf("take %d at %d: %+v, but full before", n, now, d)
			}
			if d.Left > 0 && !l.Peek(k, d.Left, now).OK || spec.MaxWait == 0 && l.Peek(k, d.Left+1, now).OK {
				t.Fatalf("take %d at %d: %+v is not what is left", n, now, d)
			}
		}
	})
}

// What was admitted, over every interval and however the clocks of callers are reordered.
func TestBoundOverEveryInterval(t *testing.T) {
	type admission struct {
		at mono.Time
		n  int64
	}
	check(t, func(t *rapid.T) {
		spec, epoch := anySpec().Draw(t, "spec"), epochs().Draw(t, "epoch")
		l := newSpec(t, spec, Options{Epoch: epoch})
		r := spec.Rate
		var all []admission
		now, seen := mono.Time(1<<50), mono.Time(0)
		for range rapid.IntRange(1, 50).Draw(t, "takes") {
			now = now.Add(stride(t, spec))
			at := now.Add(-rapid.SampledFrom([]time.Duration{0, 0, 0, 1, stride(t, spec)}).Draw(t, "late"))
			n := rapid.Int64Range(1, 4).Draw(t, "units")
			if d := l.Take(key(1), n, at); d.OK {
				if late := max(0, seen.Sub(at)); d.Wait > spec.MaxWait+late {
					t.Fatalf("a wait of %v, %v late", d.Wait, late)
				}
				seen = max(seen, at)
				all = append(all, admission{max(seen, at.Add(d.Wait)), n})
			}
		}
		for i := range all {
			sum := int64(0)
			for j, a := range all[i:] {
				sum += a.n
				d, ok := a.at.Sub(all[i].at), true
				switch spec.Algorithm {
				case SlidingWindow:
					ok = d >= r.Per || sum <= r.N
				case FixedWindow:
					ok = floorDiv(int64(a.at)+epoch, int64(r.Per)) != floorDiv(int64(all[i].at)+epoch, int64(r.Per)) || sum <= r.N
				case Concurrency:
					ok = sum <= r.N
				case TokenBucket, LeakyBucket, Adaptive:
					if spec.MaxWait > 0 {
						d++ // Wait is rounded up to a whole ns
					}
					most := new(big.Rat).Mul(big.NewRat(r.N, int64(r.Per)), big.NewRat(int64(d), 1))
					ok = big.NewRat(sum-r.Burst, 1).Cmp(most) <= 0
					if spec.Algorithm == LeakyBucket && spec.MaxWait > 0 && j > 0 { // evenly: all but the last have leaked out
						ok = ok && big.NewRat(sum-a.n, 1).Cmp(most) <= 0
					}
				}
				if !ok {
					t.Fatalf("%d units in %v", sum, d)
				}
			}
		}
	})
}

func TestSpecValidate(t *testing.T) {
	const s = time.Second
	f := func(spec Spec, ok bool) {
		t.Helper()
		if err := spec.Validate(); (err == nil) != ok {
			t.Errorf("%+v: %v", spec, err)
		}
	}
	f(Spec{Rate: Rate{1, s, 1}, MaxWait: time.Hour}, true)
	f(Spec{Rate: Rate{1, s, 1}, MaxWait: time.Hour + 1}, false)
	f(Spec{Rate: Rate{1, s, 1}, MaxWait: -1}, false)
	f(Spec{Algorithm: LeakyBucket, Rate: Rate{1, s, 0}}, false)
	f(Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1, Per: s}, Parts: 1}, true)
	f(Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1, Per: s}, Parts: 0}, false)
	f(Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1, Per: s}, Parts: 1001}, false)
	f(Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1, Per: 999}, Parts: 1000}, false)
	f(Spec{Algorithm: SlidingWindow, Rate: Rate{N: 1<<31 + 1, Per: s}, Parts: 10}, false)
	f(Spec{Algorithm: FixedWindow, Rate: Rate{N: 1 << 31, Per: 1 << 60}}, true)
	f(Spec{Algorithm: FixedWindow, Rate: Rate{N: 1, Per: 1<<60 + 1}}, false)
	f(Spec{Algorithm: FixedWindow, Rate: Rate{N: 0, Per: s}}, false)
	f(Spec{Algorithm: Quota, Rate: Rate{N: 1}, Calendar: Calendar{Period: "month"}}, true)
	f(Spec{Algorithm: Quota, Rate: Rate{N: 1}, Calendar: Calendar{Period: "year"}}, false)
	f(Spec{Algorithm: Concurrency, Rate: Rate{N: 1}}, true)
	f(Spec{Algorithm: Concurrency}, false)
	f(Spec{Algorithm: 7, Rate: Rate{N: 1}}, false)
	for i, name := range algorithmNames {
		if a, ok := AlgorithmOf(name); !ok || int(a) != i || a.String() != name {
			t.Errorf("%s is %v", name, a)
		}
	}
	if _, ok := AlgorithmOf("gcra"); ok {
		t.Error("gcra is an algorithm")
	}
}
