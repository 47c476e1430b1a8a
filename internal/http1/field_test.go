package http1

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestFields: fields are written as they must be however they came, a name that was there before is marked, in any case, and values
// are looked through to their last byte.
func TestFields(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var head bytes.Buffer
		head.WriteString("HTTP/1.1 200 OK\r\n")
		var want []string
		for range rapid.IntRange(0, 30).Draw(rt, "fields") {
			name := rapid.SampledFrom([]string{"X-Api-Key", "x-api-key", "x-user-id", "A", "a", "Set-Cookie", "x_y", "Weir-Limited"}).Draw(rt, "name")
			value := rapid.StringMatching(`([!-~\t ]{0,30}[!-~])?`).Draw(rt, "value")
			value = strings.TrimLeft(value, " \t")
			space := rapid.SampledFrom([]string{"", " ", "  ", "\t"})
			fmt.Fprintf(&head, "%s:%s%s%s\r\n", name, space.Draw(rt, "before"), value, space.Draw(rt, "after"))
			want = append(want, name+": "+value+"\r\n")
		}
		head.WriteString("\r\n")
		var h Head
		h.Reset()
		if n, f := h.ParseResponse(head.Bytes(), Limits{Bytes: 1 << 16, Fields: 100}); n != head.Len() {
			rt.Fatalf("%d of %d bytes, %v", n, head.Len(), f)
		}
		for i := range h.Fields {
			if got := string(h.AppendField([]byte("."), i)); got != "."+want[i] {
				rt.Fatalf("%q, not %q", got, want[i])
			}
			for j := range i {
				if strings.EqualFold(string(h.Name(j)), string(h.Name(i))) && !h.Fields[i].Again {
					rt.Fatalf("%s came before, and is not marked", h.Name(i))
				}
			}
		}
		if len(h.Fields) > 0 && h.Fields[0].Again {
			rt.Fatal("nothing came before the first")
		}
	})
}

func TestCleanValue(t *testing.T) {
	for n := range 40 {
		b := bytes.Repeat([]byte{'a'}, n)
		if !cleanValue(b) {
			t.Errorf("%d clean bytes", n)
		}
		for i := range b {
			for c := range 256 {
				b[i] = byte(c)
				if want := c >= 0x20 && c != 0x7f || c == '\t'; cleanValue(b) != want {
					t.Errorf("byte %#x at %d of %d: %v", c, i, n, !want)
				}
			}
			b[i] = 'a'
		}
	}
}

func TestEqualFold(t *testing.T) {
	for c := range 256 {
		for _, l := range "abz-_~0@[`" {
			b, s := string([]byte{byte(c)}), string(l)
			if got, want := EqualFold(b, s), c == int(l) || 'A' <= c && c <= 'Z' && c+0x20 == int(l); got != want {
				t.Errorf("%q, %q: %v", b, s, got)
			}
		}
	}
}

// TestKnown: a name is known in any case, and nothing is taken for it that is not it.
func TestKnown(t *testing.T) {
	for _, n := range names {
		if k := known([]byte(strings.ToUpper(n.name))); k != n.known {
			t.Errorf("%s in capitals: %d", n.name, k)
		}
		for i := range n.name {
			for c := range 256 {
				b := []byte(n.name)
				b[i] = byte(c)
				if class[c]&isToken == 0 {
					continue
				}
				want := Other
				for _, o := range names {
					if strings.EqualFold(o.name, string(b)) {
						want = o.known
					}
				}
				if want == Other && len(b) > len(forwardedPrefix) && strings.EqualFold(string(b[:len(forwardedPrefix)]), forwardedPrefix) {
					want = XForwardedOther
				}
				if k := known(b); k != want {
					t.Errorf("%q: %d, not %d", b, k, want)
				}
			}
		}
	}
}
