package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
	"weir/limiter"
	"weir/store"
)

// keeper is the goroutine that waits for the disk, so that nobody else has to: it opens, loads, saves and closes.
type keeper struct {
	gw      *Gateway
	opened  chan struct{} // closed when the store is open, or err says why not
	err     error
	loads   chan *loading
	release sync.Once
	ending  chan struct{} // closed when it is to end
	done    chan struct{} // closed when it has, and lost says what that forgot
	lost    error

	writes atomic.Bool  // a configuration with this store is in force
	busy   atomic.Int64 // mono.Time since when the disk works on one thing; 0: it does not
	kept   atomic.Int64 // mono.Time up to which all spending is on disk

	// Its goroutine's own.
	store   QuotaStore
	failing bool
	expired mono.Time
	skewed  bool
}

// end has the keeper write what is left, and go.
func (k *keeper) end() { k.release.Do(func() { close(k.ending) }) }

// waits returns for how long the disk has been working on one thing.
func (k *keeper) waits(now mono.Time) time.Duration {
	if since := k.busy.Load(); since != 0 {
		return now.Sub(mono.Time(since))
	}
	return 0
}

func (k *keeper) keptUntil() string {
	return mono.Time(k.kept.Load()).Wall().Format(time.RFC3339)
}

// disk calls f, which waits for the disk.
func (k *keeper) disk(f func() error) error {
	k.busy.Store(int64(mono.Now()))
	defer k.busy.Store(0)
	return f()
}

func (k *keeper) run(open func() (QuotaStore, error)) {
	defer close(k.done)
	k.err = k.disk(func() (err error) { k.store, err = open(); return err })
	close(k.opened)
	if k.err != nil {
		return
	}
	t := time.NewTimer(keepEvery)
	defer t.Stop()
	for {
		select {
		case <-k.ending:
			k.lost = k.save()
			if err := k.disk(k.store.Close); err != nil {
				k.lost = errors.Join(k.lost, fmt.Errorf("quotas: %w", err))
			}
			return
		case l := <-k.loads:
			l.err = k.disk(func() error { return k.load(l) })
			close(l.done)
		case <-t.C:
			began := mono.Now()
			k.save() //nolint:errcheck // it has said so, and is tried again
			k.expire(mono.Now(), time.Now())
			t.Reset(min(max(keepEvery, keepShare*mono.Now().Sub(began)), keepLatest))
		}
	}
}

// save writes what has changed since the last call. What could not be written is tried again with the next.
func (k *keeper) save() error {
	if !k.writes.Load() {
		return nil
	}
	now := mono.Now()
	taken := k.gw.takeQuotas()
	var err error
	if len(taken) > 0 {
		err = k.disk(func() error { return k.store.Save(taken.changes()) })
	}
	log := k.gw.log
	switch {
	case err == nil && k.failing && len(taken) > 0:
		log.Info("quotas are kept on disk again")
	case err != nil && !k.failing:
		log.Error("quotas cannot be kept on disk, a restart would forget what is spent from now on; it is tried again", "error", err)
	}
	if k.failing = err != nil; err == nil {
		k.kept.Store(int64(now))
		return nil
	}
	k.gw.quotas.mu.Lock()
	k.gw.quotas.pending.putBack(taken)
	k.gw.quotas.mu.Unlock()
	return fmt.Errorf("quotas: what was spent since %s is forgotten: %w", k.keptUntil(), err)
}

// loading is limiters that wait for what was kept of them.
type loading struct {
	variants []*variant
	dropped  atomic.Bool // nobody wants them any more
	err      error
	done     chan struct{}
}

// hand has the keeper see to l, and waits for that.
func (k *keeper) hand(ctx context.Context, l *loading) error {
	hangs := func() error {
		return fmt.Errorf("the disk has not answered for %s", k.waits(mono.Now()).Round(100*time.Millisecond))
	}
	if k.waits(mono.Now()) > hungAfter {
		return hangs()
	}
	select {
	case k.loads <- l:
	case <-k.done:
		return errors.New("the store is closed")
	case <-ctx.Done():
		return hangs()
	}
	select {
	case <-l.done:
		return l.err
	case <-ctx.Done():
		return hangs()
	}
}

// load restores limiters. What is still to be written is newer than what the disk has, whichever is more.
func (k *keeper) load(l *loading) error {
	for _, v := range l.variants {
		k.gw.quotas.mu.Lock()
		newer := maps.Clone(k.gw.quotas.pending[v.identity])
		k.gw.quotas.mu.Unlock()
		now := mono.Now()
		lost, skipped := 0, k.store.Skipped()
		restore := func(key limiter.Key, t tally) {
			if !l.dropped.Load() && !v.limiter.Restore(key, t.window, t.used, now) {
				lost++
			}
		}
		err := k.store.Load(v.identity, func(r store.Record) {
			key := keyOf(r.Key)
			if _, ok := newer[key]; !ok {
				restore(key, tally{r.Window, r.Used})
			}
		})
		for key, t := range newer {
			restore(key, t)
		}
		skipped = k.store.Skipped() - skipped
		if lost > 0 || skipped > 0 {
			k.gw.log.Error("a quota starts without some of what was spent", "policy", v.limiter.Name(), "without_room", lost, "damaged", skipped)
		}
		if err != nil {
			return fmt.Errorf("policy %s: %w", v.limiter.Name(), err)
		}
	}
	return nil
}

// expire removes periods that are over for long, and policies that are gone for long, from disk: once an hour, first when
// the process is an hour old, and only while wall, which may be put right at any time, agrees with the clock that the
// process has gone by since it began. See ADR 011.
func (k *keeper) expire(now mono.Time, wall time.Time) {
	if !k.writes.Load() || now.Sub(k.expired) < expireEvery {
		return
	}
	k.expired = now
	own := time.Unix(0, k.gw.epoch+int64(now))
	if wall = wall.Round(0); wall.Sub(own).Abs() > maxSkew { // Round drops the monotonic reading
		if !k.skewed {
			k.gw.log.Warn("quotas of the past stay on disk until a restart: the clock was set since this process began", "by", wall.Sub(own).Round(time.Second).String())
		}
		k.skewed = true
		return
	}
	var ids []string
	for _, v := range k.gw.snap.Load().quotaVariants() {
		ids = append(ids, v.identity)
		err := k.disk(func() error {
			_, err := k.store.Expire(v.identity, outdated(v.spec.Calendar, own))
			return err
		})
		if err != nil {
			k.gw.log.Warn("quotas of the past cannot be removed from disk", "policy", v.limiter.Name(), "error", err)
		}
	}
	if err := k.disk(func() error { return k.store.Retain(ids) }); err != nil {
		k.gw.log.Warn("quotas of policies that are gone cannot be removed from disk", "error", err)
	}
}

// outdated returns the second before which windows that started are of no more use: two periods before the one in progress.
func outdated(c limiter.Calendar, now time.Time) int64 {
	start := now
	for range 3 {
		start, _ = c.Around(start)
		now, start = start, start.Add(-time.Nanosecond)
	}
	return now.Unix()
}

func keyBytes(k limiter.Key) (b [16]byte) {
	binary.BigEndian.PutUint64(b[:8], k.Hi)
	binary.BigEndian.PutUint64(b[8:], k.Lo)
	return b
}

func keyOf(b [16]byte) limiter.Key {
	return limiter.Key{Hi: binary.BigEndian.Uint64(b[:8]), Lo: binary.BigEndian.Uint64(b[8:])}
}
