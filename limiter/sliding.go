package limiter

import (
	"math"
	"math/bits"

	"weir/internal/mono"
)

// sliding is the sliding window: time is cut into sub-windows of per/parts, and what counts at an instant is what was spent in its
// sub-window and the parts before it. So a unit counts for per at least, and for one sub-window longer at most.
//
// A bucket's last is the number of its newest sub-window, x what counts there in all, with the ring in the upper half (0: none).
// Without a ring, y is the count of one older sub-window and, in the upper half, how much older it is; what is left of the total is the
// newest's. Only a key that spends in three sub-windows within a window needs a ring, of a counter for each.
type sliding struct {
	plain
	limit int64
	per   uint64
	parts int64
	epoch int64
}

func newSliding(r Rate, parts int, epoch int64) *sliding {
	return &sliding{limit: r.N, per: uint64(r.Per), parts: int64(parts), epoch: epoch}
}

func (s *sliding) fresh() bucket { return bucket{last: math.MinInt64 / 2} }

// clone is exact, but that it counts what is in a ring all in the newest sub-window, which needs none.
func (s *sliding) clone(b *bucket) bucket {
	if ring(b) == 0 {
		return *b
	}
	return bucket{last: b.last, x: pack(total(b), 0)}
}

func (s *sliding) drop(m *rings, b *bucket) { m.free(ring(b)) }

// part is the number of the sub-window of an instant: ⌊(now+epoch)·parts/per⌋.
func (s *sliding) part(now mono.Time) int64 {
	t := saturate(int64(now), s.epoch)
	neg := t < 0
	if neg {
		t = -t
	}
	hi, lo := bits.Mul64(uint64(t), uint64(s.parts))
	q, r := bits.Div64(hi, lo, s.per) // parts ≤ per, so the quotient fits
	if neg {
		if r > 0 {
			q++
		}
		return -int64(q)
	}
	return int64(q)
}

// begin is the first instant of a sub-window: ⌈k·per/parts⌉ − epoch.
func (s *sliding) begin(k int64) mono.Time {
	neg := k < 0
	if neg {
		k = -k
	}
	hi, lo := bits.Mul64(uint64(k), s.per)
	if hi >= uint64(s.parts) {
		return mono.Never
	}
	q, r := bits.Div64(hi, lo, uint64(s.parts))
	if q > math.MaxInt64-1 {
		return mono.Never
	}
	if neg {
		return mono.Time(-int64(q) - s.epoch)
	}
	if r > 0 {
		q++
	}
	return mono.Time(int64(q) - s.epoch)
}

// back is when what was spent in sub-window k counts no more.
func (s *sliding) back(k int64) mono.Time { return s.begin(k + s.parts + 1) }

func total(b *bucket) int64         { return int64(uint32(b.x)) }
func ring(b *bucket) int            { return int(uint64(b.x) >> 32) }
func pack(total int64, r int) int64 { return int64(uint64(r)<<32 | uint64(total)) }
func older(b *bucket) (count, age int64) {
	return int64(uint32(b.y)), int64(b.y >> 32)
}

// place is where the counter of sub-window k is in a ring.
func (s *sliding) place(k int64) int64 {
	if k %= s.parts + 1; k < 0 {
		k += s.parts + 1
	}
	return k
}

// cell is the counter of sub-window k in a ring.
func (s *sliding) cell(m *rings, r int, k int64) *uint32 { return &m.get(r)[s.place(k)] }

// first is the first sub-window from k on, and before end, up to which need units are in a ring, and how many are.
func (s *sliding) first(m *rings, r int, k, end, need int64) (at, sum int64) {
	cells, i := m.get(r), s.place(k)
	for ; k < end; k++ {
		if sum += int64(cells[i]); sum >= need {
			break
		}
		if i++; i == int64(len(cells)) {
			i = 0
		}
	}
	return k, sum
}

// at returns the sub-window that counts for now, and what counts in it.
func (s *sliding) at(m *rings, b *bucket, now mono.Time) (k, used int64) {
	k = max(s.part(now), int64(b.last))
	gone := k - s.parts // sub-windows before this one count no more
	newest := int64(b.last)
	if newest < gone {
		return k, 0
	}
	used = total(b)
	if r := ring(b); r != 0 {
		_, over := s.first(m, r, newest-s.parts, gone, math.MaxInt64)
		return k, used - over
	}
	if count, age := older(b); newest-age < gone {
		used -= count
	}
	return k, used
}

// count is what b has spent in sub-window k, one of those that count.
func (s *sliding) count(m *rings, b *bucket, k int64) int64 {
	newest := int64(b.last)
	if r := ring(b); r != 0 {
		if k > newest || k < newest-s.parts {
			return 0
		}
		return int64(*s.cell(m, r, k))
	}
	count, age := older(b)
	switch k {
	case newest:
		return total(b) - count
	case newest - age:
		return count
	}
	return 0
}

func (s *sliding) decide(m *rings, b *bucket, n int64, now mono.Time) Decision {
	k, used := s.at(m, b, now)
	d := Decision{OK: n <= s.limit-used || n == 0, Left: max(0, s.limit-used)}
	if used > 0 && (!d.OK || n == 0) {
		d.Reset = s.back(s.latest(m, b)).Sub(now)
	}
	switch {
	case d.OK && n > 0:
		d.Left -= n
		d.Reset = s.back(k).Sub(now)
	case n > s.limit:
		d.Retry = Never
	case !d.OK:
		d.Retry = s.room(m, b, k, used+n-s.limit).Sub(now)
	}
	return d
}

