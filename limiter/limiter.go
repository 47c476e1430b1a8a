package limiter

import (
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"weir/internal/mono"
)

// DefaultMaxBytes holds about 1.1 million keys that all owe something at the same moment.
const DefaultMaxBytes = 64 << 20

// minShardBytes is what a shard gets at least: room for 64 keys.
const minShardBytes = 4 << 10

// MinMaxBytes is the smallest bound New accepts.
const MinMaxBytes = 16 * minShardBytes

// Options of a Limiter.
type Options struct {
	// MaxBytes bounds the memory of the buckets; 0 is DefaultMaxBytes. A key costs 53 to 60 bytes. Memory is taken as keys
	// come, not beforehand. More: fewer newcomers share a bucket in a flood; less: a smaller worst case.
	MaxBytes int64
	// Budget bounds several limiters together; nil: there is none.
	Budget *Budget
	// Epoch is the wall clock at mono.Time(0) in nanoseconds since 1970: windows begin by it. Read once, so that setting the clock
	// moves no window.
	Epoch int64
	// Track has Changed report what changed: for quotas and fixed windows only.
	Track bool
	// Fleet shares the limit with the fleets of other nodes; nil: it is this node's own. Share tells it from their other limits and must be
	// the same on all of them.
	Fleet *Fleet
	Share uint64
}

// Limiter is one policy's numbers and its buckets, one per key. All methods are safe for concurrent use, and none allocates
// for a key that is known.
type Limiter struct {
	name   string
	max    atomic.Int64
	epoch  int64
	spec   atomic.Pointer[Spec]
	shards []shard
	shift  uint8 // hash to shard

	fleet *Fleet
	share uint64
	peak  atomic.Int64 // 1/256 units a second: the most that a key of a shared limit was asked for
	over  atomic.Int64 // 1/256 units: the most that a shared limit was seen to be exceeded by

	mu      sync.Mutex // one SetSpec at a time
	retired bool

	waiters waiters
}

// New returns a limiter in which nobody owes anything.
func New(name string, s Spec, o Options) (*Limiter, error) {
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("limiter %s: %w", name, err)
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.MaxBytes < MinMaxBytes {
		return nil, fmt.Errorf("limiter %s: %d bytes for buckets: at least %d are needed", name, o.MaxBytes, MinMaxBytes)
	}
	n := shardCount(o.MaxBytes)
	l := &Limiter{name: name, epoch: o.Epoch, shards: make([]shard, n), shift: uint8(64 - bits.TrailingZeros(uint(n)))}
	l.spec.Store(&s)
	l.max.Store(o.MaxBytes)
	l.fleet, l.share = o.Fleet, o.Share
	m, limit := l.meter(s), shardLimit(o.MaxBytes, n)
	for i := range l.shards {
		s := &l.shards[i]
		s.owner, s.limit, s.budget, s.unknown = l, limit, o.Budget, m.fresh()
		s.setMeter(m)
		s.seats = l.Spec().Algorithm == Concurrency
		s.tracked = o.Track && s.windows() != nil
		s.rings.grow = s.roomFor
	}
	return l, nil
}

// shardCount is a power of two: 4 per processor so that two rarely want the same one, 64 to 256 so that a shard is changed
// or grown in little time, each of a useful size.
func shardCount(maxBytes int64) int {
	n := min(max(64, 1<<bits.Len(uint(4*runtime.GOMAXPROCS(0)-1))), 256)
	for int64(n)*minShardBytes > maxBytes {
		n /= 2
	}
	return n
}

// shardLimit is what each of n shards may take beyond itself.
func shardLimit(maxBytes int64, n int) int64 {
	return maxBytes/int64(n) - int64(unsafe.Sizeof(shard{}))
}

// FixedBytes is what a limiter of that bound (0: DefaultMaxBytes) takes before its first key: Stats.Bytes includes it, a Budget does not.
func FixedBytes(maxBytes int64) int64 {
	if maxBytes == 0 {
		maxBytes = DefaultMaxBytes
	}
	return int64(shardCount(maxBytes)) * int64(unsafe.Sizeof(shard{}))
}

