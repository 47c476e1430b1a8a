package store

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// BenchmarkSave saves batches of random keys into a policy that has some already.
func BenchmarkSave(b *testing.B) {
	for _, has := range []int{0, 1_000_000} {
		s := open(b, b.TempDir())
		for i := 0; i < has; i += chunk {
			must(b, s.Save(randomBatch(chunk)))
		}
		for _, n := range []int{1_000, 10_000} {
			b.Run(fmt.Sprintf("has=%d/n=%d", has, n), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					b.StopTimer()
					batch := randomBatch(n)
					b.StartTimer()
					must(b, s.Save(batch))
				}
			})
		}
		must(b, s.Close())
	}
}

func BenchmarkOpenAndLoad(b *testing.B) {
	dir := b.TempDir()
	s := open(b, dir)
	for i := 0; i < 1_000_000; i += chunk {
		must(b, s.Save(randomBatch(chunk)))
	}
	must(b, s.Close())
	info, err := os.Stat(filepath.Join(dir, fileName))
	must(b, err)
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			s := open(b, dir)
			must(b, s.Close())
		}
		b.ReportMetric(float64(info.Size())/1_000_000, "bytes/record")
	})
	s = open(b, dir)
	b.Run("load", func(b *testing.B) {
		for b.Loop() {
			must(b, s.Load("p", func(Record) {}))
		}
	})
}

func randomBatch(n int) []Change {
	batch := make([]Change, n)
	for i := range batch {
		batch[i] = change("p", rand.Uint64(), 1, 1)
	}
	return batch
}
