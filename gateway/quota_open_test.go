package gateway

import (
	"errors"
	"strings"
	"testing"
	"time"

	"weir/internal/mono"
)

// TestBrokenStore: what cannot be read fails the reload, and what cannot be opened too.
func TestBrokenStore(t *testing.T) {
	s := newFakeStore()
	g := keeping(t, s, quotaOne)
	broken := errors.New("input/output error")
	s.set(nil, broken)
	if err := renew(t, g, quotaRoute+quotaTwo, time.Minute); !errors.Is(err, broken) {
		t.Errorf("a new quota: %v", err)
	}
	askTimes(g, 1)
	if err := g.ReleaseQuotas(t.Context()); !errors.Is(err, broken) || !strings.Contains(err.Error(), "is forgotten") {
		t.Errorf("the end: %v", err)
	}
	g = newGateway(t, quotaRoute)
	if err := g.KeepQuotas(t.Context(), func() (QuotaStore, error) { return nil, broken }); !errors.Is(err, broken) {
		t.Errorf("open: %v", err)
	}
	if err := renew(t, g, quotaRoute+quotaOne, time.Minute); err != nil {
		t.Errorf("a quota that is to be kept nowhere, after that: %v", err)
	}
	mustDo(t, g.ReleaseQuotas(t.Context()))
}

// TestHungOpen: a store that opens too late is closed again, and until then there is no second attempt.
func TestHungOpen(t *testing.T) {
	s, hang := newFakeStore(), make(chan struct{})
	g := newGateway(t, quotaRoute)
	open := func() (QuotaStore, error) { <-hang; return s, nil }
	if err := g.KeepQuotas(within(t, 20*time.Millisecond), open); err == nil {
		t.Fatal("no error")
	}
	if err := g.KeepQuotas(t.Context(), open); err == nil || !strings.Contains(err.Error(), "earlier attempt") {
		t.Errorf("a second attempt: %v", err)
	}
	mustDo(t, g.ReleaseQuotas(within(t, 0))) // nothing is lost
	close(hang)
	mustDo(t, g.ReleaseQuotas(t.Context()))
	if !s.closed {
		t.Error("it is not closed")
	}
	s = newFakeStore()
	mustDo(t, g.KeepQuotas(t.Context(), func() (QuotaStore, error) { return s, nil }))
	mustDo(t, g.ReleaseQuotas(t.Context()))
}

// TestNothingIsWrittenForNothing: a store that was opened for a configuration that came to nothing is closed as it was.
func TestNothingIsWrittenForNothing(t *testing.T) {
	g := newGateway(t, quotaRoute+quotaOne)
	s := newFakeStore()
	mustDo(t, g.KeepQuotas(t.Context(), func() (QuotaStore, error) { return s, nil }))
	askTimes(g, 1)
	mustDo(t, g.ReleaseQuotas(t.Context()))
	if len(s.disk) != 0 || !s.closed {
		t.Errorf("%v is on disk, closed: %v", s.disk, s.closed)
	}
}

// TestNothingIsKeptByWhatFailed: a store that did not open in time is forgotten by the configurations that come after, with a quota or
// without one. When it opens after all, nothing is written there, and an end before that has lost nothing.
func TestNothingIsKeptByWhatFailed(t *testing.T) {
	for _, policies := range []string{"", quotaOne} {
		g, s, hang := newGateway(t, quotaRoute+policies), newFakeStore(), make(chan struct{})
		askTimes(g, 3)
		if err := g.KeepQuotas(within(t, 20*time.Millisecond), func() (QuotaStore, error) { <-hang; return s, nil }); err == nil {
			t.Error("no error")
		}
		mustDo(t, renew(t, g, quotaRoute+policies, time.Minute))
		g.keeper().busy.Store(int64(mono.Now().Add(-2 * hungAfter)))
		if g.watchQuotas(mono.Now()); g.quotas.hung {
			t.Error("it is said that quotas cannot be kept")
		}
		if err := g.ReleaseQuotas(within(t, 20*time.Millisecond)); err != nil {
			t.Errorf("the end, with %q: %v", policies, err)
		}
		close(hang)
		<-g.keeper().done
		if len(s.disk) != 0 || !s.closed {
			t.Errorf("%v is on disk, closed: %v", s.disk, s.closed)
		}
	}
}
