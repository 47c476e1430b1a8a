package limiter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"weir/internal/mono"
)

// A frame is what a node tells the others, little endian:
//
//	version 1 · flags 1 · node 8 · incarnation 4 · sequence 4 · how many members it does not hear 1 · their nodes 8 each
//	then sections: limit 8 · how many records 1 · records of 35 bytes:
//	key 16 · count in 1/256 units 8 · slope 2 · demand 2 · level in 1/8192 of the size 2 · age in 10 ms 2 · life 2 · window 1
//
// Slope and demand are 2^(x/2048)/256, in steps of 0.03 %; 0 is none. The sender goes by what it wrote, so that all compute alike.
const (
	frameVersion = 1
	frameHead    = 19
	sectionHead  = 9
	recordLen    = 35
	// MaxFrame is the most bytes of a frame.
	MaxFrame = 1280
	maxDeaf  = 64
	maxPeers = 1024
	calmBit  = 1 << 15 // of the age
)

var errFrame = errors.New("limiter: a frame is malformed")

func packLog(v float64) uint16 {
	if !(v > 1.0/256) {
		return 0
	}
	return uint16(min(65535, max(1, math.Round(math.Log2(v*256)*2048))))
}

func unpack(q uint16) float64 {
	if q == 0 {
		return 0
	}
	return steps[q%2048] * math.Float64frombits(uint64(1023-8+q/2048)<<52)
}

// steps are 2^(x/2048).
var steps = func() (s [2048]float64) {
	for x := range s {
		s[x] = math.Exp2(float64(x) / 2048)
	}
	return s
}()

// record is what a frame says of a key.
type record struct {
	limit  uint64
	key    Key
	count  uint64
	slope  uint16
	demand uint16
	level  int16
	age    uint16
	life   uint16
	window uint8
}

func (r *record) append(b []byte) []byte {
	le := binary.LittleEndian
	b = le.AppendUint64(le.AppendUint64(b, r.key.Hi), r.key.Lo)
	b = le.AppendUint16(le.AppendUint64(b, r.count), r.slope)
	b = le.AppendUint16(le.AppendUint16(b, r.demand), uint16(r.level))
	b = le.AppendUint16(le.AppendUint16(b, r.age), r.life)
	return append(b, r.window)
}

func (r *record) read(b []byte) {
	le := binary.LittleEndian
	r.key = Key{Hi: le.Uint64(b), Lo: le.Uint64(b[8:])}
	r.count, r.slope, r.demand = le.Uint64(b[16:]), le.Uint16(b[24:]), le.Uint16(b[26:])
	r.level, r.age, r.life, r.window = int16(le.Uint16(b[28:])), le.Uint16(b[30:]), le.Uint16(b[32:]), b[34]
}

// writer collects records.
type writer struct{ records []record }

func (w *writer) add(c *cell, now mono.Time) {
	after := c.level - (c.told.on(now) - c.self.on(now)) // when this is known to all
	w.records = append(w.records, record{
		limit: c.of.id, key: c.key, count: uint64(max(0, c.told.c) * 256), slope: c.wroteS, demand: c.wroteD,
		level: int16(max(-32000, min(32000, after/c.of.size*8192))),
		age:   uint16(min(32767, now.Sub(c.born)/(10*time.Millisecond))),
		life:  c.life, window: c.of.epoch(c),
	})
	if c.calm(now) {
		w.records[len(w.records)-1].age |= calmBit
	}
}

// frames packs what w has; a regular step has one even if there is nothing, to be heard.
func (f *Fleet) frames(now mono.Time, regular bool, w *writer) (frames [][]byte) {
	slices.SortStableFunc(w.records, func(a, b record) int { return cmp.Compare(a.limit, b.limit) })
	rest := w.records
	for first := true; first || len(rest) > 0; first = false {
		b := f.head(now, regular)
		for len(rest) > 0 && len(b)+sectionHead+recordLen <= MaxFrame {
			limit := rest[0].limit
			b = binary.LittleEndian.AppendUint64(b, limit)
			at, n := len(b), 0
			b = append(b, 0)
			for len(rest) > 0 && rest[0].limit == limit && len(b)+recordLen <= MaxFrame && n < 255 {
				b = rest[0].append(b)
				rest = rest[1:]
				n++
			}
			b[at] = byte(n)
		}
		frames = append(frames, b)
	}
	f.stats.Frames += uint64(len(frames))
	f.stats.Records += uint64(len(w.records))
	return frames
}

