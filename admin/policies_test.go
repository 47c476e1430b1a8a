package admin

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"weir/config"
)

// The fake's policies: "plan", which came by the API, and "fixed", which is the file's. A text is what a policy is, and
// "name: N" anywhere in it its name.

func (g *gateway) all() map[string]string {
	if g.policies == nil {
		g.policies = map[string]string{"plan": "name: plan # v1", "fixed": "name: fixed"}
	}
	return g.policies
}

func etagOf(text string) string {
	h := fnv.New32a()
	h.Write([]byte(text))
	return fmt.Sprintf("%x", h.Sum32())
}

func (g *gateway) view(name string) map[string]string {
	source := "api"
	if name == "fixed" {
		source = "file"
	}
	return map[string]string{"name": name, "source": source}
}

func (g *gateway) Policies() any { return []any{g.view("fixed"), g.view("plan")} }

func (g *gateway) Policy(name string) (any, string, error) {
	text, ok := g.all()[name]
	if !ok {
		return nil, "", fmt.Errorf("policy %q %w", name, ErrNotFound)
	}
	return g.view(name), etagOf(text), nil
}

func parsePolicy(body []byte) (name string, err error) {
	if strings.Contains(string(body), "bad") {
		return "", fmt.Errorf("policy: %w", config.Faults{
			{File: "body", Line: 2, Col: 3, Path: "limit", Message: "limit: must be more"}, {File: "body", Line: 3, Col: 1, Message: "unknown key"}})
	}
	name = "new"
	if _, after, ok := strings.Cut(string(body), "name: "); ok {
		name, _, _ = strings.Cut(after, " ")
	}
	return name, nil
}

func (g *gateway) CreatePolicy(who string, body []byte) (string, any, string, error) {
	g.asked = append(g.asked, "create by "+who)
	name, err := parsePolicy(body)
	if err != nil {
		return "", nil, "", err
	}
	if _, taken := g.all()[name]; taken {
		return name, nil, "", fmt.Errorf("%w: the name %q is taken", ErrConflict, name)
	}
	g.policies[name] = string(body)
	return name, g.view(name), etagOf(string(body)), nil
}

func (g *gateway) allow(name, ifMatch string) error {
	text, ok := g.all()[name]
	if ifMatch != "" && (!ok || ifMatch != "*" && ifMatch != etagOf(text)) {
		return ErrPrecondition
	}
	if name == "fixed" {
		return fmt.Errorf("%w: %q is from the file", ErrConflict, name)
	}
	return nil
}

func (g *gateway) PutPolicy(who, name string, body []byte, ifMatch string) (bool, any, string, error) {
	g.asked = append(g.asked, fmt.Sprintf("put %s by %s if %s", name, who, ifMatch))
	if err := g.allow(name, ifMatch); err != nil {
		return false, nil, "", err
	}
	if _, err := parsePolicy(body); err != nil {
		return false, nil, "", err
	}
	_, there := g.policies[name]
	g.policies[name] = string(body)
	return !there, g.view(name), etagOf(string(body)), nil
}

func (g *gateway) DeletePolicy(who, name, ifMatch string) error {
	g.asked = append(g.asked, fmt.Sprintf("delete %s by %s if %s", name, who, ifMatch))
	if err := g.allow(name, ifMatch); err != nil {
		return err
	}
	if _, ok := g.policies[name]; !ok {
		return fmt.Errorf("policy %q %w", name, ErrNotFound)
	}
	delete(g.policies, name)
	return nil
}

func TestListPolicies(t *testing.T) {
	w := ask(open().Handler(), "GET /api/v1/policies", "")
	var got []map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != 200 || len(got) != 2 || got[1]["name"] != "plan" {
		t.Errorf("%d %v %s", w.Code, err, w.Body)
	}
}

