package compress

import (
	"strings"
	"testing"
)

func TestSuitable(t *testing.T) {
	rules, err := NewRules([]string{"text/*", "application/json", "application/*+json"}, 100)
	if err != nil {
		t.Fatal(err)
	}
	f := func(want bool, change func(*Response)) {
		t.Helper()
		r := Response{Status: 200, Type: "text/html", Length: -1}
		change(&r)
		if got := rules.Suitable(&r); got != want {
			t.Errorf("%+v: %v", r, got)
		}
	}
	status := func(s int) func(*Response) { return func(r *Response) { r.Status = s } }
	contentType := func(s string) func(*Response) { return func(r *Response) { r.Type = s } }
	length := func(n int64) func(*Response) { return func(r *Response) { r.Length = n } }
	cache := func(s string) func(*Response) { return func(r *Response) { r.CacheControl = s } }
	encoding := func(s string) func(*Response) { return func(r *Response) { r.Encoding = s } }
	for _, s := range []int{200, 201, 203, 404, 429, 500} {
		f(true, status(s))
	}
	for _, s := range []int{0, 100, 101, 103, 204, 205, 206, 304} {
		f(false, status(s))
	}
	f(false, func(r *Response) { r.Head = true })
	f(false, func(r *Response) { r.Range = "bytes 0-1/2" })
	f(true, length(100))
	f(false, length(99))
	f(false, length(0))
	f(true, encoding("identity"))
	f(true, encoding(" Identity "))
	for _, s := range []string{"gzip", "br", "identity, gzip", "aes128gcm"} {
		f(false, encoding(s))
	}
	for _, s := range []string{"text/html; charset=utf-8", "TEXT/x", "text/css;", " application/json ", "Application/Problem+JSON", "application/a+json;b=c"} {
		f(true, contentType(s))
	}
	for _, s := range []string{"", "text/", "text", "textual/html", "image/png", "application/jsonp", "application/xjson", "application/+json", "application/a+json2", "x/a+json", "image/png;a=text/html"} {
		f(false, contentType(s))
	}
	for _, s := range []string{"private, max-age=1", "no-transformers", "x=\"no-transform\"", "x=\"a,no-transform,b\"", `x="\",no-transform,"`, ","} {
		f(true, cache(s))
	}
	for _, s := range []string{"no-transform", "private, No-Transform", "x=\"a\",no-transform ,b", "no-transform=1"} {
		f(false, cache(s))
	}
}

func TestNewRulesRefuses(t *testing.T) {
	for _, s := range []string{"", "*", "*/*", "text", "text/", "/html", "text/h*", "text/*json", "text/*+", "text/**", "te xt/html", "text/html; charset=utf-8", "a*/b"} {
		if _, err := NewRules([]string{"text/html", s}, 0); err == nil || !strings.Contains(err.Error(), "write text/html") {
			t.Errorf("%q: %v", s, err)
		}
	}
	if _, err := NewRules(nil, -1); err == nil {
		t.Error("a negative minimum passes")
	}
	if _, err := NewRules(DefaultTypes, DefaultMinimum); err != nil {
		t.Error(err)
	}
}

// TestEmptyBody: a body known to be empty is never compressed.
func TestEmptyBody(t *testing.T) {
	rules, err := NewRules([]string{"text/html"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if rules.Suitable(&Response{Status: 200, Type: "text/html"}) || !rules.Suitable(&Response{Status: 200, Type: "text/html", Length: 1}) {
		t.Error("not by length")
	}
}

func TestAppendWeakTag(t *testing.T) {
	f := func(tag, want string, ok bool) {
		t.Helper()
		if got, good := AppendWeakTag([]byte("x"), tag); string(got) != "x"+want || good != ok {
			t.Errorf("%s: %s, %v, want %s", tag, got, good, want)
		}
	}
	f(`"a"`, `W/"a"`, true)
	f(`""`, `W/""`, true)
	f(`W/"a"`, `W/"a"`, true)
	for _, s := range []string{``, `a`, `"`, `"a`, `a"`, `w/"a"`, `W/`, `W/W/"a"`, `"a"b"`, `"a" `} {
		f(s, "", false)
	}
}

func TestAppendVary(t *testing.T) {
	f := func(vary, want string) {
		t.Helper()
		if got := AppendVary([]byte("x"), vary); string(got) != "x"+want {
			t.Errorf("%q: %s, want %s", vary, got, want)
		}
	}
	f("", "Accept-Encoding")
	f("Origin", "Origin, Accept-Encoding")
	f("Origin, Cookie", "Origin, Cookie, Accept-Encoding")
	f("accept-encoding", "accept-encoding")
	f("Origin ,\tACCEPT-ENCODING", "Origin ,\tACCEPT-ENCODING")
	f("*", "*")
	f("Origin, *", "Origin, *")
	f("X-Accept-Encoding", "X-Accept-Encoding, Accept-Encoding")
}