func (l *Limiter) shard(k Key) (*shard, uint64) {
	h := mix(k)
	return &l.shards[h>>l.shift], h
}

// meter prepares s, shared with the fleet if there is one.
func (l *Limiter) meter(s Spec) meter {
	if l.fleet != nil {
		return newShares(s, l.epoch, l.fleet, l.share)
	}
	return newMeter(s, l.epoch)
}

// Shared reports whether the limit is kept together with other nodes.
func (l *Limiter) Shared() bool { return l.fleet != nil }

// Join has what other nodes spend of a shared limit count, and tells them what is spent here. Before, it is only this node's share. Again it
// does nothing.
func (l *Limiter) Join(now mono.Time) {
	if l.fleet != nil && l.fleet.register(l) {
		l.reshare(now)
	}
}

// reshare has this node's share follow the size of the fleet.
func (l *Limiter) reshare(now mono.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := l.meter(l.Spec()).(*shares)
	for i := range l.shards {
		l.shards[i].heat(now, func(owed float64, old *shares) bool { return m.n > 1 && 2*owed > float64(m.part) })
		l.shards[i].change(m, now)
	}
}

// warm makes keys hot of which a good part is spent: a lone node has none, and must tell who joins.
func (l *Limiter) warm(now mono.Time) {
	for i := range l.shards {
		l.shards[i].heat(now, func(owed float64, old *shares) bool { return owed > old.size/20 })
	}
}

// part makes keys hot of which more than little is spent and does not come back soon: who leaves must tell.
func (l *Limiter) part(now mono.Time) {
	for i := range l.shards {
		l.shards[i].heat(now, func(owed float64, m *shares) bool {
			return (m.kind == kindFixed || m.kind == kindSliding) && owed > float64(m.part)/20
		})
	}
}

// Name returns the policy's name.
func (l *Limiter) Name() string { return l.name }

// Spec returns what the limiter counts by.
func (l *Limiter) Spec() Spec { return *l.spec.Load() }

