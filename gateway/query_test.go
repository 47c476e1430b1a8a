package gateway

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestQueryParam(t *testing.T) {
	f := func(raw, name, want string, ok bool) {
		t.Helper()
		if got, found := queryParam(raw, name); got != want || found != ok {
			t.Errorf("%s of %.60q: %q %v, want %q %v", name, raw, got, found, want, ok)
		}
	}
	f("", "a", "", false)
	f("a", "a", "", true)
	f("a=", "a", "", true)
	f("b=1&a=2&a=3", "a", "2", true)
	f("%61=%62+c", "a", "b c", true)
	f("a=%zz%4", "a", "%zz%4", true)
	f("a=1;b=2", "a", "1;b=2", true)
	f("a=1;b=2", "b", "", false)
	f(strings.Repeat("&", 20_000)+"a=1", "a", "1", true)
	f("aa=1&=2", "", "2", true)
}

// TestAmbiguousParam: what servers could read differently is found, and nothing else.
func TestAmbiguousParam(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		if name, why := ambiguousParam(raw, []string{"k", "l"}); strings.TrimSpace(name+" "+why) != want {
			t.Errorf("%q: %q %q, want %q", raw, name, why, want)
		}
	}
	f("", "")
	f("k=1&l=2&m=3&m=4;5&n=%zz", "")
	f("k=1&k=1&%6b=1", "")
	f("k=a%3Bb&l=%25", "")
	f("k=1&k=2", "k is given twice")
	f("k&k=2", "k is given twice")
	f("x=1&l=1&%6C=2", "l is given twice")
	f("k=1;", "k stands beside a ; that is not escaped")
	f("a=1;k=2", "k stands beside a ; that is not escaped")
	f("k=1;b=2", "k stands beside a ; that is not escaped")
	f("k=%zz", "k has a % that begins no byte")
	f("k=%4", "k has a % that begins no byte")
}

// Where net/url reads a query, queryParam reads the same.
func TestQueryParamIsNetURLs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.StringMatching(`([ab]|%6[12]|=|&|\+|%25|%zz|;){0,12}`).Draw(t, "query")
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		for _, name := range []string{"a", "b", "ab", ""} {
			want, ok := values[name]
			got, found := queryParam(raw, name)
			if name == "" { // net/url passes over pairs that are empty
				continue
			}
			if found != ok || ok && got != want[0] {
				t.Fatalf("%s of %q: %q %v, want %q", name, raw, got, found, want)
			}
		}
	})
}

func TestQueryDoesNotAllocate(t *testing.T) {
	const raw = "page=2&sort=name&api_key=k-3f9a1c77e2"
	if n := testing.AllocsPerRun(100, func() {
		queryParam(raw, "api_key")
		ambiguousParam(raw, []string{"api_key"})
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzQuery(f *testing.F) {
	for _, s := range []string{"a=1&a=2", "%61=%zz;b", "a;a;;=&&=%2"} {
		f.Add(s, "a")
	}
	f.Fuzz(func(t *testing.T, raw, name string) {
		value, ok := queryParam(raw, name)
		bad, why := ambiguousParam(raw, []string{name})
		if (bad == "") != (why == "") && name != "" {
			t.Fatalf("%q %q", bad, why)
		}
		if why == "" && name != "" { // every server that decodes reads what is counted
			for _, pair := range strings.FieldsFunc(raw, func(r rune) bool { return r == '&' || r == ';' }) {
				k, v, _ := strings.Cut(pair, "=")
				if decode(k) == name && (!ok || decode(v) != value) {
					t.Fatalf("%q of %q: counted %q %v, a server may read %q", name, raw, value, ok, v)
				}
			}
		}
	})
}