func TestCreatePolicy(t *testing.T) {
	f := func(body, field string, status int, want, location string) {
		t.Helper()
		g := open()
		w := ask(g.Handler(), "POST /api/v1/policies", body, field)
		if got := w.Header().Get("Location"); got != location {
			t.Errorf("%s: Location %q, want %q", body, got, location)
		}
		if status >= 400 {
			refused(t, body, w, status, want)
			if w.Header().Get("ETag") != "" {
				t.Errorf("%s: an ETag", body)
			}
			return
		}
		if w.Code != status || w.Header().Get("ETag") != `"`+etagOf(body)+`"` || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %v %s", body, w.Code, w.Header(), w.Body)
		}
	}
	f(`{"x":1}`, asJSON, 201, `"name": "new"`, "/api/v1/policies/new")
	f("x: 1", asYAML, 201, `"name": "new"`, "/api/v1/policies/new")
	f("x: 1", "", 201, `"name": "new"`, "/api/v1/policies/new")
	f(`{"x":1}`, "Content-Type: application/x-www-form-urlencoded", 201, "", "/api/v1/policies/new") // curl -d
	f("name: a/b?c ", asYAML, 201, "a/b", "/api/v1/policies/a%2Fb%3Fc")
	f(`{"x":1}`, "Content-Type: text/html", 415, "Content-Type must be application/json", "")
	f("name: plan ", asYAML, 409, `the name "plan" is taken`, "/api/v1/policies/plan")
	f("bad", asYAML, 422, "first of 2 faults", "")
	f("bad", asJSON, 422, "[2:3 limit: limit: must be more] [3:1 : unknown key]", "")
	f(strings.Repeat("x", maxJSON+1), asYAML, 413, "65536 bytes", "")
	g := open()
	if p := refused(t, "file", ask(g.Handler(), "POST /api/v1/policies", "bad", asJSON), 422, ""); p.Faults[0].File != "body" {
		t.Errorf("%+v", p.Faults)
	}
}

func TestPolicyByName(t *testing.T) {
	v1 := etagOf("name: plan # v1")
	f := func(line, body string, status int, want string, fields ...string) {
		t.Helper()
		g := open()
		if strings.HasPrefix(line, "PUT") {
			fields = append(fields, asYAML)
		}
		w := ask(g.Handler(), line, body, fields...)
		if status >= 400 {
			refused(t, line+" "+strings.Join(fields, " "), w, status, want)
			if g.gateway.all()["plan"] != "name: plan # v1" {
				t.Errorf("%s %q: it changed", line, fields)
			}
			return
		}
		if w.Code != status || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s %q: %d %s, want %d %s", line, fields, w.Code, w.Body, status, want)
		}
		if status == 201 && w.Header().Get("Location") != "/api/v1/policies/other" {
			t.Errorf("%s: Location %q", line, w.Header().Get("Location"))
		}
		wantTag := `"` + v1 + `"`
		if body != "" {
			wantTag = `"` + etagOf(body) + `"`
		} else if status == 204 {
			wantTag = ""
		}
		if got := w.Header().Get("ETag"); got != wantTag {
			t.Errorf("%s: ETag %s, want %s", line, got, wantTag)
		}
		if (status == 204 || status == 304) && w.Body.Len() > 0 {
			t.Errorf("%s: a body: %s", line, w.Body)
		}
	}
	const get, put, del = "GET /api/v1/policies/plan", "PUT /api/v1/policies/plan", "DELETE /api/v1/policies/plan"
	f(get, "", 200, `"source": "api"`)
	f("HEAD /api/v1/policies/plan", "", 200, "")
	f("GET /api/v1/policies/none", "", 404, `policy "none" not found`)
	f(get, "", 304, "", `If-None-Match: "`+v1+`"`)
	f(get, "", 304, "", `If-None-Match: W/"`+v1+`"`)
	f(get, "", 304, "", `If-None-Match: "x", "`+v1+`"`)
	f(get, "", 304, "", `If-None-Match: "x"`, `If-None-Match: "`+v1+`"`)
	f(get, "", 304, "", `If-None-Match: *`)
	f(get, "", 200, "plan", `If-None-Match: "x"`)
	f(get, "", 200, "plan", `If-None-Match: `+v1) // without quotes it is none

	f(put, "v2", 200, `"plan"`)
	f("PUT /api/v1/policies/other", "v2", 201, `"other"`)
	f(put, "bad", 422, "[2:3 limit:")
	f("PUT /api/v1/policies/fixed", "v2", 409, "from the file")
	f(put, strings.Repeat("x", maxJSON+1), 413, "65536 bytes")
	f(del, "", 204, "")
	f("DELETE /api/v1/policies/none", "", 404, "not found")
	f("DELETE /api/v1/policies/fixed", "", 409, "from the file")
	f(del, "x", 400, "takes no body")

	for _, c := range []struct{ line, body string }{{put, "v2"}, {del, ""}} {
		done := map[string]int{put: 200, del: 204}[c.line]
		f(c.line, c.body, done, "", `If-Match: "`+v1+`"`)
		f(c.line, c.body, done, "", `If-Match: *`)
		f(c.line, c.body, done, "", `If-Match: "x", "`+v1+`" ,"y"`)
		f(c.line, c.body, done, "", `If-Match: W/"x", "`+v1+`"`)
		f(c.line, c.body, done, "", `If-Match: "x"`, `If-Match: "`+v1+`"`)
		f(c.line, c.body, 412, "If-Match", `If-Match: "x"`)
		f(c.line, c.body, 412, "", `If-Match: W/"`+v1+`"`)
		f(c.line, c.body, 412, "", `If-Match: "x", "y"`)
		f(c.line, c.body, 412, "", `If-Match: ""`)  // is not the absence of a condition
		f(c.line, c.body, 412, "", `If-Match: "*"`) // is not *
		f(c.line, c.body, 400, "double quotes", `If-Match: `+v1)
		f(c.line, c.body, 400, "double quotes", `If-Match: `)
		f(c.line, c.body, 400, "double quotes", `If-Match: *, "x"`)
		f(c.line, c.body, 400, "never replaces", `If-None-Match: *`)
	}
	f("PUT /api/v1/policies/none", "v2", 412, "", "If-Match: *")
	f("PUT /api/v1/policies/none", "v2", 412, "", `If-Match: "a", "b"`)
}

