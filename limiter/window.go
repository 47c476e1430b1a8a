package limiter

import (
	"math"

	"weir/internal/mono"
)

// windows are the fixed windows and quotas: at most limit units in each period. A bucket's x is the number of the period it has
// counted in last, and y what was spent in it; last is free for the shard's use.
type windows struct {
	plain
	limit   int64
	periods periods
}

func (w *windows) fresh() bucket { return bucket{x: math.MinInt64} }

// at returns the period that counts for now and what b has spent in it. An instant before b's period counts as in that.
func (w *windows) at(b *bucket, now mono.Time) (p period, used int64) {
	p = w.periods.at(now)
	switch {
	case b.x == p.id:
		used = int64(b.y)
	case b.x > p.id:
		p, used = w.periods.of(b.x), int64(b.y)
	}
	return p, used
}

func (w *windows) decide(_ *rings, b *bucket, n int64, now mono.Time) Decision {
	p, used := w.at(b, now)
	end := p.end.Sub(now)
	d := Decision{OK: n <= w.limit-used || n == 0, Left: max(0, w.limit-used)}
	if used > 0 {
		d.Reset = end
	}
	switch {
	case d.OK && n > 0:
		d.Left -= n
		d.Reset = end
	case n > w.limit:
		d.Retry = Never
	case !d.OK:
		d.Retry = end
	}
	return d
}

func (w *windows) spend(_ *rings, b *bucket, n int64, now mono.Time) mark {
	p, used := w.at(b, now)
	b.x, b.y = p.id, uint64(saturate(used, n))
	return mark{at: p.id}
}

func (w *windows) give(_ *rings, b *bucket, n int64, of *mark, _ mono.Time) bool {
	if b.x == of.at {
		b.y -= min(b.y, uint64(n))
	}
	return false
}

func (w *windows) idle(b *bucket, now mono.Time) bool {
	return b.y == 0 || b.x < w.periods.at(now).id
}

func (w *windows) forward(_ *rings, b *bucket, now mono.Time) {
	if p := w.periods.at(now); b.x < p.id {
		b.x, b.y = p.id, 0
	}
}

// convert keeps what was spent, in the window in progress. Windows of another length have other numbers. A now before b's window
// counts as its beginning.
func (w *windows) convert(_ *rings, from meter, b *bucket, now mono.Time) {
	old := from.(*windows)
	if old.periods == w.periods || b.x == math.MinInt64 {
		return
	}
	p, used := old.at(b, now)
	b.x, b.y = w.periods.at(max(now, p.start)).id, uint64(used)
}

// seats are what may be in use at once. A bucket's x is how much is.
type seats struct {
	plain
	limit int64
}

func (s seats) fresh() bucket { return bucket{} }

func (s seats) decide(_ *rings, b *bucket, n int64, _ mono.Time) Decision {
	d := Decision{OK: n <= s.limit-b.x || n == 0, Left: max(0, s.limit-b.x)}
	switch {
	case d.OK:
		d.Left -= n
	case n > s.limit:
		d.Retry = Never
	default:
		d.Retry = Unknown
	}
	if b.x > 0 || d.OK && n > 0 {
		d.Reset = Unknown
	}
	return d
}

func (s seats) spend(_ *rings, b *bucket, n int64, _ mono.Time) mark {
	b.x = saturate(b.x, n)
	return mark{}
}

func (s seats) give(_ *rings, b *bucket, n int64, _ *mark, _ mono.Time) bool {
	b.x -= min(b.x, n)
	return false
}

func (s seats) idle(b *bucket, _ mono.Time) bool          { return b.x == 0 }
func (s seats) forward(*rings, *bucket, mono.Time)        {}
func (s seats) convert(*rings, meter, *bucket, mono.Time) {}
