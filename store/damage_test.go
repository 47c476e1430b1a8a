package store

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// TestKill: a process that saves is killed at random moments; all it has acknowledged is there, and no batch in part.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	opened, slow := 0, 1 // slow: how many times longer than usual it takes to begin
	for round, end := 0, time.Now().Add(5*time.Second); round < 60 && (time.Now().Before(end) || opened < 5); round++ {
		if round%3 == 0 {
			dir = t.TempDir() // also while the file is being made
		}
		cmd, out := start(t, "write", dir)
		life := 80_000
		if round%3 == 0 {
			life = 20_000
		}
		life *= slow
		kill := time.AfterFunc(time.Duration(rand.IntN(life))*time.Microsecond, func() { cmd.Process.Kill() })
		acked := int64(-1)
		for out.Scan() {
			n, err := strconv.ParseInt(out.Text(), 10, 64)
			if err != nil {
				t.Fatal(out.Text())
			}
			acked = n
		}
		cmd.Wait()
		kill.Stop()
		s, err := Open(dir)
		must(t, err)
		all := load(t, s, "all")
		used := all[keyOf(0)].Used
		for _, r := range all {
			if r.Used != used || r.Window != used || len(all) != keysOfAll {
				t.Fatalf("round %d: %d keys, one has %d of window %d, another %d", round, len(all), r.Used, r.Window, used)
			}
		}
		if used < acked || acked >= 0 && used > acked+1 {
			t.Fatalf("round %d: batch %d was acknowledged, %d is there", round, acked, used)
		}
		load(t, s, "old")
		must(t, s.Close())
		if acked > 0 {
			opened++
		} else if round%3 != 0 && opened == 0 {
			slow = min(2*slow, 32)
		}
	}
	t.Logf("%d rounds came to a batch", opened)
	if opened < 5 {
		t.Errorf("only %d rounds came to a batch", opened)
	}
}

// image returns a file with a policy of several pages, one within a page, and free pages; and that before its last batch.
func image(t testing.TB) (before, after []byte) {
	t.Helper()
	dir := shm(t)
	s, err := Open(dir)
	must(t, err)
	for n := int64(1); n <= 4; n++ {
		if n == 4 {
			before = read(t, dir)
		}
		batch := []Change{change("small", uint64(n), n, n)}
		for i := range uint64(400) {
			batch = append(batch, change("big", i*uint64(n)%500, n, n))
		}
		must(t, s.Save(batch))
	}
	after = read(t, dir)
	must(t, s.Close())
	return before, after
}

func read(t testing.TB, dir string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	must(t, err)
	return b
}

func write(t testing.TB, dir string, b []byte) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(dir, fileName), b, 0o600))
}

// TestTorn: after a power cut any of the pages of a transaction may be on the disk, and its header in part.
func TestTorn(t *testing.T) {
	before, after := image(t)
	before = append(before, make([]byte, len(after)-len(before))...)
	dir := shm(t)
	contents := func(b []byte) map[[16]byte]Record {
		write(t, dir, b)
		s := open(t, dir)
		defer s.Close()
		return load(t, s, "big")
	}
	old, now := contents(before), contents(after)
	if maps.Equal(old, now) {
		t.Fatal("the last batch changes nothing")
	}
	var changed []int
	for p := 0; p < len(after); p += pageSize {
		if !slices.Equal(before[p:p+pageSize], after[p:p+pageSize]) {
			changed = append(changed, p)
		}
	}
	if len(changed) < 3 || changed[0] > pageSize {
		t.Fatalf("pages that changed: %v", changed)
	}
	for range 100 {
		b := slices.Clone(before)
		for _, p := range changed[1:] {
			if rand.IntN(2) == 0 {
				copy(b[p:p+pageSize], after[p:])
			}
		}
		if got := contents(b); !maps.Equal(got, old) {
			t.Fatal("pages without their header: not the state before")
		}
		b = slices.Clone(after)
		cut := changed[0] + headSize + rand.IntN(metaSize)
		copy(b[changed[0]:cut], before[changed[0]:])
		if got := contents(b); !maps.Equal(got, old) && !maps.Equal(got, now) {
			t.Fatal("a torn header: neither the state before nor after")
		}
	}
}

// TestUnborn: what a crash can leave of a file before its first transaction is as good as no file.
func TestUnborn(t *testing.T) {
	dir := shm(t)
	db, err := bbolt.Open(filepath.Join(dir, fileName), 0o600, &bbolt.Options{PageSize: pageSize})
	must(t, err)
	must(t, db.Close())
	fresh := read(t, dir)
	for n := 0; n <= len(fresh); n += pageSize {
		for _, b := range [][]byte{fresh[:n], make([]byte, n)} {
			write(t, dir, b)
			s := open(t, dir)
			must(t, s.Save([]Change{change("p", 1, 1, 1)}))
			must(t, s.Close())
		}
	}
}

