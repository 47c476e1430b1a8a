package cache

import (
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCacheControl(t *testing.T) {
	f := func(text string, change func(*directives)) {
		t.Helper()
		want := blank
		change(&want)
		if got := responseDirectives(response(200, "cache-control:"+text)); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	f("", func(*directives) {})
	f("public, max-age=5", func(d *directives) { d.flags, d.maxAge = public, 5*time.Second })
	f("max-age=5, s-maxage=7, max-age=9", func(d *directives) { d.maxAge, d.sMaxAge = 5*time.Second, 7*time.Second })
	f("MUST-Revalidate,PROXY-revalidate", func(d *directives) { d.flags = mustRevalidate | proxyRevalidate })
	f("stale-while-revalidate=1, stale-if-error=2", func(d *directives) { d.whileRevalidate, d.ifError = time.Second, 2*time.Second })
	f("max-age=", func(d *directives) { d.maxAge = 0 })
	f("max-age = 5", func(d *directives) { d.maxAge = 5 * time.Second })
	f("no-store=x", func(d *directives) { d.flags = noStore })
	f(`no-cache="A , b"`, func(d *directives) { d.withheld = []string{"a", "b"} })
	f(`private="a", no-cache`, func(d *directives) { d.withheld, d.flags = []string{"a"}, noCache })
	f(`no-cache="a, b c"`, func(d *directives) { d.flags, d.withheld = noCache, []string{} })
	f(`no-cache=""`, func(d *directives) { d.flags = noCache })
	f(`x="a\", no-store, b", no-store`, func(d *directives) { d.flags = noStore })
	f(`x="never ends, no-store`, func(*directives) {})
}

func TestStructuredField(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		d, ok := targetedDirectives(response(200, "cdn-cache-control:"+text), "cdn-cache-control")
		got := "malformed"
		if ok {
			got = fmt.Sprint(d.flags, " ", d.maxAge, " ", d.withheld)
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
	n := fmt.Sprint(none)
	f("max-age=1", "0 1s []")
	f("no-store", "1 "+n+" []")
	f("a=1.5, b=tok/en:x, c=:aGk=:, d=?1, e=?0, f=@12, g=(1 \"x\" y;q=2);z, h=-3", "0 "+n+" []")
	f("max-age=-1", "0 0s []")
	f(`no-cache="x, Y"`, "0 "+n+" [x y]")
	f("no-cache=x", "0 "+n+" []")
	f("max-age=1,max-age=?1", "0 "+n+" []")
	for _, bad := range []string{"", "=1", "a,", ",a", "a b", "A", "a=", `a="`, `a="\x"`, "a=1.", "a=1.2345", "a=1234567890123456", "a=?2", "a=(1", "a=(1\"x\")",
		"a;", "a;=1", "a=:x", "a=@x", "a=@1.5", "a=\"\x01\"", "a=é"} {
		f(bad, "malformed")
	}
}

func TestDate(t *testing.T) {
	f := func(s string, want int64, ok bool) {
		t.Helper()
		if got, is := parseDate(s, 2026); got != want || is != ok {
			t.Errorf("%q: %d %v, want %d %v", s, got, is, want, ok)
		}
	}
	f("Sun, 06 Nov 1994 08:49:37 GMT", 784111777, true)
	f("Sunday, 06-Nov-94 08:49:37 GMT", 784111777, true)
	f("Sun Nov  6 08:49:37 1994", 784111777, true)
	f("Sunday, 06-Nov-76 08:49:37 GMT", 3371878177, true)  // 2076: fifty years on
	f("Saturday, 06-Nov-77 08:49:37 GMT", 247654177, true) // 1977
	f("Thu, 31 Dec 2026 23:59:60 GMT", 1798761600, true)   // a leap second
	f("Sun, 06 Nov 1994 08:49:37 UTC", 0, false)
	f("Sun, 06 Nov 1994 08:49:37", 0, false)
	f("Sun, 6 Nov 1994 08:49:37 GMT", 0, false)
	f("Sun, 31 Feb 1994 08:49:37 GMT", 0, false)
	f("Sun, 00 Nov 1994 08:49:37 GMT", 0, false)
	f("Sun, 06 nov 1994 08:49:37 GMT", 0, false)
	f("Sun, 06 ovD 1994 08:49:37 GMT", 0, false)
	f("onT, 06 Nov 1994 08:49:37 GMT", 0, false)
	f("Sun, 06 Nov 1994 24:49:37 GMT", 0, false)
	f("Sun, 06 Nov 1994 08-49:37 GMT", 0, false)
	f("", 0, false)
	f("0", 0, false)
	f("784111777", 0, false)
}

func TestRange(t *testing.T) {
	f := func(v string, size int64, want span, kind rangeKind) {
		t.Helper()
		if got, k := parseRange(v, size); got != want || k != kind {
			t.Errorf("%q of %d: %v %v, want %v %v", v, size, got, k, want, kind)
		}
	}
	f("bytes=0-0", 10, span{0, 1}, onePart)
	f("bytes=9-9", 10, span{9, 10}, onePart)
	f("bytes=0-", 10, span{0, 10}, onePart)
	f("bytes=-10", 10, span{0, 10}, onePart)
	f("bytes=-11", 10, span{0, 10}, onePart)
	f("bytes= 1-2 ", 10, span{1, 3}, onePart)
	f("bytes=10-", 10, span{}, unsatisfiable)
	f("bytes=-0", 10, span{}, unsatisfiable)
	f("bytes=0-", 0, span{}, unsatisfiable)
	f("bytes=-1", 0, span{}, unsatisfiable)
	for _, v := range []string{"", "bytes", "bytes=", "bytes=,", "bytes=1", "bytes=1-0", "bytes=--1", "bytes=+1-2", "bytes=1-2-3", "bytes=0-1,2-3", "octets=0-1", "bytes=a-"} {
		f(v, 10, span{}, wholeBody)
	}
}

func TestEntityTag(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		if got := entityTag(s); got != want {
			t.Errorf("%q: %v", s, got)
		}
	}
	f(`""`, true)
	f(`"a"`, true)
	f(`W/"a"`, true)
	f("\"\x80\"", true)
	for _, s := range []string{"", `"`, "a", `w/"a"`, `W/`, `W/"`, `"a"b"`, `"a b"`, `"a`, "\"a\x01\"", `W/W/"a"`} {
		f(s, false)
	}
}

func TestKey(t *testing.T) {
	f := func(scheme, authority, path, query, want string) {
		t.Helper()
		var k Key
		k.Add("left over", true)
		k.SetURL(scheme, authority, path, query)
		if got := string(k.URL()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	f("http", "Example.COM", "/A", "?B", "http://example.com/A?B")
	f("http", "h:80", "/", "", "http://h/")
	f("https", "h:443", "/", "", "https://h/")
	f("http", "h:443", "/", "", "http://h:443/")
	f("https", "h:80", "/", "", "https://h:80/")
	f("http", "h:", "/", "", "http://h/")
	f("http", "h.:80", "/", "", "http://h/")
	f("http", "[::1]:80", "/", "", "http://[::1]/")
	f("http", "[::80]", "/", "", "http://[::80]/")

	var a, b Key
	same := func(set func(k *Key)) bool {
		b.SetURL("http", "h", "/", "")
		set(&b)
		return string(a.b) == string(b.b)
	}
	a.SetURL("http", "h", "/", "")
	a.Add("x", true)
	a.Add("y", true)
	if !same(func(k *Key) { k.Add("x", true); k.Add("y", true) }) {
		t.Error("the same are not the same")
	}
	for i, set := range []func(*Key){
		func(k *Key) { k.Add("xy", true) }, func(k *Key) { k.Add("x", true) }, func(k *Key) { k.Add("y", true); k.Add("x", true) },
		func(k *Key) { k.Add("x", true); k.Add("", false); k.Add("y", true) }, func(k *Key) { k.Add("x", true); k.Add("y", false) },
	} {
		if same(set) {
			t.Errorf("key %d is the same", i)
		}
	}
	a.SetURL("http", "h", "/", "")
	a.Add("", true)
	if same(func(k *Key) { k.Add("", false) }) {
		t.Error("no value is an empty value")
	}
}

func TestRelated(t *testing.T) {
	var k Key
	k.SetURL("http", "h", "/a/b", "?c")
	k.Add("dimension", true)
	f := func(ref, want string) {
		t.Helper()
		var to Key
		got := ""
		if k.related(&to, ref) {
			got = string(to.URL())
		}
		if got != want {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	f("/x", "http://h/x")
	f("x?y", "http://h/a/x?y")
	f("../x", "http://h/x")
	f("//H:80/x", "http://h/x")
	f("http://h", "http://h/")
	f("#f", "http://h/a/b?c")
	f("//other/x", "")
	f("https://h/x", "")
	f("http://h@evil/x", "")
	f("mailto:x", "")
	f("http://%zz", "")
	f(":", "")
}

func TestPurgeWire(t *testing.T) {
	f := func(kind PurgeKind, value, want string) {
		t.Helper()
		p, err := NewPurge(kind, value)
		if err != nil || p.Value != want {
			t.Fatalf("%d %q: %q %v", kind, value, p.Value, err)
		}
		got, rest, err := ParsePurge(append(p.Append(nil), "rest"...))
		if err != nil || got != p || string(rest) != "rest" {
			t.Errorf("%v: %v %q %v", p, got, rest, err)
		}
	}
	f(PurgeURL, "HTTPS://H:443/a?b#c", "https://h/a?b")
	f(PurgePrefix, "http://h", "http://h/")
	f(PurgeTag, "a", "a")
	f(PurgeAll, "", "")
	bad := func(kind PurgeKind, value string) {
		t.Helper()
		if _, err := NewPurge(kind, value); err == nil {
			t.Errorf("%d %q is taken", kind, value)
		}
		if _, _, err := ParsePurge(Purge{kind, value}.Append(nil)); err == nil {
			t.Errorf("%d %q is read", kind, value)
		}
	}
	bad(PurgeURL, "/a")
	bad(PurgeURL, "ftp://h/a")
	bad(PurgeURL, "http:///a")
	bad(PurgeURL, "http://u@h/a")
	bad(PurgeURL, "http://h/"+strings.Repeat("a", maxPurge))
	bad(PurgePrefix, "")
	bad(PurgeTag, "")
	bad(PurgeTag, "a b")
	bad(PurgeTag, strings.Repeat("a", maxTagLength+1))
	bad(0, "")
	bad(9, "")
	p := Purge{PurgeTag, "abc"}.Append(nil)
	for n := range p {
		if _, _, err := ParsePurge(p[:n]); err == nil {
			t.Errorf("%d bytes of %d are read", n, len(p))
		}
	}
}

func TestSecondary(t *testing.T) {
	v := []varied{{name: "x-a"}, {name: "x-b"}}
	seen := map[uint64]string{}
	for _, r := range []*head{get(""), get("", "x-a:"), get("", "x-b:"), get("", "x-a: 1"), get("", "x-b: 1"), get("", "x-a: 1", "x-b: 1"), get("", "x-a: 1, 1"),
		get("", "x-a: 11")} {
		h := secondary(seedForTests, v, r)
		if other, ok := seen[h]; ok {
			t.Errorf("%v hashes as %s", r, other)
		}
		seen[h] = fmt.Sprint(r)
	}
	if secondary(seedForTests, v, get("", "x-a: 1", "x-a: 2")) != secondary(seedForTests, v, get("", "x-a: 1,2")) {
		t.Error("two lines are not one list")
	}
}

func FuzzCacheControl(f *testing.F) {
	for _, s := range []string{"max-age=1, public", `no-cache="a, b"`, `private="`, "max-age=99999999999999999999", "s-maxage=1,,s-maxage", `a="\`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, h := range []*head{response(200, "cache-control:"+s), response(200, "cdn-cache-control:"+s), request("GET", "", "cache-control:"+s)} {
			d, q := responseDirectives(h), requestDirectives(h)
			for _, v := range []time.Duration{d.maxAge, d.sMaxAge, d.whileRevalidate, d.ifError, q.maxAge, q.minFresh, q.maxStale, q.ifError} {
				if v != none && (v < 0 || v > maxSeconds*time.Second || v%time.Second != 0) {
					t.Errorf("%q: %v", s, v)
				}
			}
			for _, w := range d.withheld {
				if l, ok := lowerToken(w); !ok || l != w {
					t.Errorf("%q: withholds %q", s, w)
				}
			}
		}
	})
}

func FuzzRange(f *testing.F) {
	for _, s := range []string{"bytes=0-1", "bytes=-5", "bytes=5-", "bytes=0-1,2-3", "bytes=99999999999999999999-"} {
		f.Add(s, int64(10))
	}
	f.Fuzz(func(t *testing.T, s string, size int64) {
		if size < 0 {
			return
		}
		p, kind := parseRange(s, size)
		if kind == onePart && (p.from < 0 || p.from >= p.to || p.to > size) {
			t.Errorf("%q of %d: %v", s, size, p)
		}
		if kind != onePart && p != (span{}) {
			t.Errorf("%q of %d: %v, a part of %v", s, size, kind, p)
		}
	})
}

func FuzzDate(f *testing.F) {
	for _, s := range []string{"Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 29 Feb 2023 00:00:60 GMT"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseDate(s, 2026)
		want, err := time.Parse(http.TimeFormat, s)
		if err == nil && want.Format(imfLayout) == s && (!ok || got != want.Unix()) {
			t.Errorf("%q: %d %v, want %d", s, got, ok, want.Unix())
		}
		if ok && len(s) == len(imfLayout) && !strings.Contains(s, ":60 GMT") && (err != nil || got != want.Unix()) {
			t.Errorf("%q is taken: %d, want %d, %v", s, got, want.Unix(), err)
		}
	})
}

func FuzzVary(f *testing.F) {
	f.Add("X-A, x-b", "x-a", "1,2", "1, 2")
	f.Add("*", "a", "", "")
	f.Add(", ,", "a", `"a,b"`, `"a, b"`)
	f.Fuzz(func(t *testing.T, vary, name, one, two string) {
		if _, ok := lowerToken(name); !ok {
			return
		}
		r := request("GET", "", name+":"+one)
		v, ok := selecting(response(200, "vary:"+vary), r)
		if !ok {
			return
		}
		if !selects(v, r) {
			t.Errorf("vary %q: a request with %q does not select its own response", vary, one)
		}
		other := request("GET", "", name+":"+two)
		w, _ := selecting(response(200, "vary:"+vary), other)
		if selects(v, other) != slices.Equal(v, w) {
			t.Errorf("vary %q: %q selects what %q did: %v", vary, two, one, selects(v, other))
		}
		seed := seedForTests
		if slices.Equal(v, w) != (secondary(seed, v, r) == secondary(seed, v, other)) {
			t.Errorf("vary %q: %q and %q hash otherwise than they compare", vary, one, two)
		}
	})
}

func FuzzPurge(f *testing.F) {
	f.Add(Purge{PurgeURL, "http://h/a"}.Append(nil))
	f.Add(Purge{PurgeTag, "t"}.Append(nil))
	f.Add([]byte{2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, rest, err := ParsePurge(b)
		if err != nil {
			return
		}
		if again, _, err := ParsePurge(p.Append(nil)); err != nil || again != p || len(rest) > len(b) {
			t.Errorf("%x: %v, again %v %v", b, p, again, err)
		}
	})
}
