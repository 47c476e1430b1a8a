package route

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestNormalize(t *testing.T) {
	f := func(raw, want string) {
		t.Helper()
		got, err := Normalize(nil, []byte(raw))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v, want %q", raw, got, err, want)
		}
		inPlace := []byte(raw)
		if got, err := Normalize(inPlace[:0], inPlace); err != nil || string(got) != want {
			t.Errorf("%s in place: got %q, %v, want %q", raw, got, err, want)
		}
	}
	f("/", "/")
	f("/a/b", "/a/b")
	f("/a/b/", "/a/b/")
	f("/A/b", "/A/b")
	// Dot segments
	f("/a/./b", "/a/b")
	f("/a/.", "/a/")
	f("/./a", "/a")
	f("/.", "/")
	f("/a/../b", "/b")
	f("/a/..", "/")
	f("/a/b/..", "/a/")
	f("/a/b/../..", "/")
	f("/a/b/../../c", "/c")
	f("/a/./../b/./c", "/b/c")
	f("/%2e/a", "/a")
	f("/a/%2E%2e/b", "/b")
	f("/a/.%2e/b", "/b")
	f("/...", "/...")
	f("/.a/..b/a./b../.../c", "/.a/..b/a./b../.../c")
	// Slashes
	f("//", "/")
	f("//a", "/a")
	f("/a//b", "/a/b")
	f("/a///", "/a/")
	f("/a//../b", "/b")
	f("/a/.//b", "/a/b")
	// Escapes
	f("/%61", "/a")
	f("/%41%7a%30%2D%2E%5F%7E", "/Az0-._~")
	f("/a%3ab%c3%a9", "/a%3Ab%C3%A9")
	f("/%20%22%3C%3F%23%25", "/%20%22%3C%3F%23%25")
	f("/%252f%2561", "/%252f%2561") // one decoding is one decoding
	f("/a%2Db", "/a-b")
	f("/!$&'()*+,;=:@[]", "/!$&'()*+,;=:@[]")
	f("/a;b=c/..x;d", "/a;b=c/..x;d")
	f("/..%3Ba/x", "/..%3Ba/x")
}

func TestNormalizeRefuses(t *testing.T) {
	f := func(raw string, want error) {
		t.Helper()
		got, err := Normalize(nil, []byte(raw))
		if !errors.Is(err, want) || got != nil {
			t.Errorf("%q: got %q, %v, want %v", raw, got, err, want)
		}
	}
	f("", ErrNotAbsolute)
	f("*", ErrNotAbsolute)
	f("a/b", ErrNotAbsolute)
	f("http://a/b", ErrNotAbsolute)
	f("/..", ErrAboveRoot)
	f("/../a", ErrAboveRoot)
	f("/a/../../b", ErrAboveRoot)
	f("/%2e%2e/a", ErrAboveRoot)
	f("/./..", ErrAboveRoot)
	f("//../a", ErrAboveRoot)
	f("/a%2fb", ErrEncodedSlash)
	f("/a%2Fb", ErrEncodedSlash)
	f("/..%2f..%2fetc", ErrEncodedSlash)
	f(`/a\b`, ErrBackslash)
	f("/a%5cb", ErrBackslash)
	f("/a%5Cb", ErrBackslash)
	f("/a%00", ErrNUL)
	f("/a\x00", ErrNUL)
	f("/a\tb", ErrControl)
	f("/a\x7f", ErrControl)
	f("/a%0d%0aSet-Cookie:x", ErrControl)
	f("/a%7f", ErrControl)
	f("/%", ErrBadEscape)
	f("/%6", ErrBadEscape)
	f("/%6g", ErrBadEscape)
	f("/%zz", ErrBadEscape)
	f("/%u0041", ErrBadEscape)
	f("/%%61", ErrBadEscape)
	f("/a b", ErrBadByte)
	f("/a?b", ErrBadByte)
	f("/a#b", ErrBadByte)
	f("/caf\xc3\xa9", ErrBadByte)
	f("/a|b", ErrBadByte)
	f("/..;/a", ErrDotParameter)
	f("/a/..;x=1/b", ErrDotParameter)
	f("/.;/a", ErrDotParameter)
	f("/%2e%2e;/a", ErrDotParameter)
}

