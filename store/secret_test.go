package store

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	const callers = 32
	var got [callers][16]byte
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			var err error
			if got[i], err = Secret(dir, anySecret()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i := range got {
		if got[i] != got[0] || got[i] == [16]byte{} {
			t.Fatalf("caller %d got %x, caller 0 %x", i, got[i], got[0])
		}
	}
	again, err := Secret(dir, anySecret())
	if must(t, err); again != got[0] {
		t.Error("another secret later")
	}
	if other, err := Secret(t.TempDir(), anySecret()); err != nil || other == got[0] {
		t.Errorf("another directory: the same secret, %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSecretAfterCrash: half a temporary file is no obstacle.
func TestSecretAfterCrash(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "secret.new"), make([]byte, 40), 0o600))
	secret, err := Secret(dir, anySecret())
	if must(t, err); secret == [16]byte{} {
		t.Error("the bytes of the temporary file")
	}
}

func TestSecretOfWrongForm(t *testing.T) {
	f := func(name string, make func(path string) error) {
		t.Helper()
		dir := t.TempDir()
		path := filepath.Join(dir, "secret")
		must(t, make(path))
		_, err := Secret(dir, anySecret())
		if err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "remove it") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the error shows the secret", name)
		}
	}
	write := func(s string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(s), 0o600) }
	}
	f("empty", write(""))
	f("short", write("hush hush hush"))
	f("with a line end", write("hush hush hush h\n"))
	f("a directory", func(path string) error { return os.Mkdir(path, 0o700) })
	if _, err := Secret("", anySecret()); err == nil {
		t.Error("no directory: no error")
	}
}

func anySecret() (s [16]byte) {
	rand.Read(s[:]) //nolint:errcheck // it never fails
	return s
}