// TestConditionsReachTheController: the controller has the last word on the etag, also of a list.
func TestConditionsReachTheController(t *testing.T) {
	v1 := etagOf("name: plan # v1")
	f := func(match, want string) {
		t.Helper()
		g := closed()
		ask(g.Handler(), "PUT /api/v1/policies/plan", "v2", asYAML, "If-Match: "+match, bearerOf(adminToken))
		if got := strings.Join(g.gateway.asked, ", "); got != want {
			t.Errorf("%s: %s, want %s", match, got, want)
		}
	}
	f(`"x"`, "put plan by ops if x")
	f(`*`, "put plan by ops if *")
	f(`"x", "`+v1+`"`, "put plan by ops if "+v1)
	f(`"x", "y"`, "")
}

func TestEntityTags(t *testing.T) {
	f := func(want string, values ...string) {
		t.Helper()
		all, tags, ok := entityTags(values)
		if got := fmt.Sprint(all, tags, ok); got != want {
			t.Errorf("%q: %s, want %s", values, got, want)
		}
	}
	f("true [] true", "*")
	f("true [] true", " * ")
	f("false [{false a}] true", `"a"`)
	f("false [{true a} {false b}] true", ` W/"a" , "b",`)
	f("false [{false a,b} {false }] true", `"a,b",""`)
	f("false [{false a} {false b}] true", `"a"`, `"b"`)
	f("false [] false", "")
	f("false [] false", ",")
	f("false [] false")
	f("false [] false", `"a`)
	f("false [] false", `"a" "b"`)
	f("false [] false", `a`)
	f("false [] false", `w/"a"`)
	f("false [] false", `*,*`)
}

func TestPolicyNamesInPaths(t *testing.T) {
	f := func(path, want string) {
		t.Helper()
		g := open()
		ask(g.Handler(), "DELETE /api/v1/policies/"+path, "")
		if got := strings.Join(g.gateway.asked, ","); got != "delete "+want+" by local if " {
			t.Errorf("%s: %q", path, got)
		}
	}
	f("a.b_c-d", "a.b_c-d")
	f("a%2Fb", "a/b")
	f("%2E%2E", "..")
	f("a%20b", "a b")
}
