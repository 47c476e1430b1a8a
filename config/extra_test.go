package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
)

// withBase is a file that policies of the API are added to.
const withBase = `
dimensions: [{name: user_id, from: header:x-user}, {name: api_key, from: header:x-key}]
routes: [{name: a, respond: {}}]
policies: [{name: root, limit: 100, window: 1m, routes: [a]}, {name: seats, algorithm: concurrency, limit: 5}]
`

func bodies(texts ...string) (extras []Extra) {
	for _, text := range texts {
		extras = append(extras, Extra{Text: []byte(text)})
	}
	return extras
}

func TestWith(t *testing.T) {
	c := mustParse(t, withBase)
	out, err := c.With(bodies(
		`{"name":"api-rate-limit","algorithm":"token_bucket","limit":1000,"window":"1m","burst":100,"dimensions":["user_id","api_key"],"priority":"high"}`,
		"# YAML too\nname: child\nparent: below\nlimit: 50%\n",
		`{"name": "below", "parent": "root", "when": "user_id != '${HOME}' && user_id != 'file:/etc/passwd'", "cost": 5, "window": null,
			"limit": "10%",	"routes": ["\u0061"], "mode": "en\u0066orce", "overrides": [{"when": "user_id == '\u00e4\ud83d\ude00'", "limit": 7}]}`,
	))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Policies) != 2 || len(out.Policies) != 5 || c.Policies[1].FromAPI() || out.Policies[0].FromAPI() || !out.Policies[2].FromAPI() {
		t.Fatalf("got %+v from %+v", out.Policies, c.Policies)
	}
	view, err := json.Marshal(out.Policies[2].View())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"name":"api-rate-limit","dimensions":["user_id","api_key"],"algorithm":"token_bucket","limit":1000,"window":"1m","burst":100,"scope":"local",`
	if !strings.HasPrefix(string(view), want) || !strings.Contains(string(view), `"priority":"high"`) {
		t.Errorf("got %s", view)
	}
	child, below := out.Policies[3], out.Policies[4]
	if child.Depth != 2 || child.When != below.When || child.Cost != "5" || child.Window.String() != "1m" || fmt.Sprint(child.Routes) != "[a]" {
		t.Errorf("got %+v", child)
	}
	if below.When != "user_id != '${HOME}' && user_id != 'file:/etc/passwd'" || below.Overrides[0].When != "user_id == 'ä😀'" {
		t.Errorf("got %+v", below)
	}
	if out.Hash() == c.Hash() {
		t.Error("the hash is the same")
	}
	more, err := out.With(bodies(`{"name": "last", "parent": "child"}`))
	if err != nil || len(more.Policies) != 6 || more.Policies[5].Depth != 3 || !more.Policies[2].FromAPI() {
		t.Errorf("%v: got %+v", err, more)
	}
	if line, col := out.Pos("policies[1].name"); line != 5 || col == 1 {
		t.Errorf("position %d:%d", line, col)
	}
}

// TestWithIsAsTheFile: a policy is the same from the API as from the file.
func TestWithIsAsTheFile(t *testing.T) {
	one := mustParse(t, withBase)
	items := []string{
		`{name: a, parent: root, limit: 5%, overrides: [{when: user_id == "x", limit: 9}]}`, `{name: b, parent: seats, dimensions: [user_id]}`,
		`{name: c, algorithm: quota, window: month, limit: 5}`, `{name: d, parent: c, algorithm: sliding_window, window: 1m, granularity: 5}`,
	}
	file := mustParse(t, strings.TrimSuffix(withBase, "]\n")+", "+strings.Join(items, ", ")+"]\n")
	api, err := one.With(bodies(items...))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(file, api, cmpopts.IgnoreUnexported(Config{}, Policy{}, Pool{})); diff != "" {
		t.Error(diff)
	}
	if file.Hash() != api.Hash() {
		t.Error("another hash")
	}
}

func TestWithFaults(t *testing.T) {
	c := mustParse(t, withBase)
	f := func(want string, texts ...string) {
		t.Helper()
		out, err := c.With(bodies(texts...))
		var faults Faults
		if out != nil || !errors.As(err, &faults) {
			t.Errorf("%q: got %v, %v", texts, out, err)
			return
		}
		if got := err.Error(); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", texts, got, want)
		}
	}
	const write = `write for example {"name": "per-user", "dimensions": ["user_id"], "limit": 1000, "window": "1m"}`
	f("body:1:1: the text is empty: "+write, "")
	f("body:1:1: the text is empty: "+write, " \n\t")
	f("body:1:1: the text is empty: "+write, "# nothing")
	f("body:1:1: the text is empty: "+write, "null")
	f("body:1:1: a list where the keys of a policy are wanted: "+write, "[]")
	f(`body:1:1: the value "5" where the keys of a policy are wanted: `+write, "5")
	f("body:1:1: the text has 65537 bytes: a policy has at most 64KiB", "#"+strings.Repeat(" ", 64<<10))
	f("body:1:22: the alias *a: aliases are not taken here, write out what it stands for", "{name: &a x, parent: *a}")
	f("body:3:1: a second document starts here: one text holds one policy: remove the line ---", "name: a\nlimit: 5\n---\nname: b\n")
	f("body:1:1: name: is missing: write name: … (unique; letters, digits, _ . -)\n"+
		"body:1:1: limit: is missing: write limit: … (units per window, or a share such as 5% of the parent's; with a parent the default is 100%)", "{}")
	f(`body:1:2: unknown key "nmae": did you mean name?`+"\n"+`body:2:11: limit: "ten" is not a whole number: write digits only, or a share such as 5%`+"\n"+
		`body:3:17: dimensions[0]: there is no dimension "user": there are ip, host, path, method, route, key, user_id, api_key`,
		"{\"nmae\": \"a\",\n \"limit\": \"ten\",\n \"dimensions\": [\"user\"]}")
	f(`body:1:10: name: the name "root" is taken: a policy of the file has it: choose another`+"\n"+
		`body:1:10: name: the name "x" is taken: another policy of the API has it: choose another`,
		`{"name": "root", "limit": 1}`, `{"name": "x", "limit": 1}`, `{"name": "x", "limit": 1}`)
	f(`body:1:22: parent: there is no policy "rooot": did you mean root?`, `{name: "x", parent:  "rooot"}`)
	f("body:1:20: parent: the parents go round in a circle, x → y → x: leave one of them out", `{name: x, parent:  y}`, `{name: y, parent: x}`)
	f("body:1:13: window: a quota is per hour, day, week or month, not per 1s: write window: month, or algorithm: fixed_window",
		`            {name: x, algorithm: quota, limit: 1}`)
	f(`body:1:19: limit: 5% of what? Write parent: too, the policy that it is a share of, or a number of units`, `{name: x, limit:  5%}`)
	f(`body:1:28: scope: scope: strict needs a store: write redis: {addresses: ["127.0.0.1:6379"]}`, `{name: x, limit: 1, scope: strict}`)
}

// TestWithNamesWhoseTextIsWrong: an extra that has a name is told by it.
func TestWithNamesWhoseTextIsWrong(t *testing.T) {
	c := mustParse(t, withBase)
	_, err := c.With([]Extra{{Name: "gone", Text: []byte("{")}, {Name: "below", Text: []byte("{name: below, parent: gone}")}, {Name: "old", Text: []byte("name: old\nlimit: x")}, {Name: "fine", Text: []byte("name: fine\nlimit: 1")}, {Text: []byte("name: 1 2\nlimit: 1")}})
	want := "policy gone:1:1: the text is not YAML: a value is missing here, or a { or [ before it is not closed\n" +
		`policy old:2:8: limit: "x" is not a whole number: write digits only, or a share such as 5%` + "\n" +
		`body:1:7: name: "1 2" is no name: write up to 128 letters, digits, _ . -`
	if err == nil || err.Error() != want {
		t.Errorf("got %v", err)
	}
}

// TestWithBlamesTheLast: one policy too many is one of the API, as those of the file were few enough.
func TestWithBlamesTheLast(t *testing.T) {
	var b strings.Builder
	b.WriteString("routes: [{name: a, respond: {}}, {name: b, respond: {}}]\npolicies:\n")
	for i := range maxAlways - 2 {
		fmt.Fprintf(&b, "  - {name: p%d, limit: 1, routes: [%s]}\n", i, []string{"a", ""}[i%2])
	}
	c := mustParse(t, b.String())
	f := func(want string, texts ...string) {
		t.Helper()
		_, err := c.With(bodies(texts...))
		got := ""
		if err != nil {
			got, _, _ = strings.Cut(err.Error(), ", with")
		}
		if got != want {
			t.Errorf("%q: got %s, want %s", texts, got, want)
		}
	}
	const anywhere = `body:1:1: more than 32 policies without a when: could apply to the route "a"`
	f("", `{name: x, limit: 1}`, `{name: y, limit: 1}`)
	f(anywhere, `{name: x, limit: 1}`, `{name: y, limit: 1}`, `{name: z, limit: 1}`)
	f("", `{name: x, limit: 1}`, `{name: y, limit: 1}`, `{name: z, limit: 1, when: "true"}`)
	f("", `{name: x, limit: 1}`, `{name: y, limit: 1}`, `{name: z, limit: 1, mode: "off"}`)
	f("", `{name: x, limit: 1}`, `{name: y, limit: 1}`, `{name: z, limit: 1, routes: [b]}`)
	f(strings.Replace(anywhere, "1:1:", "1:31: routes[0]:", 1), `{name: x, limit: 1}`, `{name: y, limit: 1}`, `{name: z, limit: 1, routes: [ a]}`)
	f(anywhere, `{name: x, limit: 1, routes: [b]}`, `{name: y, parent: x, routes: [a]}`, `{name: z, limit: 1}`)
}

func TestExtraName(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if got := ExtraName([]byte(text)); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	f(`{"limit": 5, "name": "a"}`, "a")
	f("name: a b\nlimit: x", "a b")
	f("name: 5", "5")
	f("{name: [a]}", "")
	f("{name: }", "")
	f("{limit: 5}", "")
	f("{name: &a x, parent: *a}", "")
	f("[name]", "")
	f("{", "")
	f("", "")
	out, err := mustParse(t, withBase).With([]Extra{{Name: "outside", Text: []byte("{limit: 5}")}, {Name: "outside", Text: []byte("{limit: 5, name: inside}")}})
	if err != nil || out.Policies[2].Name != "outside" || out.Policies[3].Name != "inside" {
		t.Errorf("got %+v, %v", out, err)
	}
}

func BenchmarkWith(b *testing.B) {
	c, err := Parse("x", largeFile(1000), noEnv)
	if err != nil {
		b.Fatal(err)
	}
	f := func(name, format string) {
		extras := make([]Extra, 1000)
		for i := range extras {
			extras[i].Text = fmt.Appendf(nil, format, i, i)
		}
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.With(extras); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("plain", `{"name":"extra-%d","algorithm":"token_bucket","limit":1000,"window":"1m","burst":100,"dimensions":["tenant"],"routes":["route-%d"]}`)
	f("expressions", `{"name":"extra-%d","limit":1000,"dimensions":["tenant"],"when":"tenant == 'x%d'","settle":"response.headers['x-cost']"}`)
}

func FuzzWith(f *testing.F) {
	c, err := Parse("x", []byte("listeners: [{name: web, address: \":8000\"}]\n"+withBase), noEnv)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		`{"name":"a","limit":1000,"window":"1m","burst":100,"dimensions":["user_id","api_key"],"priority":"high"}`,
		`{"name":"b","parent":"root","limit":"5%","overrides":[{"when":"user_id == 'x'","limit":"50%"}]}`,
		"name: c\nalgorithm: quota\nwindow: month\nlimit: 5\ntimezone: Europe/Berlin\n", `{name: d, parent: d}`, "{<<: {limit: 5}, name: e}", `{"name":"\ud83d\ude00","\ud83d":1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := c.With([]Extra{{Text: text}})
		if err != nil {
			checkFaults(t, text, err)
			return
		}
		p := out.Policies[len(out.Policies)-1]
		again, err := yaml.Marshal(p.View())
		if err != nil {
			t.Fatal(err)
		}
		same, err := c.With([]Extra{{Text: again}})
		if err != nil {
			t.Fatalf("%v in\n%s", err, again)
		}
		if diff := cmp.Diff(p, same.Policies[len(same.Policies)-1], cmpopts.IgnoreUnexported(Policy{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s in\n%s", diff, again)
		}
	})
}

