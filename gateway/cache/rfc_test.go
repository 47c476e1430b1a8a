package cache

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestRFC runs the cases of testdata/rfc, which are named by section. A case is a row of lines:
//
//	policy ttl=60s swr=10s sie=10s load=10s heuristic=10 max=100 tags=surrogate-key ignore cookies
//	> METHOD /path | Name: value | @dimension | !body | !known | !loaded     a request
//	< STATUS | Name: value | -Date | body=text | cut                 what the origin says if it is asked; < fail: it is not there
//	= outcome | fate=f | status=n | body=text | age=n | length=n | cs=text | sent=line | sent= | Name: value | -Name
//	+30 · wall +3600 · delay 5                                      seconds pass; by the wall clock only; before the origin answers
//	purge url|prefix|tag|all VALUE = n
//
// Without a line < the origin must not be asked, and with one it must. {60} in a value is the date that many seconds from then. Without
// body= the origin sends b1, b2, and so on; without a Date field it sends one.
func TestRFC(t *testing.T) {
	files, err := filepath.Glob("testdata/rfc/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	cases := 0
	seen := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range strings.Split("\n"+string(text), "\n== ")[1:] {
			name, script, _ := strings.Cut(c, "\n")
			if seen[name] {
				t.Errorf("%s: two cases are called %s", file, name)
			}
			seen[name] = true
			cases++
			t.Run(name, func(t *testing.T) { runScript(t, script) })
		}
	}
	if cases < 150 {
		t.Errorf("only %d cases", cases)
	}
}

func runScript(t *testing.T, script string) {
	s := newSim(t, 64<<20)
	s.p.Coalesce = true
	for n, line := range strings.Split(script, "\n") {
		if line = strings.TrimSpace(line); line == "" || line[0] == '#' {
			continue
		}
		if err := s.step(line); err != "" {
			t.Fatalf("line %d, %s: %s", n+1, line, err)
		}
	}
	if s.req != nil {
		t.Error("a request has no expectation")
	}
	if n := s.c.Stats().Filling; n != 0 {
		t.Errorf("%d bytes are still counted as on their way", n)
	}
}

func (s *sim) step(line string) string {
	verb, rest, _ := strings.Cut(line, " ")
	if verb[0] == '+' {
		n, _ := strconv.ParseFloat(verb[1:], 64)
		s.pass(time.Duration(n * float64(time.Second)))
		return ""
	}
	switch verb {
	case "policy":
		return s.setPolicy(rest)
	case "wall":
		n, _ := strconv.Atoi(rest)
		s.wall = s.wall.Add(time.Duration(n) * time.Second)
	case "delay":
		n, _ := strconv.Atoi(rest)
		s.delay = time.Duration(n) * time.Second
	case ">":
		s.req, s.resp = s.parseRequest(rest), nil
	case "<":
		s.resp = s.parseReply(rest)
	case "=":
		r := s.do(s.req, s.resp)
		err := s.expect(&r, rest)
		s.req = nil
		if err != "" {
			return err + "\ngot " + r.String()
		}
	case "purge":
		return s.purge(rest)
	default:
		return "unknown verb"
	}
	return ""
}

func (s *sim) setPolicy(args string) string {
	for _, a := range strings.Fields(args) {
		k, v, _ := strings.Cut(a, "=")
		d, _ := time.ParseDuration(v)
		n, _ := strconv.Atoi(v)
		switch k {
		case "ttl":
			s.p.TTL = d
		case "swr":
			s.p.StaleWhileRevalidate = d
		case "sie":
			s.p.StaleIfError = d
		case "load":
			s.p.StaleUnderLoad = d
		case "heuristic":
			s.p.Heuristic = float64(n) / 100
		case "max":
			s.p.MaxObject = int64(n)
		case "tags":
			s.p.Tags = v
		case "ignore":
			s.p.IgnoreClient = true
		case "cookies":
			s.p.StoreCookies = true
		default:
			return "unknown policy " + k
		}
	}
	return ""
}

