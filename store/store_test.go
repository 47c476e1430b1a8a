package store

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"
)

// TestModel: whatever is called in whatever order, with the file closed and opened in between, the store has what a map has.
func TestModel(t *testing.T) {
	policies := []string{"", "api", "a\x00b\xff", strings.Repeat("long", 20_000)}
	dir := shm(t)
	rapid.Check(t, func(t *rapid.T) {
		must := func(err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		os.RemoveAll(dir)
		s, err := Open(dir)
		must(err)
		defer func() { s.Close() }()
		model := map[string]map[[16]byte]Record{}
		for _, p := range policies {
			model[p] = map[[16]byte]Record{}
		}
		policy := rapid.SampledFrom(policies)
		t.Repeat(map[string]func(*rapid.T){
			"save": func(t *rapid.T) {
				var batch []Change
				from, n := rapid.Uint64Range(0, 500).Draw(t, "from"), rapid.Uint64Range(0, 300).Draw(t, "n")
				p, every := policy.Draw(t, "policy"), rapid.Uint64Range(1, 9).Draw(t, "every")
				for i := from; i < from+n; i++ {
					c := change(p, i/2, rapid.Int64Range(-2, 5).Draw(t, "window"), int64(i)<<40)
					if i%every == 0 {
						c.Policy = policies[i%4]
					}
					batch = append(batch, c)
				}
				must(s.Save(batch))
				for _, c := range batch {
					model[c.Policy][c.Key] = c.Record
				}
			},
			"expire": func(t *rapid.T) {
				p, before := policy.Draw(t, "policy"), rapid.Int64Range(-3, 6).Draw(t, "before")
				want := len(model[p])
				maps.DeleteFunc(model[p], func(_ [16]byte, r Record) bool { return r.Window < before })
				n, err := s.Expire(p, before)
				if must(err); n != want-len(model[p]) {
					t.Fatalf("%d expired, want %d", n, want-len(model[p]))
				}
			},
			"reopen": func(t *rapid.T) {
				must(s.Close())
				s, err = Open(dir)
				must(err)
			},
			"": func(t *rapid.T) {
				for _, p := range policies {
					got := map[[16]byte]Record{}
					must(s.Load(p, func(r Record) { got[r.Key] = r }))
					if !maps.Equal(got, model[p]) {
						t.Fatalf("policy %.10q has %d records, want %d", p, len(got), len(model[p]))
					}
				}
			},
		})
	})
}

// shm returns a new directory in memory, where a sync costs nothing, if the machine has one.
func shm(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-store-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// TestChunks: more records than one transaction reads, and a callback that uses the store.
func TestChunks(t *testing.T) {
	s := open(t, shm(t))
	const n = 2*chunk + 7
	batch := make([]Change, n)
	for i := range batch {
		batch[i] = change("p", uint64(i), int64(i%2), int64(i))
	}
	must(t, s.Save(batch))
	got := 0
	must(t, s.Load("p", func(r Record) {
		if got++; got == 1 {
			must(t, s.Save([]Change{{Policy: "q", Record: r}}))
		}
	}))
	if got != n || len(load(t, s, "q")) != 1 {
		t.Errorf("%d records, want %d", got, n)
	}
	gone, err := s.Expire("p", 1)
	if must(t, err); gone != (n+1)/2 || len(load(t, s, "p")) != n/2 {
		t.Errorf("%d expired, %d left, of %d", gone, len(load(t, s, "p")), n)
	}
}

func TestNonsenseIsRefused(t *testing.T) {
	if _, err := Open(""); err == nil {
		t.Error("no directory: no error")
	}
	s := open(t, t.TempDir())
	if err := s.Save([]Change{change("p", 1, 0, 1), change("p", 2, 0, -1)}); err == nil || len(load(t, s, "p")) != 0 {
		t.Errorf("a negative count: %v", err)
	}
	must(t, s.Save(nil))
}

// TestSkipped: records of a wrong form are left out and counted, and the others are there.
func TestSkipped(t *testing.T) {
	s := open(t, t.TempDir())
	must(t, s.Save([]Change{change("p", 1, 5, 6)}))
	id, k2, k3 := idOf("p"), keyOf(2), keyOf(3)
	must(t, s.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(id[:])
		return errors.Join(b.Put([]byte("short"), make([]byte, 16)), b.Put(k2[:], make([]byte, 15)),
			b.Put(k3[:], append(number(5), number(-1)...)))
	}))
	if got := load(t, s, "p"); len(got) != 1 || got[keyOf(1)].Used != 6 || s.Skipped() != 3 {
		t.Errorf("got %v, %d skipped, want 1 record, 3 skipped", got, s.Skipped())
	}
}