func (f *Fleet) head(now mono.Time, regular bool) []byte {
	f.seq++
	b := make([]byte, 0, 256)
	b = append(b, frameVersion, 0)
	if regular {
		b[1] = 1
	}
	b = binary.LittleEndian.AppendUint64(b, f.self)
	b = binary.LittleEndian.AppendUint32(b, f.incarnation)
	b = binary.LittleEndian.AppendUint32(b, f.seq)
	at, n := len(b), 0
	b = append(b, 0)
	for _, p := range f.peers {
		if (p.member && !p.removed || p.failed) && (p.silent || f.silent(now, p)) && n < maxDeaf {
			b = binary.LittleEndian.AppendUint64(b, p.id)
			n++
		}
	}
	b[at] = byte(n)
	return b
}

// Receive takes in a frame of another node. One that is malformed, of another version, or of a node that is no member is an error and
// changes nothing but what came before the fault.
func (f *Fleet) Receive(frame []byte, now mono.Time) error {
	le := binary.LittleEndian
	if len(frame) < frameHead || frame[0] != frameVersion {
		return errFrame
	}
	from, incarnation, seq := le.Uint64(frame[2:]), le.Uint32(frame[10:]), le.Uint32(frame[14:])
	b, mutual := frame[frameHead:], true
	for n := int(frame[18]); n > 0; n-- {
		if len(b) < 8 {
			return errFrame
		}
		mutual = mutual && le.Uint64(b) != f.self
		b = b[8:]
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	i, ok := f.known(from, now)
	if !ok {
		return errFrame
	}
	p := f.peers[i]
	if incarnation < p.incarnation && now.Sub(p.heard) < oneSecond {
		return nil // of an earlier life; but a clock may have been set back before this one
	}
	if incarnation != p.incarnation {
		p.incarnation, p.seq = incarnation, 0
	}
	p.seq = max(p.seq, seq)
	if !f.meet(now, i, mutual) {
		return nil
	}
	f.admit()
	for len(b) > 0 {
		if len(b) < sectionHead || len(b) < sectionHead+int(b[8])*recordLen {
			return errFrame
		}
		l, n := f.limiters[le.Uint64(b)], int(b[8])
		for b = b[sectionHead:]; n > 0; n-- {
			if l != nil { // else another configuration
				var r record
				r.read(b)
				l.hear(f, i, &r, incarnation, seq, now)
			}
			b = b[recordLen:]
		}
	}
	return nil
}

// hear takes in a record of peer i.
func (l *Limiter) hear(f *Fleet, i int, r *record, incarnation, seq uint32, now mono.Time) {
	s, _ := l.shard(r.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	m, ok := s.meter.(*shares)
	if !ok {
		return
	}
	c := s.hotLocked(m, r.key, now)
	if c == nil {
		f.stats.NoRoom++
		return
	}
	c.advance(now)
	late := c.followWindow(r.window, now)
	q := c.peer(i)
	if q.known && !q.hearsay && q.incarnation == incarnation && seq <= q.seq {
		return // an old one: the newer stands
	}
	count := float64(r.count) / 256
	same := q.known && q.incarnation == incarnation && q.life == r.life && (q.window == r.window || m.kind != kindFixed)
	if same && m.kind != kindSeats && !q.rebase && !q.hearsay {
		count = max(count, q.least(m.kind))
	}
	next := line{count, min(unpack(r.slope), m.steepest()), now.Add(-f.delay)} // when it was true, as far as we know
	d := unpack(r.demand)
	c.book(q, r, &next, late, same, now)
	apart, compared := q.apart, q.compared
	if !same || q.rebase {
		apart, compared = 0, now
	}
	if c.of.kind == kindBucket && r.age&calmBit != 0 && c.calm(now) {
		apart += min(0.3, sec(now.Sub(compared))) * (float64(r.level)/8192*m.size - c.level - apart)
		compared = now
	}
	c.sumS += next.s - q.s
	c.sumD += d - q.d
	c.sumV += f.stockWeight(d) - f.stockWeight(q.d)
	past := q.past
	past.push(now, d, f.silence()/3)
	if late {
		count = q.own
	}
	*q = peerLine{line: next, own: count, d: d, incarnation: incarnation, seq: seq, life: r.life, known: true, past: past, apart: apart, compared: compared, window: r.window}
	if late {
		q.window = m.epoch(c)
	}
	if m.kind == kindBucket {
		c.agree()
	}
	c.draw(now)
	c.answer(now)
}

// least is the count that q cannot go below. What was presumed of it in a fixed window comes back when it says that it was less.
func (q *peerLine) least(k kind) float64 {
	if k == kindFixed {
		return q.own
	}
	return q.c
}

// book charges what the record r of q says, of which next is what q goes by from now on.
func (c *cell) book(q *peerLine, r *record, next *line, late, same bool, now mono.Time) {
	m := c.of
	switch {
	case late: // that window is closed
		next.c = q.on(next.t)
	case !q.known && m.kind == kindFixed:
		c.charge(next.on(now))
	case !q.known:
		mine := now.Sub(c.born)
		if age := time.Duration(r.age&^calmBit) * 10 * time.Millisecond; age <= mine+mine/10+100*time.Millisecond {
			c.charge(next.on(now)) // it knows the key no longer than we do: all of it is news
		} else {
			c.correct(min(c.level, float64(r.level)/8192*m.size))
		}
	case q.rebase: // the first word after a long silence
	case !same:
		c.charge(next.on(now)) // it counts from zero again
	default:
		c.charge(max(next.on(now)-q.on(now), -c.foretold(q, now)))
		if q.hearsay && m.kind == kindBucket { // who told of it first may have kept something back
			c.correct(min(c.level, float64(r.level)/8192*m.size))
		}
	}
}

// foretold is what q was charged by its slope since it was told, and since the bucket was last full: no more comes back of what it does not
// use. (What is foretold while a bucket is full costs nobody anything.)
func (c *cell) foretold(q *peerLine, now mono.Time) float64 {
	if c.of.kind != kindBucket {
		return math.Inf(1)
	}
	return q.s * max(0, sec(now.Sub(max(q.t, c.full))))
}

// steepest bounds the rate a peer can foretell: more than all there is comes of no honest one.
func (m *shares) steepest() float64 {
	if m.kind == kindSeats {
		return 0
	}
	return 2 * (m.refill + m.size/stockTime)
}

// followWindow has c follow a clock that is a little ahead. It reports whether the record was written before c's window began.
func (c *cell) followWindow(window uint8, now mono.Time) (late bool) {
	if c.of.kind != kindFixed {
		return false // sub-windows are each node's own
	}
	switch window - c.of.epoch(c) {
	case 1:
		if c.win.end.Sub(now) < oneSecond {
			c.rollover(now)
		}
	case 255:
		return true
	}
	return false
}

// answer has c tell what the news of a peer make worth telling.
func (c *cell) answer(now mono.Time) {
	drift := c.used - c.told.on(now)
	calm := c.of.kind == kindBucket && c.level > 0 && drift <= max(0.5, c.stock*c.level/2) && c.steady(now)
	if !calm && (c.attempts > 0 || drift > 0.5) {
		c.of.fleet.agenda.note(c)
	}
	if c.e < -0.5 && drift > 0.5 {
		c.owe = true // the others may believe that this is not spent
		c.call()
	}
}
