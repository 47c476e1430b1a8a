package gateway

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/mono"
	"weir/limiter"
	"weir/store"
)

// fakeStore is a store in memory. Each call waits for gate, if there is one, and then fails with err, if there is one.
type fakeStore struct {
	mu      sync.Mutex
	gate    chan struct{}
	err     error
	only    string // what err is for; empty: everything
	disk    map[string]map[[16]byte]store.Record
	entered chan string // calls, as they begin
	expired map[string]int64
	closed  bool
}

func newFakeStore() *fakeStore {
	return &fakeStore{disk: map[string]map[[16]byte]store.Record{}, expired: map[string]int64{}, entered: make(chan string, 1000)}
}

// set makes the disk hang until hang is closed (nil: not at all), and then fail.
func (s *fakeStore) set(hang chan struct{}, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate, s.err = hang, err
}

func (s *fakeStore) enter(what string) error {
	s.entered <- what
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.only != "" && s.only != what {
		return nil
	}
	return s.err
}

func (s *fakeStore) Load(policy string, each func(store.Record)) error {
	if err := s.enter("load"); err != nil {
		return err
	}
	for _, r := range s.disk[policy] {
		each(r)
	}
	return nil
}

func (s *fakeStore) Save(batch []store.Change) error {
	if err := s.enter("save"); err != nil {
		return err
	}
	for _, c := range batch {
		if s.disk[c.Policy] == nil {
			s.disk[c.Policy] = map[[16]byte]store.Record{}
		}
		s.disk[c.Policy][c.Key] = c.Record
	}
	return nil
}

func (s *fakeStore) Expire(policy string, before int64) (int, error) {
	s.expired[policy] = before
	return 0, s.enter("expire")
}
func (s *fakeStore) Retain([]string) error { return s.enter("retain") }
func (s *fakeStore) Skipped() int64        { return 0 }
func (s *fakeStore) Close() error          { s.enter("close"); s.closed = true; return nil }

func (s *fakeStore) await(t *testing.T, what string) {
	t.Helper()
	for end := time.After(10 * time.Second); ; {
		select {
		case got := <-s.entered:
			if got == what {
				return
			}
		case <-end:
			t.Fatalf("no %s", what)
		}
	}
}

const (
	quotaRoute = "pools: [{name: api, endpoints: [{address: '127.0.0.1:1'}]}]\nroutes: [{name: all, pool: api}]\n"
	quotaOne   = "policies: [{name: q, algorithm: quota, limit: 10, window: month}]\n"
	quotaTwo   = "policies: [{name: q, algorithm: quota, limit: 10, window: month}, {name: r, algorithm: quota, limit: 10, window: month}]\n"
)

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// renew is a reload that loads quotas.
func renew(t *testing.T, g *Gateway, yaml string, d time.Duration) error {
	t.Helper()
	s, err := g.Compile(parse(t, yaml))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := g.LoadQuotas(within(t, d), s); err != nil {
		s.Discard()
		return err
	}
	g.Install(s)
	return nil
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func keeping(t *testing.T, s *fakeStore, yaml string) *Gateway {
	t.Helper()
	g := newGateway(t, quotaRoute)
	mustDo(t, g.KeepQuotas(t.Context(), func() (QuotaStore, error) { return s, nil }))
	mustDo(t, renew(t, g, quotaRoute+yaml, time.Minute))
	return g
}

func askTimes(g *Gateway, n int) {
	for range n {
		g.serve(g.exchange(request("GET", "/")))
	}
}

// quick fails the test if f takes longer than what waits for no disk may.
func quick(t *testing.T, what string, f func()) {
	t.Helper()
	begin := time.Now()
	if f(); time.Since(begin) > time.Second {
		t.Errorf("%s took %v", what, time.Since(begin))
	}
}

// TestHungDisk: with a disk that does not answer, everything but what needs it goes on, and what needs it says so in time.
func TestHungDisk(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaOne)
	hang := make(chan struct{})
	s.set(hang, nil)
	askTimes(g, 3)
	s.await(t, "save")
	quick(t, "a request", func() { askTimes(g, 1) })
	used := g.budget.Used()
	quick(t, "a new quota", func() {
		if err := renew(t, g, quotaRoute+quotaTwo, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "has not answered") {
			t.Errorf("a new quota: %v", err)
		}
	})
	if g.budget.Used() != used {
		t.Errorf("a reload that failed keeps %d bytes", g.budget.Used()-used)
	}
	quick(t, "other reloads", func() {
		mustDo(t, renew(t, g, quotaRoute, time.Minute))
		reload(t, g, quotaRoute)
		if g.LimiterStats() != nil {
			t.Error("there still are limiters")
		}
	})
	quick(t, "the end", func() {
		if err := g.ReleaseQuotas(within(t, 50*time.Millisecond)); err == nil || !strings.Contains(err.Error(), "is forgotten") {
			t.Errorf("the end: %v", err)
		}
	})
	close(hang)
	if err := g.ReleaseQuotas(within(t, 10*time.Second)); err != nil || !s.closed {
		t.Errorf("when it answers again: %v", err)
	}
	for _, records := range s.disk {
		for _, r := range records {
			if r.Used != 4 {
				t.Errorf("%d on disk, want 4", r.Used)
			}
		}
	}
	if len(s.disk) != 1 {
		t.Errorf("%d policies on disk", len(s.disk))
	}
}