func TestRetain(t *testing.T) {
	day := int64(20_000)
	dir := t.TempDir()
	var s *Store
	start := func() {
		s = open(t, dir)
		s.today = func() int64 { return day }
	}
	has := func(policy string, want bool) { // without Load, which would count as a use
		t.Helper()
		id, got := idOf(policy), false
		must(t, s.view(func(tx *bbolt.Tx) error { got = tx.Bucket(id[:]) != nil; return nil }))
		if got != want {
			t.Errorf("day %d: %q is there: %v, want %v", day, policy, got, want)
		}
	}
	start()
	for _, p := range []string{"named", "saved", "loaded", "idle"} {
		must(t, s.Save([]Change{change(p, 1, 1, 1)}))
	}
	must(t, s.Retain(nil))
	has("idle", true)
	day += 30
	must(t, s.Save([]Change{change("saved", 1, 1, 1)}))
	load(t, s, "loaded")
	load(t, s, "never saved")
	must(t, s.Retain([]string{"named", "other"}))
	must(t, s.Close())
	start()
	day += 10
	must(t, s.Retain(nil))
	has("idle", true) // 40 days, but not in full
	day++
	must(t, s.Retain(nil))
	has("idle", false)
	for _, p := range []string{"named", "saved", "loaded"} {
		has(p, true)
	}
	must(t, s.Close())
	start()
	day += 30
	must(t, s.Save([]Change{change("never saved", 1, 1, 1)}))
	must(t, s.Retain([]string{"named"}))
	for _, p := range []string{"saved", "loaded"} {
		has(p, false)
	}
	has("named", true)
	has("never saved", true)
	if got := load(t, s, "named"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	day += 100
	load(t, s, "never saved") // counts before it is in the file
	must(t, s.Retain(nil))
	has("never saved", true)
	has("named", false)
}

func TestPermissions(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	open(t, dir)
	f := func(path string, want os.FileMode) {
		t.Helper()
		info, err := os.Stat(path)
		if must(t, err); info.Mode().Perm() != want {
			t.Errorf("%s: %v, want %v", path, info.Mode().Perm(), want)
		}
	}
	f(dir, 0o700)
	f(filepath.Join(dir, fileName), 0o600)
	other := filepath.Join(t.TempDir(), "c")
	_, err := Secret(other, anySecret())
	must(t, err)
	f(other, 0o700)
	f(filepath.Join(other, "secret"), 0o600)
}

func TestClose(t *testing.T) {
	s := open(t, t.TempDir())
	load(t, s, "p")
	must(t, s.Close())
	must(t, s.Close())
	_, err := s.Expire("p", 1)
	for i, err := range []error{err, s.Save([]Change{change("p", 1, 1, 1)}), s.Load("p", func(Record) {}), s.Retain(nil)} {
		if !errors.Is(err, errClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
}

// start runs this test binary as another process on dir.
func start(t *testing.T, task, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), child+"="+dir, childTask+"="+task)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd, bufio.NewScanner(out)
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	cmd, out := start(t, "hold", dir)
	if !out.Scan() || out.Text() != "true <nil>" {
		t.Fatal(out.Text())
	}
	begin := time.Now()
	_, err := Open(dir)
	if err == nil || !strings.Contains(err.Error(), "another gateway uses "+dir) || !strings.Contains(err.Error(), "node.data_dir") {
		t.Errorf("error %v", err)
	}
	if d := time.Since(begin); d < lockWait || d > lockWait+2*time.Second {
		t.Errorf("waited %v", d)
	}
	time.AfterFunc(lockWait/4, func() { cmd.Process.Kill() })
	open(t, dir)
}

// TestConcurrent is for the race detector.
func TestConcurrent(t *testing.T) {
	s := open(t, shm(t))
	var wg sync.WaitGroup
	for g := range int64(4) {
		wg.Go(func() {
			for i := range int64(20) {
				err := s.Save([]Change{change(fmt.Sprint("p", g), uint64(i), i, i)})
				_, err2 := s.Expire("p1", i-5)
				if err := errors.Join(err, err2, s.Load("p2", func(Record) {}), s.Retain([]string{"p0"})); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := len(load(t, s, "p0")); n != 20 {
		t.Errorf("%d records", n)
	}
}

// fullDisk: Save fails while there is no room, loses nothing, and works again when there is.
func fullDisk(t *testing.T, dir string, fill, free func()) {
	t.Helper()
	s := open(t, dir)
	must(t, s.Save([]Change{change("p", 0, 1, 1)}))
	fill()
	saved, failures := uint64(1), 0
	for round := uint64(0); failures < 5 && round < 500; round++ {
		var batch []Change
		for i := range uint64(200) {
			batch = append(batch, change("p", saved+i, 1, 1))
		}
		if err := s.Save(batch); err != nil {
			if failures++; failures == 1 {
				t.Log(err)
			}
		} else {
			saved += 200
		}
	}
	if failures < 5 {
		t.Fatalf("only %d failures", failures)
	}
	if n := len(load(t, s, "p")); n != int(saved) {
		t.Errorf("full: %d records, want %d", n, saved)
	}
	must(t, s.Close())
	s = open(t, dir) // takes no room
	if n := len(load(t, s, "p")); n != int(saved) {
		t.Errorf("full, reopened: %d records, want %d", n, saved)
	}
	if err := s.Save([]Change{change("big", 1, 1, 1)}); err != nil {
		t.Log("one more: ", err)
	}
	free()
	var batch []Change
	for i := range uint64(5_000) {
		batch = append(batch, change("p", saved+i, 1, 1))
	}
	must(t, s.Save(batch))
	must(t, s.Close())
	if n := len(load(t, open(t, dir), "p")); n != int(saved)+5_000 {
		t.Errorf("%d records, want %d", n, saved+5_000)
	}
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Skip("mount: ", err)
	}
	t.Cleanup(func() { syscall.Unmount(dir, syscall.MNT_DETACH) })
	fullDisk(t, dir, func() {}, func() { must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, "size=32m")) })
}

// TestFileSizeLimit is in a process of its own: the limit is for all files, those of go test too.
func TestFileSizeLimit(t *testing.T) {
	if os.Getenv(childTask) != "limit" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestFileSizeLimit$")
		cmd.Env = append(os.Environ(), childTask+"=limit")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return
	}
	signal.Ignore(syscall.SIGXFSZ)
	defer signal.Reset(syscall.SIGXFSZ)
	var old syscall.Rlimit
	must(t, syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old))
	free := func() { must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old)) }
	defer free()
	fullDisk(t, t.TempDir(), func() {
		must(t, syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 200_000, Max: old.Max}))
	}, free)
}

