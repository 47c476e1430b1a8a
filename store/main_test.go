package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// child names, in the environment, the directory that a process started by a test works on, and childTask what it does.
const (
	child     = "WEIR_STORE_TEST_DIR"
	childTask = "WEIR_STORE_TEST_TASK"
)

func TestMain(m *testing.M) {
	dir := os.Getenv(child)
	switch os.Getenv(childTask) {
	case "write":
		writeForEver(dir)
	case "hold":
		s, err := Open(dir)
		fmt.Println(s != nil, err)
		<-time.After(time.Hour)
	}
	goleak.VerifyTestMain(m)
}

// writeForEver saves batches and prints the number of each when Save has returned. In batch n every key of "all" has used
// n, a few others are in between, and old windows of "old" go.
func writeForEver(dir string) {
	s, err := Open(dir)
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	n := int64(0)
	if err := s.Load("all", func(r Record) { n = r.Used }); err != nil {
		fmt.Println("load:", err)
		os.Exit(1)
	}
	for fmt.Println(n); ; fmt.Println(n) {
		n++
		if err := s.Save(batchOf(n)); err != nil {
			fmt.Println("save:", err)
			os.Exit(1)
		}
		if n%5 == 0 {
			if _, err := s.Expire("old", n-10); err != nil {
				fmt.Println("expire:", err)
				os.Exit(1)
			}
		}
	}
}

const keysOfAll = 150

func batchOf(n int64) []Change {
	var b []Change
	for i := range uint64(keysOfAll) {
		b = append(b, Change{Policy: "all", Record: Record{Key: keyOf(i), Window: n, Used: n}})
		if rand.IntN(4) == 0 {
			b = append(b, Change{Policy: "old", Record: Record{Key: keyOf(rand.Uint64()), Window: n, Used: n}})
		}
	}
	return b
}

func keyOf(i uint64) (k [16]byte) {
	binary.BigEndian.PutUint64(k[:], i*0x9e3779b97f4a7c15)
	binary.BigEndian.PutUint64(k[8:], i)
	return k
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func load(t testing.TB, s *Store, policy string) map[[16]byte]Record {
	t.Helper()
	all := map[[16]byte]Record{}
	must(t, s.Load(policy, func(r Record) {
		if _, twice := all[r.Key]; twice {
			t.Fatalf("key %x twice", r.Key)
		}
		all[r.Key] = r
	}))
	return all
}

func change(policy string, key uint64, window, used int64) Change {
	return Change{Policy: policy, Record: Record{Key: keyOf(key), Window: window, Used: used}}
}