// TestHungDiskFailsAtOnce: once it is known that the disk hangs, nobody waits for it any more.
func TestHungDiskFailsAtOnce(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaOne)
	hang := make(chan struct{})
	s.set(hang, nil)
	askTimes(g, 1)
	s.await(t, "save")
	g.keeper().busy.Store(int64(mono.Now().Add(-2 * hungAfter)))
	quick(t, "a new quota", func() {
		if err := renew(t, g, quotaRoute+quotaTwo, time.Minute); err == nil {
			t.Error("no error")
		}
	})
	g.watchQuotas(mono.Now())
	if !g.quotas.hung {
		t.Error("nothing is said")
	}
	close(hang)
	mustDo(t, g.ReleaseQuotas(t.Context()))
	if g.watchQuotas(mono.Now()); g.quotas.hung {
		t.Error("it is not taken back")
	}
}

// TestQuotaGoesAndReturns: a policy that is removed and added again forgets nothing, whether or not the disk takes it meanwhile.
func TestQuotaGoesAndReturns(t *testing.T) {
	for name, broken := range map[string]error{"fine": nil, "full": errors.New("no space left on device")} {
		s := newFakeStore()
		s.only = "save"
		g := keeping(t, s, quotaOne)
		askTimes(g, 2)
		s.await(t, "save")
		s.set(nil, broken)
		askTimes(g, 2)
		for i := 0; broken != nil && i < 2; i++ {
			s.await(t, "save") // it is tried again, though nothing has changed since
		}
		for i := range 4 {
			mustDo(t, renew(t, g, quotaRoute, time.Minute))
			if i >= 2 {
				letGo(t, g) // else it gets the limiter that it had
			}
			mustDo(t, renew(t, g, quotaRoute+quotaOne, time.Minute))
			if got := left(t, g, "q", request("GET", "/")); got != 6 {
				t.Errorf("%s: %d left, want 6", name, got)
			}
		}
		s.set(nil, nil)
		mustDo(t, g.ReleaseQuotas(t.Context()))
		g = keeping(t, s, quotaOne) // another process, as it were
		if got := left(t, g, "q", request("GET", "/")); got != 6 {
			t.Errorf("%s: %d left in the next life, want 6", name, got)
		}
		mustDo(t, g.ReleaseQuotas(t.Context()))
	}
}