// slowNormalize is the same in several passes over strings, with the standard library's unescaping.
func slowNormalize(raw string) (string, error) {
	if !strings.HasPrefix(raw, "/") {
		return "", ErrNotAbsolute
	}
	const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
	var segments []string
	for _, s := range strings.Split(raw[1:], "/") {
		decoded := ""
		for s != "" {
			n := 1
			if s[0] == '%' {
				n = min(3, len(s))
			}
			one, err := url.PathUnescape(s[:n])
			switch {
			case err != nil:
				return "", ErrBadEscape
			case one == "\x00":
				return "", ErrNUL
			case one < " " || one == "\x7f":
				return "", ErrControl
			case one == `\`:
				return "", ErrBackslash
			case one == "/":
				return "", ErrEncodedSlash
			case strings.Contains(unreserved, one):
				decoded += one
			case n == 3:
				decoded += strings.ToUpper(s[:3])
			case strings.Contains("!$&'()*+,;=:@[]", one):
				decoded += one
			default:
				return "", ErrBadByte
			}
			s = s[n:]
		}
		segments = append(segments, decoded)
	}
	var out []string
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "" || s == ".":
		case s == "..":
			if len(out) == 0 {
				return "", ErrAboveRoot
			}
			out = out[:len(out)-1]
		case strings.HasPrefix(s, "..;") || strings.HasPrefix(s, ".;"):
			return "", ErrDotParameter
		default:
			out = append(out, s)
			continue
		}
		if last {
			out = append(out, "")
		}
	}
	return "/" + strings.Join(out, "/"), nil
}

// checkNormalize holds Normalize against its slow twin, and its promises against themselves.
func checkNormalize(t interface{ Fatalf(string, ...any) }, raw string) {
	want, wantErr := slowNormalize(raw)
	got, err := Normalize(nil, []byte(raw))
	if (err == nil) != (wantErr == nil) || string(got) != want {
		t.Fatalf("%q: got %q, %v, want %q, %v", raw, got, err, want, wantErr)
	}
	buf := []byte(raw)
	if inPlace, inPlaceErr := Normalize(buf[:0], buf); inPlaceErr != err || !bytes.Equal(inPlace, got) {
		t.Fatalf("%q in place: got %q, %v, want %q, %v", raw, inPlace, inPlaceErr, got, err)
	}
	if err != nil {
		return
	}
	if again, err := Normalize(nil, got); err != nil || !bytes.Equal(again, got) {
		t.Fatalf("%q: %q again gives %q, %v", raw, got, again, err)
	}
	if len(got) > len(raw) {
		t.Fatalf("%q: %q is longer", raw, got)
	}
	if string(got) == raw && !normal(got) && len(raw) > 0 && !strings.Contains(raw, "/.") {
		t.Fatalf("%q is normal, but took the slow path", raw)
	}
}

func FuzzNormalize(f *testing.F) {
	for _, s := range []string{
		"", "*", "/", "//", "/a/./b", "/a//b", "/%61", "/%2f", "/..", "/a/..", "/a/../..", "/%2e%2E/", "/..;/", "/.;", "/a\\", "/%5c",
		"/%00", "/\x01", "/%", "/%4", "/%zz", "/é", "/a b", "/%c3%a9", "/%252e", "/!$&'()*+,;=:@[]", "/a/b/../c/./d//e/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) { checkNormalize(t, raw) })
}

func TestNormalizeEqualsSlow(t *testing.T) {
	piece := rapid.SampledFrom([]string{"/", "/", "/", ".", ".", "..", ";", "a", "B", "%2e", "%2E", "%61", "%2f", "%5C", "%c3", "%3a", "%40", "@", ":", "%", "%00", "\\", " ", "é", "%25"})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 12).Draw(t, "n")
		raw := "/"
		for range n {
			raw += piece.Draw(t, "piece")
		}
		checkNormalize(t, raw)
	})
}

// Every byte, plain and escaped in both cases, against the slow twin.
func TestNormalizeEveryByte(t *testing.T) {
	for b := range 256 {
		for _, s := range []string{string([]byte{byte(b)}), fmt.Sprintf("%%%02x", b), fmt.Sprintf("%%%02X", b)} {
			for _, frame := range []string{"/%s", "/a/%s/b", "/a%sb", "/.%s/a", "/a/.%s"} {
				checkNormalize(t, strings.Replace(frame, "%s", s, 1))
			}
		}
	}
}

func TestNormalizeAllocations(t *testing.T) {
	clean, dirty, buf := []byte("/v1/users/17/orders.json"), []byte("/v1//users/%31%37/./orders"), make([]byte, 0, 64)
	f := func(raw []byte) {
		t.Helper()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := Normalize(buf, raw); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", raw, n)
		}
	}
	f(clean)
	f(dirty)
	if got, _ := Normalize(buf, clean); &got[0] != &clean[0] {
		t.Error("a normal path was copied")
	}
}

func BenchmarkNormalize(b *testing.B) {
	for _, raw := range []string{"/v1/users/17/orders/2024-01-01/items.json", "/v1/users/17//orders/%32024-01-01/./items.json"} {
		b.Run(raw, func(b *testing.B) {
			in, buf := []byte(raw), make([]byte, 0, 128)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Normalize(buf, in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
