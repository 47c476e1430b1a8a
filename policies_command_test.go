package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/config"
)

// TestPolicySamples: those of examples/policies fit the gateways of examples/local, show every algorithm, each says what it
// is for, and what is shown of a policy in force can be applied again.
func TestPolicySamples(t *testing.T) {
	conf, err := config.Load("examples/local/gateway.yaml", os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	sources, failed := readPolicies([]string{"examples/policies"}, nil)
	if len(failed) > 0 || len(sources) == 0 {
		t.Fatal(len(sources), failed)
	}
	var extras []config.Extra
	for _, s := range sources {
		if !strings.HasPrefix(string(s.text), "# ") {
			t.Errorf("%s does not begin with what it is for", s.file)
		}
		if want := s.policy + ".yaml"; filepath.Base(s.file) != want {
			t.Errorf("%s is not %s", s.file, want)
		}
		extras = append(extras, config.Extra{Name: s.policy, Text: s.text})
	}
	with, err := conf.With(extras)
	if err != nil {
		t.Fatal(err)
	}
	seen, first := map[string]bool{}, len(conf.Policies)
	for i := range with.Policies {
		p := &with.Policies[i]
		for _, what := range []string{p.Algorithm, p.Mode, p.Action} {
			seen[what] = true
		}
		seen["parent"] = seen["parent"] || p.Parent != ""
		seen["overrides"] = seen["overrides"] || len(p.Overrides) > 0
		if i < first {
			continue
		}
		text, err := json.Marshal(p.View())
		if err != nil {
			t.Fatal(err)
		}
		extras[i-first].Text = text
	}
	for _, what := range []string{"token_bucket", "sliding_window", "leaky_bucket", "fixed_window", "concurrency", "adaptive", "quota", "shadow", "queue", "parent", "overrides"} {
		if !seen[what] {
			t.Errorf("no sample shows %s", what)
		}
	}
	again, err := conf.With(extras)
	if err != nil {
		t.Fatalf("what was shown can't be applied: %v", err)
	}
	if again.Hash() != with.Hash() {
		t.Error("what was shown is another policy")
	}
}

// script is a gateway that answers each "METHOD path" with the next of its answers, the last for ever: "STATUS body".
func script(t *testing.T, answers map[string][]string) (admin string, asked *[]string) {
	t.Helper()
	asked = new([]string)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call := r.Method + " " + r.URL.EscapedPath()
		*asked = append(*asked, strings.TrimSpace(call+" "+r.Header.Get("If-Match")))
		left := answers[call]
		if len(left) == 0 {
			http.Error(w, `{"detail":"unexpected"}`, 500)
			return
		}
		if len(left) > 1 {
			answers[call] = left[1:]
		}
		status, body, _ := strings.Cut(left[0], " ")
		w.Header().Set("ETag", `"e"`)
		w.WriteHeader(map[string]int{"200": 200, "201": 201, "204": 204, "403": 403, "404": 404, "409": 409, "412": 412, "422": 422}[status])
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		srv.Close()
	})
	return srv.URL, asked
}

// TestApplyMeetsOthers: what happens between looking and changing.
func TestApplyMeetsOthers(t *testing.T) {
	path := write(t, "name: a b\nlimit: 5\n")
	const get, put, post = "GET /api/v1/policies/a%20b", "PUT /api/v1/policies/a%20b", "POST /api/v1/policies"
	f := func(want, wantErr string, calls int, answers map[string][]string) {
		t.Helper()
		admin, asked := script(t, answers)
		out, err := weir("policies", "apply", "-f", path, "--admin", admin)
		if strings.Join(strings.Fields(out), " ") != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) || len(*asked) != calls {
			t.Errorf("%v: %q, %v, want %q, %q", *asked, out, err, want, wantErr)
		}
		for _, call := range *asked {
			if strings.HasPrefix(call, put) && call != put+` "e"` {
				t.Errorf("%s without the etag", call)
			}
		}
	}
	f("created a b", "", 2, map[string][]string{get: {"404"}, post: {"201 {}"}})
	f("updated a b", "", 2, map[string][]string{get: {"200 old"}, put: {"200 new"}})
	f("unchanged a b", "", 2, map[string][]string{get: {"200 same"}, put: {"200 same"}})
	f("updated a b", "", 4, map[string][]string{get: {"200 old", "200 other"}, put: {"412", "200 new"}})
	f("created a b", "", 4, map[string][]string{get: {"200 old", "404"}, put: {"412"}, post: {"201 {}"}})
	f("updated a b", "", 4, map[string][]string{get: {"404", "200 old"}, post: {"409"}, put: {"200 new"}})
	f("", "has changed", 6, map[string][]string{get: {"200 old"}, put: {`412 {"detail":"has changed"}`}})
	f("", path+": no room", 6, map[string][]string{get: {"404"}, post: {`409 {"detail":"no room"}`}})
	f("", path+": from the file", 2, map[string][]string{get: {"200 old"}, put: {`409 {"detail":"from the file"}`}})
	f("", path+":2:8: limit: no\n"+path+":1:1: odd\npolicy child:3:4: bad", 2, map[string][]string{get: {"404"}, post: {
		`422 {"faults":[{"file":"body","line":2,"col":8,"path":"limit","message":"limit: no"},{"message":"odd"},{"file":"policy child","line":3,"col":4,"message":"bad"}]}`}})
	f("", "not yours", 1, map[string][]string{get: {`403 {"detail":"not yours"}`}})
	f("", "unexpected", 1, map[string][]string{})
}

