package telemetry

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func someEntry() *Entry {
	return &Entry{
		Start:    time.Date(2026, 3, 4, 5, 6, 7, 89_999_999, time.FixedZone("", 3600)),
		Duration: 12_345_678, Upstream: 11 * time.Millisecond, Queue: 999 * time.Nanosecond,
		Method: "GET", Host: "api.example.com", Path: "/v1/x", Query: "a=1&b=2", Proto: "HTTP/1.1", Status: 429,
		Route: "v1", Pool: "api", Endpoint: "127.0.0.1:9001", Policy: "tenant", Reason: "limited", RequestID: "r1", TraceID: "t1",
		Client: netip.MustParseAddr("::ffff:192.0.2.7"), BytesIn: 3, BytesOut: 45, Attempts: 2, Cache: "miss",
		UserAgent: "curl/8", Referer: "https://example.com/?a=1", TLS: true,
		Dimensions: []EntryDimension{{Name: "tenant", Value: "acme"}, {Name: "api_key", Value: "hunter2", Secret: true}},
		Error:      "connection reset",
	}
}

func TestLine(t *testing.T) {
	f := func(e *Entry, secret []string, want string) {
		t.Helper()
		if got := string(appendEntry(nil, e, secret)); got != want+"\n" {
			t.Errorf("got  %swant %s", got, want)
		}
	}
	f(someEntry(), nil, `{"time":"2026-03-04T04:06:07.089Z","client":"192.0.2.7","method":"GET","host":"api.example.com","path":"/v1/x",`+
		`"query":"a=1&b=2","proto":"HTTP/1.1","tls":true,"status":429,"duration_ms":12.345,"upstream_ms":11.000,"queue_ms":0.000,`+
		`"bytes_in":3,"bytes_out":45,"route":"v1","pool":"api","endpoint":"127.0.0.1:9001","attempts":2,"cache":"miss","policy":"tenant","reason":"limited",`+
		`"error":"connection reset","request_id":"r1","trace_id":"t1","user_agent":"curl/8","referer":"https://example.com/?a=1",`+
		`"dimensions":{"tenant":"acme","api_key":"[redacted]"}}`)
	f(&Entry{Status: 200, GRPC: true}, nil, `{"time":"0001-01-01T00:00:00.000Z","method":"","path":"","status":200,"grpc_status":0,"duration_ms":0.000,"bytes_in":0,"bytes_out":0}`)
	f(&Entry{Duration: -1}, nil, `{"time":"0001-01-01T00:00:00.000Z","method":"","path":"","status":0,"duration_ms":0.000,"bytes_in":0,"bytes_out":0}`)
	f(&Entry{Start: time.Unix(1<<40, 0), Query: "key=x", Referer: "/?key=y#z", Client: netip.MustParseAddr(`fe80::1%"x`)}, []string{"key"},
		`{"time":"9999-02-20T00:36:16.000Z","client":"fe80::1","method":"","path":"","query":"key=[redacted]","status":0,"duration_ms":0.000,`+
			`"bytes_in":0,"bytes_out":0,"referer":"/?key=[redacted]"}`)
	f(&Entry{Status: 101, MessagesOut: 2, CloseCode: 1001, Ended: "idle"}, nil, `{"time":"0001-01-01T00:00:00.000Z","method":"","path":"","status":101,"duration_ms":0.000,`+
		`"bytes_in":0,"bytes_out":0,"messages_in":0,"messages_out":2,"close_code":1001,"ended":"idle"}`)
}

func TestString(t *testing.T) {
	f := func(s string, limit int, want string) {
		t.Helper()
		if got := string(appendString(nil, s, limit)); got != `"`+want+`"` {
			t.Errorf("%q, %d: got %s, want \"%s\"", s, limit, got, want)
		}
	}
	f("", 9, ``)
	f("abc", 3, `abc`)
	f("abcd", 3, `abc…`)
	f("ab\"c\\", 9, `ab\"c\\`)
	f("a\r\nb\tc\x00\x1b[31m\x7f", 99, `a\r\nb\tc\u0000\u001b[31m\u007f`)
	f("<&>", 9, `<&>`)
	f("\xff\xc3", 9, `\ufffd\ufffd`)
	f("\ufffd", 9, `\ufffd`)
	f("é世😀", 99, `é世😀`)
	f("a\u0085\u009bb", 99, `a\u0085\u009bb`)                     // C1 controls
	f("\u2028\u2029\u202e\u2066", 99, `\u2028\u2029\u202e\u2066`) // line separators, bidirectional overrides
	f("\U000e0041", 99, `\udb40\udc41`)                           // invisible tag characters
	f("é世😀", 1, `…`)
	f("é世😀", 2, `é…`)
	f("é世😀", 4, `é…`)
	f("é世😀", 5, `é世…`)
	f("é世😀", 8, `é世…`)
	f("x", 0, `…`)
	f(strings.Repeat("\x80", 9), 6, strings.Repeat(`\ufffd`, 3)+`…`)
}

