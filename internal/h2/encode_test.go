package h2

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/net/http2/hpack"
	"pgregory.net/rapid"
)

// TestEncoder: what is encoded is decoded as the same fields, whatever the peer makes of the table, and what comes again is an index.
func TestEncoder(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var e encoder
		e.reset()
		var got []string
		dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) { got = append(got, f.Name+": "+f.Value) })
		names := []string{"server", "date", "Content-Type", "x-a", "X-Long-Name", "set-cookie", "www-authenticate", "vary"}
		for range rapid.IntRange(1, 60).Draw(rt, "heads") {
			for range rapid.IntRange(0, 2).Draw(rt, "resizes") {
				n := rapid.SampledFrom([]uint32{0, 100, 1000, 4096, 1 << 20}).Draw(rt, "size")
				e.resize(n)
				dec.SetAllowedMaxDynamicTableSize(min(n, 4096))
			}
			status := rapid.SampledFrom([]int{100, 103, 200, 204, 206, 299, 304, 400, 404, 418, 456, 500, 599}).Draw(rt, "status")
			got = got[:0]
			b := e.status(e.begin(nil), status)
			want := []string{fmt.Sprint(":status: ", status)}
			for range rapid.IntRange(0, 12).Draw(rt, "fields") {
				name := rapid.SampledFrom(names).Draw(rt, "name")
				value := strings.Repeat("v", rapid.SampledFrom([]int{0, 1, 2, 30, 127, 400, 600, 3000}).Draw(rt, "length"))
				b = e.field(b, []byte(name), []byte(value))
				want = append(want, strings.ToLower(name)+": "+value)
			}
			if _, err := dec.Write(b); err != nil {
				rt.Fatal(err)
			}
			if err := dec.Close(); err != nil {
				rt.Fatal(err)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				rt.Fatalf("%q, want %q", got, want)
			}
			if e.size > e.limit || len(e.text) > 2*tableSize {
				rt.Fatalf("%d bytes of %d, %d kept", e.size, e.limit, len(e.text))
			}
		}
	})
	var e encoder
	e.reset()
	for i, want := range []int{20, 20, 1, 1} {
		if n := len(e.field(nil, []byte("x-name"), []byte("some-value"))); n > want || n == 1 != (want == 1) {
			t.Errorf("the time %d: %d bytes", i+1, n)
		}
	}
	for range 4 {
		if b := e.field(nil, []byte("Set-Cookie"), []byte("secret")); b[0]&0xf0 != 0x10 {
			t.Errorf("a cookie: %x", b)
		}
	}
}

// TestStaticNames: the indices are those of RFC 7541, appendix A.
func TestStaticNames(t *testing.T) {
	for i := 15; i <= staticEntries; i++ {
		var name string
		dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) { name = f.Name })
		if _, err := dec.Write(appendInt(nil, 0x80, 7, i)); err != nil {
			t.Fatal(err)
		}
		if got := staticName([]byte(name)); got != 0 && got != i {
			t.Errorf("%s: %d, want %d", name, got, i)
		}
	}
	if staticName([]byte("x")) != 0 || staticName([]byte("server")) != 54 {
		t.Error("not what it is")
	}
}
