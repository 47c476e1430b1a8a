package limiter

import (
	"math/big"
	"time"

	"pgregory.net/rapid"

	"weir/internal/mono"
)

// model is the token bucket as one would explain it: tokens drip in as time passes, and are taken. Exact rationals.
type model struct {
	rate   Rate
	wait   time.Duration
	smooth bool
	tokens *big.Rat
	at     mono.Time
	given  int64 // units by which some moved up that were behind who left
}

// place is where a spending ends in the line of what is owed, and the model's given then.
type place struct {
	end   *big.Rat
	given int64
	from  mono.Time
	left  int64
}

func newModel(r Rate) *model {
	return &model{rate: r, tokens: big.NewRat(r.Burst, 1), at: past}
}

func (m *model) perNS() *big.Rat { return big.NewRat(m.rate.N, int64(m.rate.Per)) }

// drip lets time pass to now and returns the instant that counts and the tokens there are.
func (m *model) drip(now mono.Time) (mono.Time, *big.Rat) {
	at := max(now, m.at)
	burst := big.NewRat(m.rate.Burst, 1)
	if m.at == past {
		return at, burst
	}
	got := new(big.Rat).Mul(m.perNS(), big.NewRat(int64(at-m.at), 1))
	got.Add(got, m.tokens)
	if got.Cmp(burst) > 0 {
		got = burst
	}
	return at, got
}

// after is the time from now until need tokens have dripped in from instant at on.
func (m *model) after(at, now mono.Time, need *big.Rat) time.Duration {
	if need.Sign() <= 0 {
		return 0
	}
	return ceil(m.ns(need)) + at.Sub(now)
}

// ns is the time in which so much drips in; negative if none is missing.
func (m *model) ns(need *big.Rat) *big.Rat { return new(big.Rat).Quo(need, m.perNS()) }

func ceil(r *big.Rat) time.Duration { return -time.Duration(floor(new(big.Rat).Neg(r))) }

func floor(r *big.Rat) int64 { return new(big.Int).Div(r.Num(), r.Denom()).Int64() } // Euclidean, Denom > 0

func (m *model) take(n int64, now mono.Time, keep bool) Decision {
	at, tokens := m.drip(now)
	units, burst := big.NewRat(n, 1), big.NewRat(m.rate.Burst, 1)
	short, owed := new(big.Rat).Sub(units, tokens), new(big.Rat).Sub(burst, tokens)
	start, due := m.ns(short), new(big.Rat) // from at on: when it may go on, and when it may be let in
	if m.smooth {
		start, due = m.ns(owed), m.ns(short)
	}
	if early := new(big.Rat).Sub(start, big.NewRat(int64(m.wait), 1)); early.Cmp(due) > 0 {
		due = early
	}
	d := Decision{OK: n == 0 || n <= m.rate.Burst && due.Sign() <= 0}
	switch {
	case d.OK:
		if n > 0 && (m.smooth || start.Sign() > 0) {
			d.Wait = max(0, ceil(start)+at.Sub(now))
		}
		tokens = new(big.Rat).Sub(tokens, units)
		if keep {
			m.at, m.tokens = at, tokens
		}
	case n > m.rate.Burst:
		d.Retry = Never
	default:
		d.Retry = ceil(due) + at.Sub(now)
	}
	if owed := m.ns(new(big.Rat).Sub(burst, tokens)); !m.smooth || owed.Cmp(big.NewRat(int64(m.wait), 1)) <= 0 {
		d.Left = max(0, floor(tokens))
	}
	d.Reset = m.after(at, now, new(big.Rat).Sub(burst, tokens))
	return d
}

// owed is the time from at on until the bucket is full.
func (m *model) owed(tokens *big.Rat) *big.Rat {
	return m.ns(new(big.Rat).Sub(big.NewRat(m.rate.Burst, 1), tokens))
}

// place is that of what was spent last.
func (m *model) place(n int64) place {
	return place{new(big.Rat).Add(big.NewRat(int64(m.at), 1), m.owed(m.tokens)), m.given, m.at, n}
}

// refund is doc.go's, Refunds.
func (m *model) refund(p *place, n int64, now mono.Time) {
	at, tokens := m.drip(now)
	owed := m.owed(tokens)
	if m.at == past || owed.Sign() <= 0 {
		return
	}
	m.at, m.tokens = at, tokens
	full := m.ns(big.NewRat(m.rate.Burst, 1))
	moved := m.ns(big.NewRat(m.given-p.given, 1))
	left := new(big.Rat).Sub(p.end, big.NewRat(int64(at), 1))
	back := m.ns(big.NewRat(n, 1))
	left.Sub(left, moved)
	if first := new(big.Rat).Sub(back, big.NewRat(int64(at-p.from), 1)); m.given > p.given && first.Cmp(left) > 0 {
		left = first
	}
	if left.Sign() <= 0 {
		return
	}
	last := left.Cmp(owed) == 0
	if left.Cmp(back) < 0 {
		back = left
	}
	if !last && m.smooth {
		return
	}
	if latest := new(big.Rat).Add(owed, moved); !last && m.wait > 0 && latest.Cmp(full) > 0 {
		slack := new(big.Rat).Sub(full, new(big.Rat).Add(new(big.Rat).Sub(owed, left), moved))
		if slack.Sign() <= 0 {
			return
		}
		if slack.Cmp(back) < 0 {
			back = slack
		}
	}
	units := new(big.Rat).Mul(back, m.perNS())
	m.tokens = new(big.Rat).Add(tokens, units)
	if last {
		p.end = m.place(0).end
	}
	p.left -= n
	if !last || m.wait > 0 && !m.smooth && p.left > 0 && new(big.Rat).Add(owed, moved).Cmp(full) > 0 {
		m.given += -floor(new(big.Rat).Neg(units))
	}
	if last {
		p.given = m.given
	}
}

// anyRate is from one a month to ten million a second and beyond, with divisors that divide nothing among them.
func anyRate() *rapid.Generator[Rate] {
	return rapid.Custom(func(t *rapid.T) Rate {
		r := Rate{
			N: rapid.OneOf(rapid.Int64Range(1, 20), rapid.Int64Range(1, 20_000_000),
				rapid.SampledFrom([]int64{7919, 999_983, 9_999_991})).Draw(t, "n"),
			Per: time.Duration(rapid.OneOf(rapid.Int64Range(1, 1000), rapid.Int64Range(1, int64(time.Hour)),
				rapid.SampledFrom([]int64{1e9, 60e9, 3600e9, 2592000e9})).Draw(t, "per")),
			Burst: rapid.OneOf(rapid.Int64Range(1, 5), rapid.Int64Range(1, 1_000_000)).Draw(t, "burst"),
		}
		if r.Validate() != nil {
			r.Burst = 1
		}
		return r
	})
}

// pause draws a time to let pass that matters to r: nothing, a nanosecond, around an interval, or any part of a refill.
func pause(t *rapid.T, r Rate) time.Duration {
	g := newGCRA(r)
	return time.Duration(rapid.OneOf(
		rapid.Just(int64(0)),
		rapid.Int64Range(0, 2),
		rapid.Int64Range(max(0, g.unit.ns-1), g.unit.ns+2),
		rapid.Int64Range(0, g.full.ns+g.unit.ns+1),
	).Draw(t, "step"))
}

func units(t *rapid.T, r Rate) int64 {
	return rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, r.Burst+1)).Draw(t, "units")
}