// latest is the newest sub-window of b in which anything is spent; something counts.
func (s *sliding) latest(m *rings, b *bucket) int64 {
	newest := int64(b.last)
	if r := ring(b); r != 0 {
		for *s.cell(m, r, newest) == 0 {
			newest--
		}
		return newest
	}
	if count, age := older(b); count == total(b) {
		return newest - age
	}
	return newest
}

// room is when need units more are back, of what counts at sub-window k.
func (s *sliding) room(m *rings, b *bucket, k, need int64) mono.Time {
	newest := int64(b.last)
	if r := ring(b); r != 0 {
		j, _ := s.first(m, r, k-s.parts, newest, need)
		return s.back(j)
	}
	if count, age := older(b); newest-age >= k-s.parts && need <= count {
		return s.back(newest - age)
	}
	return s.back(newest)
}

// advance makes k the newest sub-window of b and forgets what counts there no more.
func (s *sliding) advance(m *rings, b *bucket, k int64) {
	newest := int64(b.last)
	if k <= newest {
		return
	}
	b.last = mono.Time(k)
	gone, r, sum := k-s.parts, ring(b), total(b)
	if newest < gone || sum == 0 {
		m.free(r)
		b.x, b.y = 0, 0
		return
	}
	if r != 0 {
		for j := newest + 1; j <= k; j++ { // the cell of j held j−parts−1, which is gone
			c := s.cell(m, r, j)
			sum -= int64(*c)
			*c = 0
		}
		if b.x = pack(sum, r); sum == 0 {
			m.free(r)
			b.x, b.y = 0, 0
		}
		return
	}
	count, age := older(b)
	if count > 0 && newest-age < gone {
		sum, count = sum-count, 0
	}
	if count == 0 { // what was newest is the older one now
		b.x, b.y = pack(sum, 0), uint64(k-newest)<<32|uint64(sum)
		return
	}
	if sum == count {
		b.x, b.y = pack(sum, 0), uint64(k-newest+age)<<32|uint64(count)
		return
	}
	s.widen(m, b, sum, count, newest-age, newest)
}

// widen gives b a ring for its third sub-window. If there is no room for one, the older of two counts as long as the newer.
func (s *sliding) widen(m *rings, b *bucket, sum, count, olderPart, newerPart int64) {
	r := m.take(int(s.parts) + 1)
	if r == 0 {
		b.x, b.y = pack(sum, 0), uint64(int64(b.last)-newerPart)<<32|uint64(sum)
		return
	}
	*s.cell(m, r, olderPart) = uint32(count)
	*s.cell(m, r, newerPart) = uint32(sum - count)
	b.x, b.y = pack(sum, r), 0
}

func (s *sliding) spend(m *rings, b *bucket, n int64, now mono.Time) mark {
	k := max(s.part(now), int64(b.last))
	s.advance(m, b, k)
	sum := total(b)
	n = min(n, math.MaxUint32-sum)
	r := ring(b)
	if r != 0 {
		*s.cell(m, r, k) += uint32(n)
	}
	b.x = pack(sum+n, r)
	return mark{at: k}
}

// give takes units back from the sub-window they were spent in, or from the first after it: two of them may have become one.
func (s *sliding) give(m *rings, b *bucket, n int64, of *mark, now mono.Time) bool {
	s.advance(m, b, max(s.part(now), int64(b.last)))
	newest, r, sum := int64(b.last), ring(b), total(b)
	if of.at < newest-s.parts {
		return false
	}
	if r != 0 {
		for j := of.at; j <= newest; j++ {
			if c := s.cell(m, r, j); *c > 0 {
				n = min(n, int64(*c))
				*c -= uint32(n)
				b.x = pack(sum-n, r)
				break
			}
		}
		return false
	}
	if count, age := older(b); count > 0 && of.at <= newest-age {
		n = min(n, count)
		b.x, b.y = pack(sum-n, 0), uint64(age)<<32|uint64(count-n)
		return false
	}
	count, _ := older(b)
	n = min(n, sum-count)
	b.x = pack(sum-n, 0)
	return false
}

func (s *sliding) idle(b *bucket, now mono.Time) bool {
	return total(b) == 0 || int64(b.last) < s.part(now)-s.parts
}

func (s *sliding) forward(m *rings, b *bucket, now mono.Time) { s.advance(m, b, s.part(now)) }

// convert keeps what counts. Where sub-windows change, all of it counts as spent now, and no ring is left in use. A now before
// the newest sub-window counts as its beginning.
func (s *sliding) convert(m *rings, from meter, b *bucket, now mono.Time) {
	old := from.(*sliding)
	if old.per == s.per && old.parts == s.parts {
		return
	}
	k, used := old.at(m, b, now)
	now = max(now, old.begin(k))
	m.free(ring(b))
	*b = s.fresh()
	s.forward(m, b, now)
	if used > 0 {
		s.spend(m, b, used, now)
	}
}