// dates replaces {seconds} by a date.
func (s *sim) dates(v string) string {
	for {
		a, rest, ok := strings.Cut(v, "{")
		n, b, closed := strings.Cut(rest, "}")
		if !ok || !closed {
			return v
		}
		sec, _ := strconv.Atoi(n)
		v = a + s.date(time.Duration(sec)*time.Second) + b
	}
}

func (s *sim) parseRequest(text string) *asked1 {
	parts := strings.Split(text, " | ")
	method, target, _ := strings.Cut(parts[0], " ")
	r := &asked1{head: &head{method: method}}
	path, query, has := strings.Cut(target, "?")
	if has {
		query = "?" + query
	}
	r.key.SetURL("http", "h", path, query)
	for _, p := range parts[1:] {
		switch {
		case p[0] == '@':
			r.key.Add(p[1:], true)
		case p == "!body":
			r.body = true
		case p == "!known":
			r.known = true
		case p == "!loaded":
			r.loaded = true
		default:
			n, v, _ := strings.Cut(p, ":")
			r.field(n, s.dates(strings.TrimSpace(v)))
		}
	}
	return r
}

func (s *sim) parseReply(text string) *reply1 {
	parts := strings.Split(text, " | ")
	if parts[0] == "fail" {
		return &reply1{fail: true}
	}
	status, _ := strconv.Atoi(parts[0])
	s.n++
	o := &reply1{head: &head{status: status}, body: "b" + strconv.Itoa(s.n)}
	if status == 304 || status == 204 {
		o.body = ""
	}
	date := true
	for _, p := range parts[1:] {
		switch {
		case p == "cut":
			o.cut = true
		case p == "-Date":
			date = false
		case strings.HasPrefix(p, "body="):
			o.body = p[len("body="):]
		default:
			n, v, _ := strings.Cut(p, ":")
			o.field(n, s.dates(strings.TrimSpace(v)))
			date = date && !strings.EqualFold(n, "date")
		}
	}
	if date {
		o.field("Date", s.date(s.delay))
	}
	return o
}

func (s *sim) expect(r *result, text string) string {
	parts := strings.Split(text, " | ")
	if r.outcome.String() != parts[0] {
		return "outcome is " + r.outcome.String()
	}
	if asked := s.resp != nil; asked != r.asked {
		return "that the origin was asked is " + strconv.FormatBool(r.asked)
	}
	for _, p := range parts[1:] {
		if !s.holds(r, p) {
			return p + " does not hold"
		}
	}
	return ""
}

func (s *sim) holds(r *result, want string) bool {
	if want[0] == '-' {
		_, ok := r.field(want[1:])
		return !ok
	}
	key, v, ok := strings.Cut(want, "=")
	if n, value, field := strings.Cut(want, ": "); field && (!ok || strings.Index(want, ": ") < strings.Index(want, "=")) {
		got, ok := r.field(n)
		return ok && got == s.dates(value)
	}
	switch key {
	case "fate":
		return r.fate.String() == v
	case "status":
		return strconv.Itoa(r.status) == v
	case "body":
		return r.body == v
	case "length":
		return strconv.FormatInt(r.length, 10) == v
	case "age":
		got, _ := r.field("age")
		return got == v
	case "cs":
		got, _ := r.field("cache-status")
		return got == "weir; "+v
	case "sent":
		return v == "" && r.sent == "" || v != "" && strings.Contains(r.sent, s.dates(v)+"\r\n")
	}
	return false
}

func (s *sim) purge(args string) string {
	what, count, _ := strings.Cut(args, " = ")
	kind, value, _ := strings.Cut(what, " ")
	p, err := NewPurge(map[string]PurgeKind{"url": PurgeURL, "prefix": PurgePrefix, "tag": PurgeTag, "all": PurgeAll}[kind], value)
	if err != nil {
		return err.Error()
	}
	if n := s.c.Purge(p); strconv.Itoa(n) != count {
		return "purged " + strconv.Itoa(n)
	}
	return ""
}