// TestDoubt: when the header of a transaction that failed can be seen, nothing more is written.
func TestDoubt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	must(t, s.Save([]Change{change("p", 1, 1, 1)}))
	var id int
	must(t, s.view(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }))
	broke := errors.New("input/output error")
	if err := s.doubt(id+1, broke); err != nil {
		t.Errorf("the header is not there: %v", err)
	}
	if s.failed = s.doubt(id, broke); !errors.Is(s.failed, broke) {
		t.Errorf("the header is there: %v", s.failed)
	}
	if err := s.Save([]Change{change("p", 2, 1, 1)}); !errors.Is(err, broke) || !strings.Contains(err.Error(), "restart the gateway") {
		t.Errorf("then Save: %v", err)
	}
	must(t, s.Close())
	if got := load(t, open(t, dir), "p"); len(got) != 1 {
		t.Errorf("got %v", got)
	}
}

// TestExpireSparesRenewed: a key that is saved between the reading and the removing of Expire stays.
func TestExpireSparesRenewed(t *testing.T) {
	s := open(t, t.TempDir())
	must(t, s.Save([]Change{change("p", 1, 9, 1), change("p", 2, 8, 1)}))
	k1, k2 := keyOf(1), keyOf(2)
	n, err := s.remove(idOf("p"), [][]byte{k1[:], k2[:], []byte("not there")}, 9)
	if got := load(t, s, "p"); err != nil || n != 1 || len(got) != 1 || got[k1].Window != 9 {
		t.Errorf("%d removed, %v; left %v", n, err, got)
	}
}
