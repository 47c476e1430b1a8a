package gateway

import (
	"maps"
	"testing"

	"pgregory.net/rapid"

	"weir/limiter"
)

func TestPutBack(t *testing.T) {
	k := func(n uint64) limiter.Key { return limiter.Key{Lo: n} }
	f := func(now, taken, want pending) {
		t.Helper()
		now.putBack(taken)
		if !maps.EqualFunc(now, want, maps.Equal[map[limiter.Key]tally, map[limiter.Key]tally]) {
			t.Errorf("got %v, want %v", now, want)
		}
	}
	type keys = map[limiter.Key]tally
	f(nil, nil, nil)
	f(nil, pending{"a": keys{k(1): {5, 6}}}, pending{"a": keys{k(1): {5, 6}}})
	f(pending{"a": keys{k(1): {5, 6}}}, nil, pending{"a": keys{k(1): {5, 6}}})
	f(pending{"a": keys{k(1): {5, 2}}}, pending{"a": keys{k(1): {5, 6}}}, pending{"a": keys{k(1): {5, 2}}}) // something was given back since
	f(pending{"a": keys{k(1): {9, 1}}}, pending{"a": keys{k(1): {5, 6}, k(2): {5, 7}}, "b": keys{k(1): {5, 8}}},
		pending{"a": keys{k(1): {9, 1}, k(2): {5, 7}}, "b": keys{k(1): {5, 8}}})
}

// TestPendingModel: whatever is noted, taken, written or not in whatever order, the disk, what is on its way there and what is
// pending are together the newest of everything.
func TestPendingModel(t *testing.T) {
	type at struct {
		policy string
		key    uint64
	}
	rapid.Check(t, func(t *rapid.T) {
		var p, way pending
		disk, latest := map[at]tally{}, map[at]tally{}
		over := func(to map[at]tally, from pending) {
			for _, c := range from.changes() {
				to[at{c.Policy, keyOf(c.Key).Lo}] = tally{c.Window, c.Used}
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"note": func(t *rapid.T) {
				a := at{rapid.SampledFrom([]string{"a", "b"}).Draw(t, "policy"), rapid.Uint64Range(0, 5).Draw(t, "key")}
				c := tally{rapid.Int64Range(0, 3).Draw(t, "window"), rapid.Int64Range(0, 9).Draw(t, "used")}
				p.set(a.policy, limiter.Key{Lo: a.key}, c)
				latest[a] = c
			},
			"take": func(t *rapid.T) {
				if way == nil {
					way = p.take()
				}
			},
			"written": func(t *rapid.T) { over(disk, way); way = nil },
			"failed":  func(t *rapid.T) { p.putBack(way); way = nil },
			"": func(t *rapid.T) {
				all := maps.Clone(disk)
				over(all, way)
				over(all, p)
				if !maps.Equal(all, latest) {
					t.Fatalf("got %v, want %v", all, latest)
				}
			},
		})
	})
}
