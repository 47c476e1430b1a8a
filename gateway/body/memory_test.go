package body

import (
	"bytes"
	"runtime"
	"strings"
	"testing"
)

// account has room for so many bytes.
type account struct{ room, held, most int }

func (a *account) Hold(n int) bool {
	if n > 0 && a.held+n > a.room {
		return false
	}
	a.held += n
	a.most = max(a.most, a.held)
	return true
}

// hungry is a program of several passes with long values, and a document that takes all it may: long names with escapes, and an output that
// grows to the limit.
func hungry(t testing.TB) (p *Program, doc []byte) {
	t.Helper()
	ops := []Op{
		{Kind: Set, Path: "rows[].a", JSON: `"` + strings.Repeat("y", 100) + `"`}, {Kind: Rename, Path: "rows[].a", Name: "b"}, {Kind: Set, Path: "rows[].b", JSON: "1"},
		{Kind: Set, Path: "c", Text: "${long}${long}"}, {Kind: Set, Path: "d", Text: "${long}"},
	}
	p, err := Compile(ops, 1<<20)
	if err != nil || len(p.passes) < 3 {
		t.Fatalf("%v, %d passes", err, len(p.passes))
	}
	doc = []byte(`{"` + strings.Repeat(`\u0061`, 30_000) + `":1,"rows":[{}` + strings.Repeat(`,{}`, 5_000) + `]}`)
	return p, doc
}

// TestMemoryIsHeld: what a document that takes much makes the program allocate was held before, and is given back but for what dst has grown by.
func TestMemoryIsHeld(t *testing.T) {
	p, doc := hungry(t)
	value := strings.Repeat("\x01", 10_000)
	fill := func(string) (string, bool) { return value, true }
	for range 3 { // with what is left in pools, and without
		a := &account{room: 1 << 30}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := p.Apply(nil, doc, fill, a)
		runtime.ReadMemStats(&after)
		if err != nil || !bytes.Contains(got, []byte(`{"b":1}`)) {
			t.Fatalf("%.100s, %v", got, err)
		}
		// The allocator rounds up to pages.
		if took := int(after.TotalAlloc - before.TotalAlloc); took > a.most+64<<10 || took < len(doc) {
			t.Errorf("%d bytes were allocated, %d held", took, a.most)
		}
		if a.held < cap(got) {
			t.Errorf("%d bytes held for a result of %d", a.held, cap(got))
		}
		grown := a.held
		if _, err := p.Apply(got[:0], doc, fill, a); err != nil || a.held != grown {
			t.Errorf("%v; %d bytes held, %d before", err, a.held, grown)
		}
	}
}

// TestNoRoom: with less room than it takes a document is not changed, and nothing is held.
func TestNoRoom(t *testing.T) {
	p, doc := hungry(t)
	value := strings.Repeat("\x01", 10_000)
	fill := func(string) (string, bool) { return value, true }
	refused := 0
	for room := 1 << 10; ; room += room / 3 {
		a := &account{room: room}
		got, err := p.Apply([]byte("x"), doc, fill, a)
		if err == nil {
			break
		}
		refused++
		if err != ErrNoRoom || string(got) != "x" || a.held != 0 {
			t.Fatalf("room for %d: %.20s, %v, %d held", room, got, err, a.held)
		}
	}
	if refused < 10 {
		t.Errorf("refused %d times only", refused)
	}
	a := &account{room: 1 << 30}
	if _, err := p.Apply(nil, append(doc, 'x'), fill, a); err != ErrInvalid || a.held != 0 {
		t.Errorf("%v, %d held", err, a.held)
	}
	none := compile(t)
	if got, err := none.Apply(nil, []byte(`{}`), nil, &account{room: 1 << 10}); err != nil || string(got) != `{}` {
		t.Errorf("%s, %v", got, err)
	}
	if _, err := none.Apply(nil, doc, nil, &account{room: 1 << 10}); err != ErrNoRoom {
		t.Errorf("nothing to change: %v", err)
	}
}

// TestLeftBuffersCount: what the pool has kept is held too while it is used.
func TestLeftBuffersCount(t *testing.T) {
	s := &scratch{values: make([]byte, 0, 300), between: [2][]byte{make([]byte, 0, 20), make([]byte, 0, 1)}}
	a := &account{room: 1000}
	if !s.begin(a, 1) || a.held != 321 {
		t.Errorf("%d held", a.held)
	}
	s.release()
	if s = (&scratch{values: make([]byte, 0, 1001)}); a.held != 0 || s.begin(a, 1) || s.held != 0 {
		t.Errorf("%d held", a.held)
	}
}

// TestLongNamesTakeNothing: a name that none of the program's can be is not worked out.
func TestLongNamesTakeNothing(t *testing.T) {
	s := &scratch{longest: 2}
	for raw, want := range map[string]string{`\u0061\u0062`: "ab", `\u0061\u0062\u0063`: `\u0061\u0062\u0063`, `a\n`: "a\n", "abcdefghijklm": "abcdefghijklm"} {
		if got := s.meant([]byte(raw)); string(got) != want {
			t.Errorf("%s means %s", raw, got)
		}
	}
	if cap(s.name) > 32 {
		t.Errorf("%d bytes", cap(s.name))
	}
}