func TestDamaged(t *testing.T) {
	_, good := image(t)
	dir := shm(t)
	path := filepath.Join(dir, fileName)
	f := func(name string, b []byte, parts ...string) {
		t.Helper()
		write(t, dir, b)
		s, err := Open(dir)
		if err == nil {
			s.Close()
			t.Errorf("%s: no error", name)
			return
		}
		for _, part := range append(parts, path, "move it away") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v: does not say %q", name, err, part)
			}
		}
		if !slices.Equal(read(t, dir), b) {
			t.Errorf("%s: the file was changed", name)
		}
	}
	garbage := make([]byte, 50_000)
	for i := range garbage {
		garbage[i] = byte(rand.Uint32())
	}
	f("garbage", garbage, "is damaged", "no valid header", "nothing counted")
	f("text", []byte("hello"), "too short")
	f("one page", good[:pageSize], "too short")
	f("zeros", make([]byte, len(good)), "no valid header")
	f("half", good[:len(good)/2], "it is cut")
	h, _ := parseHeader(good[:pageSize])
	if other, _ := parseHeader(good[pageSize : 2*pageSize]); other.txid > h.txid {
		h = other
	}
	f("the last page cut", good[:h.pages*pageSize-1], "it is cut")
	broken := func(off uint64, b ...byte) []byte {
		c := slices.Clone(good)
		copy(c[off:], b)
		return c
	}
	root := h.root * pageSize
	f("root page of no kind", broken(root+8, 0x40), "of no known kind")
	f("root page that is another", broken(root, 0x40), "wrong head")
	f("root page too long", broken(root+12, 0xff), "wrong head")
	f("too many elements", broken(root+10, 0xff, 0xff), "outside of the page")
	f("free pages in use", broken(h.freelist*pageSize+headSize, byte(h.root)), "used twice")
	f("endless free pages", broken(h.freelist*pageSize+10, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f), "no list of free pages")
	foreign := func(put func(*bbolt.Tx) error) []byte {
		os.Remove(path)
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{PageSize: pageSize})
		must(t, err)
		must(t, db.Update(put))
		must(t, db.Close())
		return read(t, dir)
	}
	f("another program's", foreign(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("x")); return err }), "another program")
	f("a later version's", foreign(func(tx *bbolt.Tx) error {
		b, _ := tx.CreateBucket(metaName)
		return b.Put(versionKey, number(2))
	}), "start the version that wrote it", "nothing counted")
}

// TestCutWhileOpen: a file that somebody empties under us is an error, not the end of the process.
func TestCutWhileOpen(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Save([]Change{change("p", 1, 1, 1)}))
	must(t, os.Truncate(filepath.Join(dir, fileName), 0))
	for range 2 {
		if err := s.Save([]Change{change("p", 2, 1, 1)}); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("Save: %v", err)
		}
		if err := s.Load("p", func(Record) {}); err == nil || !strings.Contains(err.Error(), "move it away") {
			t.Errorf("Load: %v", err)
		}
	}
	must(t, s.Close())
	open(t, dir)
}

// FuzzOpen: no bytes in the file make the package panic, hang or end the process. The input is the file, or a list of
// changes to a good one, of four bytes each: page, offset in the page, the new byte. Then the headers are made valid again.
func FuzzOpen(f *testing.F) {
	_, good := image(f)
	dir := shm(f)
	f.Add([]byte{}, true)
	for p := range len(good) / pageSize {
		for _, off := range []byte{0, 8, 10, 12, headSize, headSize + 4, headSize + 8, headSize + 12, headSize + 32, headSize + 40} {
			f.Add([]byte{byte(p), 0, off, good[p*pageSize+int(off)] ^ 3}, true)
		}
	}
	f.Add(good[:3*pageSize], false)
	f.Fuzz(func(t *testing.T, in []byte, patch bool) {
		b := in
		if patch {
			b = slices.Clone(good)
			for ; len(in) >= 4; in = in[4:] {
				at := (int(in[0])*pageSize + int(binary.BigEndian.Uint16(in[1:]))%pageSize) % len(b)
				b[at] = in[3]
			}
			for p := range 2 {
				m := b[p*pageSize+headSize:][:metaSize]
				sum := fnv.New64a()
				sum.Write(m[:metaSize-8])
				native.PutUint64(m[metaSize-8:], sum.Sum64())
			}
		}
		dir, err := os.MkdirTemp(dir, "")
		must(t, err)
		defer os.RemoveAll(dir)
		write(t, dir, b)
		for n := range int64(2) {
			s, err := Open(dir)
			if err != nil {
				return
			}
			s.Load("small", func(Record) {})
			s.Load("big", func(Record) {})
			s.Save(batchOf(n))
			s.Save([]Change{change("big", 7, 7, 7), change("big", 300, 7, 7), change("small", 2, 7, 7)})
			s.Expire("big", 4)
			s.Retain(nil)
			s.Close()
		}
	})
}

// TestDeep: a chain of branches is bounded, where bbolt would follow it to the end of the stack.
func TestDeep(t *testing.T) {
	f := func(levels int, want bool) {
		t.Helper()
		b := make([]byte, (levels+4)*pageSize)
		head := func(id int, flags, count uint16) []byte {
			p := b[id*pageSize:][:pageSize]
			native.PutUint64(p, uint64(id))
			native.PutUint16(p[8:], flags)
			native.PutUint16(p[10:], count)
			return p[headSize:]
		}
		m := head(0, 0x04, 0)
		native.PutUint32(m, magic)
		native.PutUint32(m[4:], fileVersion)
		native.PutUint32(m[8:], pageSize)
		for i, v := range []uint64{3, 0, 2, uint64(levels) + 4, 6} { // root, its sequence, free pages, pages, transaction
			native.PutUint64(m[16+8*i:], v)
		}
		sum := fnv.New64a()
		sum.Write(m[:metaSize-8])
		native.PutUint64(m[metaSize-8:], sum.Sum64())
		head(2, freelistPage, 0)
		for id := 3; id < levels+3; id++ {
			e := head(id, branchPage, 1)
			native.PutUint32(e, elemSize) // the key, of one byte, after the element
			native.PutUint32(e[4:], 1)
			native.PutUint64(e[8:], uint64(id)+1)
		}
		head(levels+3, leafPage, 0)
		if err := check(bytes.NewReader(b), int64(len(b))); (err == nil) != want || err != nil && !strings.HasSuffix(err.Error(), "is too deep") {
			t.Errorf("%d levels: %v", levels, err)
		}
	}
	f(0, true)
	f(maxDepth-1, true)
	f(maxDepth, false)
}
