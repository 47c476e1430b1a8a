package admin

import (
	"fmt"
	"strings"
	"testing"
)

func TestExplainPassesTheRequestOn(t *testing.T) {
	g := open()
	ask(g.Handler(), "POST /api/v1/explain", `{"method":"PUT","url":"https://a.example/x?y","headers":{"X-One":"1","X-Many":["a","b"],"X-None":[]},"remote":"2001:db8::1"}`, asJSON)
	x := g.gateway.explained
	if x.Method != "PUT" || x.URL != "https://a.example/x?y" || x.Remote != "2001:db8::1" ||
		fmt.Sprint(x.Headers) != "map[X-Many:[a b] X-None:[] X-One:[1]]" {
		t.Errorf("%+v", x)
	}
	ask(g.Handler(), "POST /api/v1/explain", `{"url":"/x"}`, asJSON)
	if x := g.gateway.explained; x.Method != "GET" || x.Remote != "127.0.0.1:50000" {
		t.Errorf("%+v", x)
	}
}

func TestExplainRefuses(t *testing.T) {
	f := func(body string, status int, want string) {
		t.Helper()
		refused(t, body, ask(open().Handler(), "POST /api/v1/explain", body, asJSON), status, want)
	}
	f(`{"url":"x"}`, 400, `url: must be a URL or a path that begins with /, not "x"`)
	f(`{"url":"http://[::1"}`, 400, "url: must be")
	f(`{}`, 400, "url: must be")
	f(`{"url":"/x","remote":"localhost"}`, 400, "remote: must be an IP address")
	f(`{"url":"/refuse"}`, 400, "no such listener")
	f(`{"url":"/x","uri":"/y"}`, 400, `unknown field "uri"`)
	f(`{"url":"/x"} {"url":"/y"}`, 400, "1:14 : there is more")
	f("{\"url\":\"/x\"}\n\n]", 400, "more after")
	f(`{"url":5}`, 400, "1:8 url: must be string, not number")
	f("{\n  \"url\": \"/x\",\n  oops}", 400, "3:3 : invalid character 'o'")
	f(`{"url":"/x"`, 400, "not complete")
	f(``, 400, "not complete")
	f(`[]`, 400, "must be")
	f(`null`, 400, "url: must be")
	f(`{"url":"/x","headers":{"a":5}}`, 400, "must be a string or a list of strings")
	f(`{"url":"/x","headers":{"a":`+strings.Repeat("[", 30_000)+strings.Repeat("]", 30_000)+`}}`, 400, "")
	f(strings.Repeat("[", 60_000), 400, "")
	f(`{"url":"/`+strings.Repeat("x", maxJSON)+`"}`, 413, "65536 bytes")
	f("\xff\xfe", 400, "invalid character")
}

func TestMediaTypes(t *testing.T) {
	f := func(path, field string, status int) {
		t.Helper()
		w := ask(open().Handler(), "POST "+path, `{"url":"/x"}`, field)
		if w.Code != status {
			t.Errorf("%s %s: %d, want %d", path, field, w.Code, status)
		}
		if status == 415 {
			refused(t, path, w, 415, "Content-Type must be")
			if w.Header().Get("Accept") == "" {
				t.Error("415 without Accept")
			}
		}
	}
	f("/api/v1/explain", asJSON, 200)
	f("/api/v1/explain", "Content-Type: Application/JSON;charset=UTF-8", 200)
	f("/api/v1/explain", "", 415)
	f("/api/v1/explain", "Content-Type: text/plain", 415)
	f("/api/v1/explain", "Content-Type: application/x-www-form-urlencoded", 415)
	f("/api/v1/explain", "Content-Type: application/json;;;", 415)
	f("/api/v1/config/validate", asYAML, 200)
	f("/api/v1/config/validate", "Content-Type: text/yaml", 200)
	f("/api/v1/config/validate", asJSON, 415)
}

func TestValidateReportsEveryFault(t *testing.T) {
	w := ask(open().Handler(), "POST /api/v1/config/validate?name=prod.yaml", "bad", asYAML)
	p := refused(t, "bad", w, 422, "first of 2 faults")
	want := []fault{{File: "prod.yaml", Line: 1, Col: 3, Path: "routes[0]", Message: "routes[0]: first"}, {File: "prod.yaml", Line: 2, Col: 1, Message: "second"}}
	if fmt.Sprint(p.Faults) != fmt.Sprint(want) {
		t.Errorf("%+v", p.Faults)
	}
	refused(t, "odd", ask(open().Handler(), "POST /api/v1/config/validate", "odd", asYAML), 422, "not text")
	refused(t, "large", ask(open().Handler(), "POST /api/v1/config/validate", strings.Repeat("#", maxYAML+1), asYAML), 413, "16777216 bytes")
}

func TestOnlyTwoFilesAreValidatedAtOnce(t *testing.T) {
	g := open()
	g.gateway.hold, g.gateway.entered = make(chan struct{}), make(chan struct{})
	done := make(chan int)
	for range 2 {
		go func() { done <- ask(g.Handler(), "POST /api/v1/config/validate", "x", asYAML).Code }()
		<-g.gateway.entered
	}
	w := ask(g.Handler(), "POST /api/v1/config/validate", "x", asYAML)
	refused(t, "third", w, 503, "already")
	if w.Header().Get("Retry-After") != "1" {
		t.Error("no Retry-After")
	}
	close(g.gateway.hold)
	if a, b := <-done, <-done; a != 200 || b != 200 {
		t.Errorf("%d, %d", a, b)
	}
}