// TestLoadIsUndone: a configuration that comes to nothing gives back the memory of what was loaded for it.
func TestLoadIsUndone(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaTwo)
	askTimes(g, 3)
	mustDo(t, renew(t, g, quotaRoute+quotaOne, time.Minute))
	letGo(t, g)
	before := g.budget.Used()
	snap, err := g.Compile(parse(t, quotaRoute+quotaTwo))
	mustDo(t, err)
	undo, err := g.LoadQuotas(t.Context(), snap)
	if mustDo(t, err); g.budget.Used() <= before {
		t.Error("nothing was loaded")
	}
	undo()
	snap.Discard()
	if got := g.budget.Used(); got != before {
		t.Errorf("%d bytes in use, want %d", got, before)
	}
	mustDo(t, renew(t, g, quotaRoute+quotaTwo, time.Minute))
	if got := left(t, g, "r", request("GET", "/")); got != 7 {
		t.Errorf("%d left, want 7", got)
	}
	mustDo(t, g.ReleaseQuotas(t.Context()))
}

// TestPendingIsNewer: what is pending counts, and not what the disk has of the same key, also where that is more.
func TestPendingIsNewer(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaOne)
	mustDo(t, g.ReleaseQuotas(t.Context()))
	v := g.snap.Load().quotaVariants()[0]
	start, _ := v.spec.Calendar.Around(mono.Now().Wall())
	window := start.Unix()
	k := func(n uint64) limiter.Key { return limiter.Key{Lo: n} }
	mustDo(t, s.Save(pending{v.identity: {k(1): {window, 8}, k(2): {window, 3}, k(4): {window - 1, 9}}}.changes()))
	g.quotas.pending.set(v.identity, k(1), tally{window, 5})
	g.quotas.pending.set(v.identity, k(3), tally{window, 2})
	g.quotas.pending.set("another", k(2), tally{window, 9})
	mustDo(t, (&keeper{gw: g, store: s}).load(&loading{variants: []*variant{v}}))
	for n, want := range []int64{10, 5, 7, 8, 10} {
		if got := v.limiter.Peek(k(uint64(n)), 0, mono.Now()).Left; got != want {
			t.Errorf("key %d: %d left, want %d", n, got, want)
		}
	}
}

// TestExpiry is a table of time since the start, and of what the wall clock is off by then.
func TestExpiry(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaOne)
	mustDo(t, g.ReleaseQuotas(t.Context()))
	f := func(after, skew time.Duration, want bool) {
		t.Helper()
		k := g.keeper()
		clear(s.expired)
		now := mono.Time(after)
		k.expire(now, time.Unix(0, g.epoch+int64(now)).Add(skew))
		if len(s.expired) > 0 != want {
			t.Errorf("%v after the start, off by %v: %v", after, skew, s.expired)
		}
	}
	f(0, 0, false)
	f(59*time.Minute, 0, false)
	f(time.Hour, 0, true)
	f(61*time.Minute, 0, false)
	f(2*time.Hour, 2*time.Minute, false)
	f(3*time.Hour, -365*24*time.Hour, false)
	f(4*time.Hour, -30*time.Second, true)
}

func TestOutdated(t *testing.T) {
	f := func(period, now, want string) {
		t.Helper()
		at, err := time.Parse(time.DateTime, now)
		mustDo(t, err)
		if got := time.Unix(outdated(limiter.Calendar{Period: period}, at), 0).UTC().Format(time.DateTime); got != want {
			t.Errorf("%s at %s: %s, want %s", period, now, got, want)
		}
	}
	f("month", "2026-03-31 12:00:00", "2026-01-01 00:00:00")
	f("month", "2026-03-01 00:00:00", "2026-01-01 00:00:00")
	f("day", "2026-03-01 00:00:01", "2026-02-27 00:00:00")
	f("hour", "2026-03-01 00:59:59", "2026-02-28 22:00:00")
	f("week", "2026-03-01 12:00:00", "2026-02-09 00:00:00")
}
