package compress

import (
	"bytes"
	"fmt"
	"testing"
)

func BenchmarkEncoder(b *testing.B) {
	for c := Gzip; c < codings; c++ {
		for l := range levels {
			for _, n := range []int{1 << 10, 16 << 10, 1 << 20} {
				b.Run(fmt.Sprintf("%v/%v/%dKiB", c, l, n>>10), func(b *testing.B) { benchmark(b, c, l, rows(n)) })
			}
		}
	}
}

func benchmark(b *testing.B, c Coding, l Level, text []byte) {
	var out bytes.Buffer
	out.Grow(len(text))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		out.Reset()
		e := NewEncoder(c, l, &out)
		for p := text; len(p) > 0; p = p[min(16<<10, len(p)):] {
			_, _ = e.Write(p[:min(16<<10, len(p))])
		}
		_ = e.Close()
		e.Release()
	}
	b.ReportMetric(100*float64(out.Len())/float64(len(text)), "%size")
	b.ReportMetric(float64(Footprint(c, l)), "B/encoder")
}
