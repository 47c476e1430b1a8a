package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"weir/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminToken  = "admin-token-0123456789"
	viewerToken = "viewer-token-0123456789"
)

// gateway is a Controller that remembers what it was asked to do.
type gateway struct {
	unready   string
	asked     []string
	explained ExplainRequest
	reloadErr error
	hold      chan struct{} // Validate waits for it, if it is set
	entered   chan struct{}
	checks    []CheckRequest
	policies  map[string]string // text by name
}

func (g *gateway) Routes() any  { return []string{"v1"} }
func (g *gateway) Pools() any   { return map[string]int{"api": 2} }
func (g *gateway) Cluster() any { return map[string]int{"nodes": 3} }
func (g *gateway) Config() any {
	return struct {
		Token config.Secret `json:"token"`
	}{adminToken}
}
func (g *gateway) Ready() (bool, string) { return g.unready == "", g.unready }

func (g *gateway) Explain(x ExplainRequest) (any, error) {
	g.explained = x
	switch x.URL {
	case "/refuse":
		return nil, errors.New("no such listener")
	case "/panic":
		panic("explain fell over")
	case "/odd":
		return make(chan int), nil // can't be marshalled
	}
	return map[string]string{"route": "v1"}, nil
}

func (g *gateway) change(what, pool, endpoint string) error {
	g.asked = append(g.asked, what+" "+pool+" "+endpoint)
	if pool != "api" {
		return fmt.Errorf("pool %q %w: there is api", pool, ErrNotFound)
	}
	if endpoint == "hung:1" {
		return fmt.Errorf("%w: the disk does not answer", ErrUnavailable)
	}
	if endpoint == "stuck:1" {
		return errors.New("the pool is closing")
	}
	return nil
}

func (g *gateway) Drain(pool, endpoint string) error   { return g.change("drain", pool, endpoint) }
func (g *gateway) Undrain(pool, endpoint string) error { return g.change("ready", pool, endpoint) }

func (g *gateway) Validate(name string, body []byte) error {
	if g.hold != nil {
		g.entered <- struct{}{}
		<-g.hold
	}
	if bytes.Contains(body, []byte("bad")) {
		return fmt.Errorf("load: %w", config.Faults{
			{File: name, Line: 1, Col: 3, Path: "routes[0]", Message: "routes[0]: first"}, {File: name, Line: 2, Col: 1, Message: "second"}})
	}
	if bytes.Contains(body, []byte("odd")) {
		return errors.New("not text")
	}
	return nil
}

func (g *gateway) Backpressure() any { return map[string]bool{"enabled": true} }

func (g *gateway) SetBackpressure(who string, body []byte) (any, error) {
	g.asked = append(g.asked, "backpressure by "+who+": "+string(body))
	if bytes.Contains(body, []byte("bad")) {
		return nil, config.Faults{{File: "body", Line: 1, Col: 2, Path: "load_threshold", Message: "load_threshold: is bad"}}
	}
	return g.Backpressure(), nil
}

func (g *gateway) DropBackpressure(who string) (any, error) {
	g.asked = append(g.asked, "no backpressure by "+who)
	return g.Backpressure(), nil
}

func (g *gateway) Purge(who, by, value string) (any, error) {
	g.asked = append(g.asked, "purge by "+who+": "+by+"="+value)
	if value == "bad" {
		return nil, fmt.Errorf("%w: bad", ErrInvalid)
	}
	return map[string]int{"purged": 3}, nil
}

func (g *gateway) Reload(who string) (any, error) {
	g.asked = append(g.asked, "reload by "+who)
	return map[string]string{"hash": "abc"}, g.reloadErr
}

// rig is a server with its gateway and its log.
type rig struct {
	*Server
	gateway gateway
	log     bytes.Buffer
}

func (g *rig) options(tokens ...config.Token) Options {
	return Options{
		Tokens: tokens, Version: "1.2.3",
		Log:     slog.New(slog.NewTextHandler(&g.log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "weir_up 1\n") }),
	}
}