func TestRedactQuery(t *testing.T) {
	f := func(q, want string, names ...string) {
		t.Helper()
		if got := redactQuery(q, names); got != want {
			t.Errorf("%s %v: got %s, want %s", q, names, got, want)
		}
	}
	f("key=x", "key=x")
	f("key=x", "key=[redacted]", "key")
	f("key=x&key=y", "key=[redacted]&key=[redacted]", "key")
	f("a=1&key=x&b=2", "a=1&key=[redacted]&b=2", "key")
	f("a=key&keys=1&key", "a=key&keys=1&key", "key")
	f("key=", "key=[redacted]", "key")
	f("&&key=a=b&", "&&key=[redacted]&", "key")
	f("%6b%65y=x&%6B=1&k%zz=1", "%6b%65y=[redacted]&%6B=1&k%zz=1", "key")
	f("api+key=x&api%20key=y", "api+key=[redacted]&api%20key=[redacted]", "api key")
	f("a=1&b=2&c=3", "a=[redacted]&b=2&c=[redacted]", "c", "a")
	f("k%6=x", "k%6=[redacted]", "k%6")
	f("a=1;key=x&b=2", "a=1;key=[redacted]&b=2", "key")
	f("key=x;y&b=2", "key=[redacted]&b=2", "key")
	f("a;key;key=x;b=3&c=1;d=2", "a;key;key=[redacted]&c=1;d=2", "key")
	f("api.key=x&api[key=y&+api_key[]=z&api_key%00q=1", "api.key=[redacted]&api[key=[redacted]&+api_key[]=[redacted]&api_key%00q=[redacted]", "api_key")
	f("", "", "key")
}

// checkLine fails unless line is one line of valid JSON that prints and holds what e says.
func checkLine(t interface{ Fatalf(string, ...any) }, line []byte, e *Entry) {
	if n := bytes.Count(line, []byte{'\n'}); n != 1 || line[len(line)-1] != '\n' {
		t.Fatalf("%d newlines in %q", n, line)
	}
	if !utf8.Valid(line) {
		t.Fatalf("not UTF-8: %q", line)
	}
	for _, r := range string(line[:len(line)-1]) {
		if !unicode.IsPrint(r) {
			t.Fatalf("%U does not print, in %q", r, line)
		}
	}
	var got struct {
		Time                              time.Time
		Path, Query, Host, Method, Client string
		Status                            int
		UserAgent                         string `json:"user_agent"`
		Dimensions                        map[string]string
	}
	if err := json.Unmarshal(line, &got); err != nil {
		t.Fatalf("%v in %s", err, line)
	}
	if want := string([]rune(e.Path)); len(e.Path) <= maxPath && got.Path != want {
		t.Fatalf("path %q, want %q", got.Path, want)
	}
	if want := string([]rune(e.UserAgent)); len(e.UserAgent) <= maxText && got.UserAgent != want {
		t.Fatalf("user agent %q, want %q", got.UserAgent, want)
	}
	if got.Status != e.Status {
		t.Fatalf("status %d, want %d", got.Status, e.Status)
	}
}

func TestEveryLineIsOneLineOfJSON(t *testing.T) {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[\x00-\x1f"\\]{0,20}`),
		rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.StringN(1, 4, -1), func(s string) string { return strings.Repeat(s, 2000) }))
	rapid.Check(t, func(t *rapid.T) {
		e := &Entry{
			Start: time.Unix(rapid.Int64Range(-1<<40, 1<<40).Draw(t, "start"), 5), Duration: time.Duration(rapid.Int64().Draw(t, "duration")),
			Upstream: time.Duration(rapid.Int64().Draw(t, "upstream")), Method: text.Draw(t, "method"), Host: text.Draw(t, "host"),
			Path: text.Draw(t, "path"), Query: text.Draw(t, "query"), Proto: text.Draw(t, "proto"), Status: rapid.Int().Draw(t, "status"),
			UserAgent: text.Draw(t, "agent"), Referer: text.Draw(t, "referer"), Error: text.Draw(t, "error"),
			RequestID: text.Draw(t, "id"), BytesIn: rapid.Int64().Draw(t, "in"),
			Dimensions: []EntryDimension{{Name: "d" + text.Draw(t, "name"), Value: text.Draw(t, "value")}, {Name: "e", Value: "v"}},
		}
		checkLine(t, appendEntry(nil, e, []string{"a", "key"}), e)
	})
}

func FuzzLine(f *testing.F) {
	f.Add("/v1/x?", "key=1&%6bey=2", "curl/8.0", "tenant", 200)
	f.Add("/\x00\r\n\x1b[2J", "a=\"\\\xff", "\u2028\u202e\U000e0041", "\xed\xa0\x80", -1)
	f.Add(strings.Repeat("\U0001f600", 600), strings.Repeat("%", 5000), strings.Repeat("\x80", 600), "", 599)
	f.Fuzz(func(t *testing.T, path, query, agent, value string, status int) {
		e := &Entry{Path: path, Query: query, UserAgent: agent, Host: value, Method: agent, Referer: query, Status: status,
			Dimensions: []EntryDimension{{Name: "a", Value: value}, {Name: "b", Value: "no-one-sees-this", Secret: true}}}
		line := appendEntry(nil, e, []string{"key"})
		checkLine(t, line, e)
		if len(line) > 128<<10 {
			t.Fatalf("%d bytes", len(line))
		}
		if bytes.Contains(line, []byte("no-one-sees-this")) && !strings.Contains(path+query+agent+value, "no-one-sees-this") {
			t.Fatalf("a secret in %s", line)
		}
	})
}
