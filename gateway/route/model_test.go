package route

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// naiveMatch is the definition: the first rule all of which holds. It works on the rules as written, by translating each
// path pattern to a regular expression.
func naiveMatch(rules []Rule, h *head) int {
	return slices.IndexFunc(rules, func(r Rule) bool {
		return naiveHost(r.Hosts, h.host) && naivePath(r.Path, h.path) && naiveMethod(r.Methods, h.method) &&
			naiveFields(r.Headers, h.headers) && naiveFields(r.Query, h.query) && (r.When == nil || r.When(h))
	})
}

func naiveHost(patterns []string, host string) bool {
	host = strings.TrimSuffix(host, ".")
	return len(patterns) == 0 || slices.ContainsFunc(patterns, func(p string) bool {
		p = strings.ReplaceAll(regexp.QuoteMeta(strings.ToLower(p)), `\*`, ".+")
		return regexp.MustCompile("^" + p + "$").MatchString(host)
	})
}

var unfold = strings.NewReplacer("%40", "@", "%3A", ":", "%3B", ";")

func naivePath(pattern, path string) bool {
	path = unfold.Replace(path)
	switch {
	case pattern == "" || pattern == "/*":
		return true
	case pattern[0] == '~':
		return regexp.MustCompile(pattern[1:]).MatchString(path)
	}
	re := "^"
	for _, seg := range strings.Split(pattern[1:], "/") {
		switch {
		case seg == "*":
			re += "(/.*)?"
		case strings.HasPrefix(seg, ":"):
			re += "/[^/]+"
		default:
			re += "/" + regexp.QuoteMeta(unfold.Replace(seg))
		}
	}
	return regexp.MustCompile(re + "$").MatchString(path)
}

func naiveMethod(methods []string, method string) bool {
	return len(methods) == 0 || slices.Contains(methods, method) || method == "HEAD" && slices.Contains(methods, "GET")
}

func naiveFields(fields []FieldMatch, have map[string]string) bool {
	for _, f := range fields {
		v, ok := have[strings.ToLower(f.Name)]
		if !ok || f.Exact && v != f.Value || f.Regex != "" && !regexp.MustCompile(f.Regex).MatchString(v) {
			return false
		}
	}
	return true
}

// Few words, so that rules and requests meet.
var (
	drawHostPattern = rapid.SampledFrom([]string{"a", "a.b", "*.b", "*.a.b", "c.a.b", "A.B", "*.c.a.b"})
	drawHost        = rapid.SampledFrom([]string{"a", "b", "a.b", "b.b", "a.b.", "c.a.b", "d.c.a.b", "x.y.b", "", ".b", "x..b"})
	drawSegment     = rapid.SampledFrom([]string{"a", "b", "c", ":x", "@", "%40", "a:b", "a%3Ab", "%20"})
	drawPathSegment = rapid.SampledFrom([]string{"a", "b", "c", "@", "%40", "a:b", "a%3Ab", "%20", "%2540"})
	drawRegex       = rapid.SampledFrom([]string{"~a", "~^/a", "~^/a/", "~^/a/[bc]", "~^/a/b/", "~^/(a|b)/c$", "~b/?$", "~^/a/b$", "~^/@", "~(?i)^/A/", "~^/a|c", "~^/a/b*", "~^/a/@/?"})
	drawMethod      = rapid.SampledFrom([]string{"GET", "HEAD", "POST"})
	drawField       = rapid.SampledFrom([]FieldMatch{{Name: "X"}, {Name: "x", Exact: true, Value: "1"}, {Name: "x", Exact: true}, {Name: "y", Regex: "^1"}, {Name: "y"}})
	drawValue       = rapid.SampledFrom([]string{"", "1", "12", "2"})
)

func drawPath(t *rapid.T, segment *rapid.Generator[string]) string {
	path := ""
	for range rapid.IntRange(0, 4).Draw(t, "depth") {
		path += "/" + segment.Draw(t, "segment")
	}
	return path
}

func drawPattern(t *rapid.T) string {
	if rapid.IntRange(0, 5).Draw(t, "regex") == 0 {
		return drawRegex.Draw(t, "re")
	}
	path := drawPath(t, drawSegment)
	for n := 0; strings.Contains(path, ":x"); n++ { // each parameter has a name of its own
		path = strings.Replace(path, ":x", ":p"+string(rune('a'+n)), 1)
	}
	return path + rapid.SampledFrom([]string{"", "/", "/*"}).Draw(t, "end")
}

func drawRule(t *rapid.T) Rule {
	r := Rule{Path: drawPattern(t), Hosts: rapid.SliceOfN(drawHostPattern, 0, 2).Draw(t, "hosts")}
	if rapid.Bool().Draw(t, "conditions") {
		r.Methods = rapid.SliceOfN(drawMethod, 0, 2).Draw(t, "methods")
		r.Headers = rapid.SliceOfN(drawField, 0, 1).Draw(t, "headers")
		r.Query = rapid.SliceOfN(drawField, 0, 1).Draw(t, "query")
		for i := range r.Query {
			r.Query[i].Name = strings.ToLower(r.Query[i].Name)
		}
		if rapid.IntRange(0, 3).Draw(t, "when") == 0 {
			want := drawValue.Draw(t, "want")
			r.When = func(h Head) bool { v, _ := h.Header("x"); return v == want }
		}
	}
	return r
}

func drawHead(t *rapid.T) *head {
	fields := rapid.MapOfN(rapid.SampledFrom([]string{"x", "y"}), drawValue, 0, 2)
	h := &head{
		method: drawMethod.Draw(t, "method"), host: drawHost.Draw(t, "host"), path: drawPath(t, drawPathSegment),
		headers: fields.Draw(t, "headers"), query: fields.Draw(t, "query"),
	}
	if h.path == "" || rapid.IntRange(0, 4).Draw(t, "slash") == 0 {
		h.path += "/"
	}
	return h
}

func TestTableEqualsLinearFirstMatch(t *testing.T) {
	matched, deep := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		rules := rapid.SliceOfN(rapid.Custom(drawRule), 0, 30).Draw(t, "rules")
		table, err := Compile(rules)
		if err != nil {
			t.Fatal(err)
		}
		for range 20 {
			h := drawHead(t)
			got, want := table.Match(h), naiveMatch(rules, h)
			if got != want {
				t.Fatalf("%+v: rule %d, want %d", h, got, want)
			}
			if want >= 0 {
				matched++
				deep += want
			}
			steps := table.Explain(h)
			if explained := len(steps) > 0 && steps[len(steps)-1].Matched; explained != (got >= 0) {
				t.Fatalf("%+v: rule %d, explained as %+v", h, got, steps)
			}
			if got >= 0 && steps[len(steps)-1].Rule != got {
				t.Fatalf("%+v: rule %d, explained as %+v", h, got, steps)
			}
		}
	})
	if matched < 100 || deep < matched/2 {
		t.Errorf("the draw is too thin: %d matches, rule numbers %d in sum", matched, deep)
	}
}