// open is a rig without tokens, closed one with an admin's and a viewer's.
func open() *rig {
	g := new(rig)
	g.Server = New(&g.gateway, g.options())
	return g
}

func closed() *rig {
	g := new(rig)
	g.Server = New(&g.gateway, g.options(
		config.Token{Name: "ops", Token: adminToken, Role: "admin"},
		config.Token{Name: "eve", Token: viewerToken, Role: "viewer"}))
	return g
}

// ask sends "METHOD target", a body and header fields "Name: value" to h, from loopback, and returns the answer.
func ask(h http.Handler, line, body string, fields ...string) *httptest.ResponseRecorder {
	method, target, _ := strings.Cut(line, " ")
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Host, r.RemoteAddr = "127.0.0.1:8080", "127.0.0.1:50000"
	for _, f := range fields {
		name, value, _ := strings.Cut(f, ": ")
		switch name {
		case "Host":
			r.Host = value
		case "Peer":
			r.RemoteAddr = value
		default:
			r.Header.Add(name, value)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const (
	asJSON = "Content-Type: application/json"
	asYAML = "Content-Type: application/yaml"
)

func bearerOf(token string) string { return "Authorization: Bearer " + token }

// refused fails unless w is a problem document with the status that says want.
func refused(t *testing.T, what string, w *httptest.ResponseRecorder, status int, want string) problem {
	t.Helper()
	var p problem
	d := json.NewDecoder(w.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&p); err != nil {
		t.Errorf("%s: status %d, not a problem: %v", what, w.Code, err)
	}
	if w.Code != status || p.Status != status || p.Title != http.StatusText(status) || p.Type != "about:blank" ||
		w.Header().Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s: status %d, want %d: %+v", what, w.Code, status, p)
	}
	all := p.Detail
	for _, f := range p.Faults {
		all += fmt.Sprintf(" [%d:%d %s: %s]", f.Line, f.Col, f.Path, f.Message)
	}
	if !strings.Contains(all, want) {
		t.Errorf("%s: %q does not say %q", what, all, want)
	}
	return p
}

func TestAnswers(t *testing.T) {
	f := func(line, body, field, want string) {
		t.Helper()
		w := ask(open().Handler(), line, body, field)
		got := strings.Join(strings.Fields(w.Body.String()), " ")
		if w.Code != 200 || !strings.Contains(got, want) {
			t.Errorf("%s: %d %s", line, w.Code, got)
		}
		if strings.HasPrefix(got, "{") && w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("%s is %s", line, w.Header().Get("Content-Type"))
		}
		for _, name := range []string{"Cache-Control", "X-Content-Type-Options", "Content-Security-Policy"} {
			if w.Header().Get(name) == "" {
				t.Errorf("%s without %s", line, name)
			}
		}
	}
	f("GET /livez", "", "", "ok")
	f("GET /readyz", "", "", "ready")
	f("GET /metrics", "", "", "weir_up 1")
	f("GET /", "", "", "weir 1.2.3 GET / DELETE /api/v1/backpressure GET /api/v1/backpressure POST /api/v1/backpressure DELETE /api/v1/cache POST /api/v1/check GET /api/v1/cluster GET /api/v1/config POST /api/v1/config/reload")
	f("GET /api/v1/routes", "", "", `[ "v1" ]`)
	f("GET /api/v1/pools", "", "", `{ "api": 2 }`)
	f("GET /api/v1/cluster", "", "", `{ "nodes": 3 }`)
	f("GET /api/v1/config", "", "", `{ "token": "[redacted]" }`)
	f("GET /api/v1/version", "", "", `"version": "1.2.3"`)
	f("POST /api/v1/explain", `{"url":"/x"}`, asJSON, `{ "route": "v1" }`)
	f("POST /api/v1/explain", ` {"url":"http://a/x"} `+"\n", asJSON+"; charset=utf-8", `{ "route": "v1" }`)
	f("POST /api/v1/config/validate", "routes: []", asYAML, `{ "valid": true }`)
	f("POST /api/v1/config/reload", "", "", `{ "hash": "abc" }`)
	f("POST /api/v1/config/reload", "{}\n", asJSON, `{ "hash": "abc" }`)
	f("POST /api/v1/pools/api/endpoints/127.0.0.1:9001/drain", "", "", `{ "done": "drain", "endpoint": "127.0.0.1:9001", "pool": "api" }`)
	f("POST /api/v1/pools/api/endpoints/%5B::1%5D:9001/ready", "", "", `{ "done": "ready", "endpoint": "[::1]:9001", "pool": "api" }`)
}

func TestIndexListsEveryPath(t *testing.T) {
	g := open()
	index := ask(g.Handler(), "GET /", "").Body.String()
	for pattern, all := range g.paths() {
		for method := range all {
			if !strings.Contains(index, fmt.Sprintf("%-6s %s\n", method, strings.TrimSuffix(pattern, "{$}"))) {
				t.Errorf("no %s %s in\n%s", method, pattern, index)
			}
		}
	}
}

func TestHeadIsAnsweredLikeGet(t *testing.T) {
	srv := httptest.NewServer(open().Handler())
	defer srv.Close()
	r, err := srv.Client().Head(srv.URL + "/api/v1/routes")
	if err != nil {
		t.Fatal(err)
	}
	r.Body.Close()
	if r.StatusCode != 200 || r.ContentLength == 0 {
		t.Errorf("%d, %d bytes", r.StatusCode, r.ContentLength)
	}
	srv.Client().CloseIdleConnections()
}

func TestUnready(t *testing.T) {
	g := open()
	g.gateway.unready = "draining"
	refused(t, "readyz", ask(g.Handler(), "GET /readyz", ""), 503, "draining")
	if w := ask(g.Handler(), "GET /livez", ""); w.Code != 200 {
		t.Errorf("livez: %d", w.Code)
	}
}

func TestUnknownPathsAndMethods(t *testing.T) {
	f := func(line string, status int, want, allow string) {
		t.Helper()
		w := ask(open().Handler(), line, "")
		refused(t, line, w, status, want)
		if got := w.Header().Get("Allow"); got != allow {
			t.Errorf("%s: Allow is %q, want %q", line, got, allow)
		}
	}
	f("GET /api/v1/nothing", 404, `There is no "/api/v1/nothing"`, "")
	f("GET /api/v1/policies/", 404, "/api/v1/policies/", "")
	f("GET /api/v1/policies/a/b", 404, "", "")
	f("DELETE /api/v1/keys/", 404, "", "")
	f("DELETE /api/v1/keys/a/b", 404, "", "") // a slash of the key is %2F
	f("DELETE /api/v1/policies", 405, "", "GET, HEAD, POST")
	f("POST /api/v1/policies/a", 405, "", "DELETE, GET, HEAD, PUT")
	f("GET /api/v1/check", 405, "", "POST")
	f("POST /api/v1/metrics", 405, "", "GET, HEAD")
	f("GET /api/v1/keys/a", 405, "", "DELETE")
	f("GET /api/v1/", 404, "GET / lists", "")
	f("GET /livez/", 404, "/livez/", "")
	f("POST /api/v1/pools/api/endpoints/a/b/drain", 404, "", "")
	f("POST /api/v1/routes", 405, `"POST"`, "GET, HEAD")
	f("GET /api/v1/explain", 405, "POST is", "POST")
	f("GET /api/v1/config/reload", 405, "", "POST")
	f("DELETE /api/v1/config", 405, "", "GET, HEAD")
	f("OPTIONS /metrics", 405, "", "GET, HEAD")
	f("BREW /livez", 405, "BREW", "GET, HEAD")
	f("GET /"+strings.Repeat("x", 5000), 404, "…", "")
}

func TestChangesThatFail(t *testing.T) {
	f := func(line, body string, status int, want string) {
		t.Helper()
		g := open()
		g.gateway.reloadErr = config.Faults{{File: "weir.yaml", Line: 7, Col: 2, Message: "unknown key"}}
		refused(t, line, ask(g.Handler(), line, body), status, want)
		if status == 400 && len(g.gateway.asked) > 0 {
			t.Errorf("%s was done: %v", line, g.gateway.asked)
		}
	}
	f("POST /api/v1/pools/apo/endpoints/a:1/drain", "", 404, `pool "apo" not found: there is api`)
	f("POST /api/v1/pools/apo/endpoints/a:1/ready", "", 404, `there is api`)
	f("POST /api/v1/pools/api/endpoints/stuck:1/drain", "", 500, "the pool is closing")
	f("POST /api/v1/pools/api/endpoints/hung:1/drain", "", 503, "not possible now: the disk does not answer")
	f("POST /api/v1/pools/api/endpoints/a:1/drain", `{"for":"5m"}`, 400, `unknown field "for"`)
	f("POST /api/v1/pools/api/endpoints/a:1/drain", `x`, 400, "takes no body")
	f("POST /api/v1/config/reload", `{} {}`, 400, "more after")
	f("POST /api/v1/config/reload", strings.Repeat(" ", maxJSON+1), 413, "")
	f("POST /api/v1/config/reload", "", 422, "[7:2 : unknown key]")
}

func TestAPanicCostsOneRequest(t *testing.T) {
	g := open()
	refused(t, "panic", ask(g.Handler(), "POST /api/v1/explain", `{"url":"/panic"}`, asJSON), 500, "its log has the details")
	refused(t, "odd", ask(g.Handler(), "POST /api/v1/explain", `{"url":"/odd"}`, asJSON), 500, "its log has the details")
	for _, want := range []string{"explain fell over", "admin_test.go", "from=127.0.0.1:50000", "BUG: answer: json: unsupported type"} {
		if !strings.Contains(g.log.String(), want) {
			t.Errorf("no %q in %s", want, &g.log)
		}
	}
	if w := ask(g.Handler(), "GET /livez", ""); w.Code != 200 {
		t.Errorf("then livez: %d", w.Code)
	}
}

func TestAPanicAfterTheAnswerBeganCutsTheConnection(t *testing.T) {
	g := open()
	o := g.options()
	o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "weir_up")
		panic("half way")
	})
	g.Reconfigure(o)
	defer func() {
		if p := recover(); p != http.ErrAbortHandler || !strings.Contains(g.log.String(), "half way") {
			t.Errorf("panic %v, log %s", p, &g.log)
		}
	}()
	ask(g.Handler(), "GET /metrics", "")
}

func TestReconfigure(t *testing.T) {
	g := open()
	g.Reconfigure(Options{Tokens: []config.Token{{Name: "new", Token: "new-token-0123456789", Role: "admin"}}, Version: "2"})
	refused(t, "no token", ask(g.Handler(), "GET /", ""), 401, "needs a token")
	w := ask(g.Handler(), "GET /", "", bearerOf("new-token-0123456789"))
	if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "weir 2\n") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	refused(t, "metrics", ask(g.Handler(), "GET /metrics", "", bearerOf("new-token-0123456789")), 404, "no metrics")
	g.Reconfigure(Options{})
	if w := ask(g.Handler(), "GET /", ""); w.Code != 200 {
		t.Errorf("tokens gone: %d", w.Code)
	}
}

func TestHTTPServerHasTimeouts(t *testing.T) {
	s := open().HTTPServer()
	if s.ReadHeaderTimeout == 0 || s.ReadTimeout == 0 || s.WriteTimeout == 0 || s.IdleTimeout == 0 || s.MaxHeaderBytes == 0 || s.Handler == nil {
		t.Errorf("%+v", s)
	}
}