// SetSpec changes the numbers in place; the algorithm stays. What a key has spent stays spent: a token or leaky bucket keeps the
// units it owes, fractions rounded up to a tick of the new rate; one that owes more than the new burst is empty, not worse, but for
// what was let in ahead of time. A higher limit is there at once, less what is owed. A window that changes its length counts all that
// counted as spent now. What is in flight can give back nothing then, nor after any change of a token or leaky bucket. Buckets change a shard at a time, about 20 ns each under the shard's mutex. The spec in force is no change.
// An invalid spec is an error and changes nothing.
func (l *Limiter) SetSpec(s Spec, now mono.Time) error {
	if err := s.Validate(); err != nil {
		return fmt.Errorf("limiter %s: %w", l.name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.Spec()
	if s.Algorithm != old.Algorithm {
		return fmt.Errorf("limiter %s: %v cannot become %v", l.name, old.Algorithm, s.Algorithm)
	}
	if s == old {
		return nil
	}
	l.spec.Store(&s)
	m := l.meter(s)
	for i := range l.shards {
		l.shards[i].change(m, now)
	}
	l.waiters.wakeAll()
	return nil
}

// SetMaxBytes changes the bound of the memory of the buckets. What is there beyond a lower one stays, and nothing is added to it; the
// number of shards stays that of New too, so that with less than MinMaxBytes most keys share a bucket. After Retire it only shows in Stats.
func (l *Limiter) SetMaxBytes(n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.max.Store(n)
	if l.retired {
		return
	}
	limit := shardLimit(n, len(l.shards))
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		s.limit = limit
		s.mu.Unlock()
	}
}

// Retire gives the memory back to the budget when the limiter is of no more use. What is still in flight may go on with it.
func (l *Limiter) Retire() {
	if l.fleet != nil {
		l.fleet.retire(l)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.retired {
		return
	}
	l.retired = true
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		s.budget.give(s.bytes)
		s.budget, s.limit = nil, s.bytes // it grows no more
		s.mu.Unlock()
	}
}

// Take spends n ≥ 0 units of k's budget at instant now and reports the outcome; a refusal spends nothing.
//
// doc.go says what each algorithm promises. Expected O(1) under one shard's mutex, no allocation for a known key. A now earlier
// than the bucket's last change counts as that change. More units than there ever are never succeed: Decision.Retry is Never.
// n = 0 is a Peek that always succeeds.
func (l *Limiter) Take(k Key, n int64, now mono.Time) (d Decision) {
	checkUnits(n)
	s, h := l.shard(k)
	s.take(k, h, n, now, &d, nil)
	if n > 0 {
		s.count(d.OK)
	}
	return d
}

// Peek is the answer that Take would give, with no effect: nothing is spent, created or counted.
func (l *Limiter) Peek(k Key, n int64, now mono.Time) Decision {
	checkUnits(n)
	s, h := l.shard(k)
	return s.peek(k, h, n, now)
}

// Count has Counts tell of one decision more about k that was made elsewhere. It spends nothing. A key without a bucket gets one, if there
// is room.
func (l *Limiter) Count(k Key, allowed bool, now mono.Time) {
	s, h := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.findLocked(k, h)
	if e == nil {
		if e = s.enterLocked(k, h, now); e == nil {
			return
		}
	}
	if allowed {
		e.count(&e.allowed)
	} else {
		e.count(&e.refused)
	}
}

// Reset lets k start anew, as a key never seen, and reports whether there was anything to forget. Seats in use stay in use. What a
// key spent while there was no room for it is not its own, and stays. What keys of the same shard have in flight gives nothing back.
func (l *Limiter) Reset(k Key, now mono.Time) bool {
	s, h := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.findLocked(k, h)
	if e == nil || s.seats || s.idle(&e.bucket, now) {
		return false
	}
	if m, ok := s.meter.(*shares); ok && e.last == hot {
		s.touchLocked(e)
		return m.cell(&s.rings, &e.bucket).restart(now)
	}
	s.drop(&s.rings, &e.bucket)
	last := e.last
	e.bucket = s.fresh()
	s.gen++ // what k has in flight is forgotten too; others' of the shard cannot be told from it
	s.forward(&s.rings, &e.bucket, now)
	if s.tracked {
		e.last = last
		s.touchLocked(e)
	}
	return true
}

// Counts returns how many decisions about k were made since its bucket was, and false if it has none. They are not kept when a
// bucket that owes nothing gives way to a newcomer's.
func (l *Limiter) Counts(k Key) (allowed, refused uint32, ok bool) {
	s, h := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.findLocked(k, h)
	if e == nil {
		return 0, 0, false
	}
	return e.allowed, e.refused, true
}

// Changed calls each with the state of every key that changed since the last call, if the limiter tracks: the number of its window
// (of a quota: the seconds since 1970 of its start) and what is spent in it. each is called without a lock, and may call the
// limiter. What newcomers without room spent together is not reported.
//
// It looks at every bucket of a shard in which one changed, about 5 ns each under the shard's mutex.
func (l *Limiter) Changed(each func(k Key, window, used int64)) {
	var list []entry
	for i := range l.shards {
		s := &l.shards[i]
		s.mu.Lock()
		list = s.changedLocked(list[:0])
		s.mu.Unlock()
		for j := range list {
			each(list[j].key, list[j].x, int64(list[j].y))
		}
	}
}

// Restore puts back what Changed reported to an earlier limiter. What is no longer the window in progress is ignored, and what k has
// spent since is kept if it is more. It reports false if there is no room.
func (l *Limiter) Restore(k Key, window, used int64, now mono.Time) bool {
	s, h := l.shard(k)
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.windows()
	if w == nil || window != w.periods.at(now).id || used <= 0 {
		return true
	}
	e := s.findLocked(k, h)
	if e == nil {
		if e = s.insertLocked(k, h, now); e == nil {
			return false
		}
	}
	if e.last == hot {
		c := s.rings.cells.get(int(e.x))
		c.used += max(0, float64(used)-c.ownInWindow())
		c.draw(now)
		return true
	}
	if e.x > window { // k has been here at a later now
		return true
	}
	if e.x != window {
		e.x, e.y = window, 0
	}
	e.y = max(e.y, uint64(used))
	return true
}

func checkUnits(n int64) {
	if n < 0 {
		panic("BUG: limiter: negative number of units")
	}
}