// TestWithIsNeverLong gives texts that are as much work as their size allows.
func TestWithIsNeverLong(t *testing.T) {
	c, err := Parse("x", largeFile(10_000), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	fill := func(head, item, tail string) string {
		return head + strings.Repeat(item, (maxExtra-len(head)-len(tail))/len(item)) + tail
	}
	texts := map[string]string{
		"unknown routes":  fill("{name: x, limit: 1, routes: [", "route-1x7,", "]}"),
		"unknown keys":    fill("{name: x, limit: 1", ", ? []", "}"),
		"nesting":         fill("", "[", ""),
		"overrides":       fill("{name: x, limit: 1, overrides: [", "{when: 'true', limit: 1},", "]}"),
		"faulty override": fill("{name: x, limit: 1, overrides: [", "{},", "]}"),
		"expression":      fill("{name: x, limit: 1, when: '", "!", "true'}"),
		"same route":      fill("{name: x, limit: 1, routes: [", "route-1,", "]}"),
	}
	for name, text := range texts {
		begin := time.Now()
		_, err := c.With(bodies(text))
		took := time.Since(begin)
		if (err == nil) != (name == "overrides") || took > 10*time.Second {
			t.Errorf("%s: took %v, %.100v", name, took, err)
		}
	}
	begin := time.Now()
	_, err = c.With(bodies(fill("{name: a, limit: 100, overrides: [", "{when: 'true', limit: 1},", "]}"),
		fill("{name: b, parent: a, overrides: [", "{when: 'true', limit: 1%},", "]}"), fill("{name: c, parent: b, overrides: [", "{when: 'true', limit: 1%},", "]}")))
	if took := time.Since(begin); err == nil || took > 10*time.Second {
		t.Errorf("took %v, %.100v", took, err)
	}
}
