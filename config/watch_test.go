package config

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// watched runs Watch on path and returns a channel that gets every call. The test ends the watch and waits for it.
func watched(t *testing.T, path string) <-chan struct{} {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	known, _ := os.Stat(path)
	told, done := make(chan struct{}, 1000), make(chan struct{})
	go func() {
		defer close(done)
		Watch(ctx, path, known, func() { told <- struct{}{} })
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return told
}

// changeUntilTold repeats a change until it is told: the watch may not have begun when it is made first.
func changeUntilTold(t *testing.T, told <-chan struct{}, change func(i int)) {
	t.Helper()
	for i := range 120 {
		change(i)
		select {
		case <-told:
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
	t.Fatal("a change was not told in a minute")
}

func write(t *testing.T, path string, size int) {
	t.Helper()
	if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
}

func TestWatchWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weir.yaml")
	write(t, path, 1)
	told := watched(t, path)
	for n := range 3 {
		changeUntilTold(t, told, func(i int) { write(t, path, 100*(n+1)+i) })
	}
}

// TestWatchRename does as editors do: a new file beside the old one, then a rename.
func TestWatchRename(t *testing.T) {
	dir := t.TempDir()
	path, fresh := filepath.Join(dir, "weir.yaml"), filepath.Join(dir, ".weir.yaml.swp")
	write(t, path, 10)
	told := watched(t, path)
	changeUntilTold(t, told, func(int) {
		write(t, fresh, 10)
		rename(t, fresh, path)
	})
	changeUntilTold(t, told, func(i int) {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		write(t, path, 20+i)
	})
}

// TestWatchKubernetes swaps ..data as a mounted ConfigMap does: the path is a link to ..data/weir.yaml.
func TestWatchKubernetes(t *testing.T) {
	dir := t.TempDir()
	publish := func(version string) {
		if err := os.MkdirAll(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "weir.yaml"), 10)
		link := filepath.Join(dir, "..data_tmp")
		if err := os.Symlink(version, link); err != nil {
			t.Fatal(err)
		}
		rename(t, link, filepath.Join(dir, "..data"))
	}
	publish("v0")
	path := filepath.Join(dir, "weir.yaml")
	if err := os.Symlink("..data/weir.yaml", path); err != nil {
		t.Fatal(err)
	}
	told := watched(t, path)
	changeUntilTold(t, told, func(i int) { publish("v1" + string(rune('a'+i))) })
}

// TestWatchNeighbours writes other files in the directory beside a change: only the change is told.
func TestWatchNeighbours(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "weir.yaml")
	write(t, path, 1)
	told := watched(t, path)
	changeUntilTold(t, told, func(i int) { write(t, path, 10+i) })
	for len(told) > 0 {
		<-told // the last of several tries
	}
	write(t, filepath.Join(dir, "access.log"), 1)
	select {
	case <-told:
		t.Error("a neighbour was told as a change")
	case <-time.After(3 * settle):
	}
}

// TestWatchWithoutNotices watches a file whose directory does not exist yet: looking now and then is enough.
func TestWatchWithoutNotices(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "later")
	path := filepath.Join(dir, "weir.yaml")
	told := watched(t, path)
	changeUntilTold(t, told, func(i int) {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, path, 10+i)
	})
}

// TestWatchMissesNothingBeforeItStarts changes the file between what is known of it and the start of the watch.
func TestWatchMissesNothingBeforeItStarts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	known, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("bb"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	told := make(chan struct{}, 1)
	Watch(ctx, path, known, func() { told <- struct{}{}; cancel() })
	select {
	case <-told:
	default:
		t.Error("a change before the watch began was missed")
	}
}