func TestApplyReadsFiles(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) string {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	b, a := put("b.yaml", "name: b\n"), put("a.json", `{"name":"a"}`)
	put("notes.md", "# no policy")
	if err := os.Mkdir(filepath.Join(dir, "sub.yaml"), 0o700); err != nil {
		t.Fatal(err)
	}
	f := func(want, wantErr string, paths ...string) {
		t.Helper()
		sources, failed := readPolicies(paths, strings.NewReader("name: piped"))
		var got []string
		for _, s := range sources {
			got = append(got, s.policy)
		}
		if err := errors.Join(failed...); strings.Join(got, " ") != want || (err == nil) != (wantErr == "") || err != nil && !strings.Contains(err.Error(), wantErr) {
			t.Errorf("%q: %q, %v", paths, got, err)
		}
	}
	f("a b", "", dir)
	f("b a", "", b, dir)
	f("piped a", "", "-", a, "-")
	f("", "there is no file of that name", filepath.Join(dir, "none"))
	f("", "no .yaml, .yml or .json in it", t.TempDir())
	f("b", "twin.txt: the policy b is in "+b+" too", b, put("twin.txt", "name: b"))
	f(" ", "", put("odd1.txt", "}{"), put("odd2.txt", "")) // the gateway says what is wrong
}

func TestFailuresOfSeveralGateways(t *testing.T) {
	f := func(want string, n int, errs ...string) {
		t.Helper()
		var all failures
		for _, e := range errs {
			at, text, _ := strings.Cut(e, " ")
			all.add(at, errors.New(text))
		}
		if err := all.err(n); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%q: %v, want %q", errs, err, want)
		}
	}
	f("", 2)
	f("bad", 1, "g1 bad")
	f("bad", 2, "g1 bad", "g2 bad")
	f("bad (g2)", 2, "g2 bad")
	f("x\ny (g1)\nz (g2)", 2, "g1 x\ny", "g2 x\nz")
	f("no gateway answers at a:1", 2, "a:1 no gateway answers at a:1")
}

func TestInTurn(t *testing.T) {
	f := func(all, want, wantErr string, unreachable bool) {
		t.Helper()
		var done []string
		failed := inTurn(strings.Split(all, ""), func(v string) (bool, error) {
			switch {
			case unreachable && len(done) > 0:
				return true, errUnreachable{errors.New("gone")}
			case v == "x":
				return false, errors.New(v)
			case v != "a" && !slices.Contains(done, string(v[0]-1)): // b needs a, c needs b
				return true, errors.New(v)
			}
			done = append(done, v)
			return false, nil
		})
		var errs []string
		for _, err := range failed {
			errs = append(errs, err.Error())
		}
		if strings.Join(done, "") != want || strings.Join(errs, "") != wantErr {
			t.Errorf("%s: %q, %q", all, done, errs)
		}
	}
	f("abc", "abc", "", false)
	f("cba", "abc", "", false)
	f("cxb", "", "xcb", false)
	f("cxba", "abc", "x", false)
	f("db", "", "db", false)
	f("abc", "a", "gone", true)
}

func TestPolicyText(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got, err := policyText(json.RawMessage(in)); err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", in, got, err)
		}
	}
	f(`{"source":"api","name":"a","limit":5,"overrides":[{"source":1}],"durable":true}`, `{"name":"a","limit":5,"overrides":[{"source":1}]}`)
	f(`{"source":"api"}`, `{}`)
	f(`{}`, `{}`)
	if _, err := policyText(json.RawMessage(`[]`)); err == nil {
		t.Error("a list was taken")
	}
}

func TestPrintPolicies(t *testing.T) {
	var rows []policyRow
	if err := json.Unmarshal([]byte(`[{"name":"a","algorithm":"token_bucket","limit":1000000000,"window":"1s","burst":"20%","dimensions":["x","y"],"mode":"enforce","source":"api"},
		{"name":"seats","algorithm":"concurrency","limit":7,"window":"1s","burst":0,"mode":"off","source":"file"},{"name":"c","burst":""}]`), &rows); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := printPolicies(&b, rows); err != nil {
		t.Fatal(err)
	}
	want := `NAME   ALGORITHM     LIMIT       WINDOW  BURST  DIMENSIONS  MODE     SOURCE
a      token_bucket  1000000000  1s      20%    x,y         enforce  api
seats  concurrency   7           -       -      -           off      file
c                    -           -       -      -                    `
	if strings.TrimSpace(b.String()) != strings.TrimSpace(want) {
		t.Errorf("%s", b.String())
	}
}
