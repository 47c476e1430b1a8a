package compress

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNegotiate(t *testing.T) {
	usual := []Coding{Zstd, Brotli, Gzip}
	f := func(field string, preferred []Coding, want Coding) {
		t.Helper()
		if got := Negotiate(field, preferred); got != want {
			t.Errorf("%q of %v: %v, want %v", field, preferred, got, want)
		}
	}
	// What clients send.
	f("gzip, deflate, br, zstd", usual, Zstd)
	f("gzip, deflate, br", usual, Brotli)
	f("gzip, deflate", usual, Gzip)
	f("gzip;q=1.0,deflate;q=0.6,identity;q=0.3", usual, Gzip)
	f("br;q=1.0, gzip;q=0.8, *;q=0.1", usual, Brotli)
	f("identity", usual, Identity)
	f("deflate", usual, Identity)
	f("", usual, Identity)
	f("*", usual, Zstd)
	f("gzip", nil, Identity)
	f("gzip, br, zstd", []Coding{Gzip, Zstd}, Gzip)
	f("gzip, br, zstd", []Coding{Identity, Gzip}, Gzip)
	f("GZip", usual, Gzip)
	f("x-gzip", usual, Gzip)
	// Weights.
	f("gzip;q=0.9, br;q=0.8", usual, Gzip)
	f("gzip;q=0.001", usual, Gzip)
	f("gzip;q=0", usual, Identity)
	f("gzip;q=0.000", usual, Identity)
	f("*, zstd;q=0", usual, Brotli)
	f("*;q=0, gzip", usual, Gzip)
	f("*;q=0", usual, Identity)
	f("identity;q=0", usual, Identity) // nothing acceptable
	f("identity;q=0, gzip;q=0.1", usual, Gzip)
	f("identity, gzip;q=0.5", usual, Identity)
	f("identity, gzip", usual, Gzip)
	f("*;q=0.5, gzip;q=0.3", []Coding{Gzip}, Identity) // "*" is identity too
	f("gzip;q=0, gzip", usual, Gzip)                   // the last one
	// Space and empty elements.
	f(" ,, gzip\t; Q=0.5 ,", usual, Gzip)
	f("gzip ;q=0.5\t,br ; q=0.6", usual, Brotli)
	// Not as the RFC writes it.
	for _, bad := range []string{"gzip;q=", "gzip;q=2", "gzip;q=1.001", "gzip;q=0.1234", "gzip;q=.5", "gzip;q=-1", "gzip;q=0,5", "gzip;q", "gzip;", "gzip;level=9", "gzip;q=0.5;x=y", "gzip;q = 0.5", "gzip br", "gzip\x00", "(gzip)", ";q=1", "gzip;q=0.5x", "gzip;q=1x"} {
		f(bad, usual, Identity)
	}
	f("gzip, br;q=x", usual, Identity)
}

// TestNegotiateModel: of all codings that may be used, none that would be better is passed over.
func TestNegotiateModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.Permutation([]string{"identity", "gzip", "br", "zstd", "*", "deflate"}).Draw(t, "names")
		names = names[:rapid.IntRange(1, len(names)).Draw(t, "count")]
		weight := map[string]int{}
		var field []string
		for _, n := range names {
			weight[n] = rapid.SampledFrom([]int{0, 1, 5, 10}).Draw(t, "weight")
			field = append(field, fmt.Sprintf("%s;q=%d.%d", n, weight[n]/10, weight[n]%10))
		}
		preferred := rapid.Permutation([]Coding{Gzip, Brotli, Zstd}).Draw(t, "preferred")
		preferred = preferred[:rapid.IntRange(0, 3).Draw(t, "known")]
		of := func(c Coding) int {
			if w, ok := weight[c.String()]; ok {
				return w
			}
			return weight["*"]
		}
		// Sorted by weight, then codings in their order, then identity.
		best := append(slices.Clone(preferred), Identity)
		slices.SortStableFunc(best, func(a, b Coding) int { return of(b) - of(a) })
		want := best[0]
		if of(want) == 0 {
			want = Identity
		}
		if got := Negotiate(strings.Join(field, ","), preferred); got != want {
			t.Fatalf("%q of %v: %v, want %v", field, preferred, got, want)
		}
	})
}

func FuzzNegotiate(f *testing.F) {
	for _, s := range []string{"gzip, deflate, br, zstd", "gzip;q=0.5, *;q=0", "identity;q=0,x-gzip", " ,br; q=1.000 ,,", "gzip;q=1.001"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, field string) {
		got := Negotiate(field, []Coding{Brotli, Gzip})
		low := strings.ToLower(field)
		switch got {
		case Identity:
		case Gzip, Brotli:
			if !strings.Contains(low, got.String()) && !strings.Contains(low, "*") {
				t.Errorf("%q: %v, which is not there", field, got)
			}
		default:
			t.Errorf("%q: %v, which is not to be had", field, got)
		}
		// Naming what is not to be had changes nothing, nor does space around.
		if again := Negotiate(" "+field+" , zstd", []Coding{Brotli, Gzip}); field != "" && again != got {
			t.Errorf("%q: %v, then %v", field, got, again)
		}
	})
}

func TestNegotiateAllocates(t *testing.T) {
	preferred := []Coding{Zstd, Brotli, Gzip}
	rules, err := NewRules(DefaultTypes, DefaultMinimum)
	if err != nil {
		t.Fatal(err)
	}
	resp := Response{Status: 200, Type: "application/problem+json; charset=utf-8", CacheControl: "private, max-age=5", Length: -1}
	if n := testing.AllocsPerRun(100, func() {
		if Negotiate("gzip;q=0.8, deflate, br;q=0.9, *;q=0.1", preferred) != Brotli || !rules.Suitable(&resp) {
			t.Error("another answer")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkNegotiate(b *testing.B) {
	preferred := []Coding{Zstd, Brotli, Gzip}
	b.ReportAllocs()
	for b.Loop() {
		Negotiate("gzip, deflate, br, zstd", preferred)
	}
}
