package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"weir/gateway/route"
)

func (k *checker) checkRoute(r *Route, path string) {
	k.checkMatch(&r.Match, path+".match")
	k.checkTarget(r, path)
	k.checkPriority(&r.Priority, path+".priority")
	k.checkRewrite(&r.Rewrite, path+".rewrite")
	k.checkTransform(&r.Request, path+".request")
	k.checkTransform(&r.Response, path+".response")
	if m := &r.Mirror; m.Pool != "" {
		k.checkReference(path+".mirror.pool", "pool", m.Pool, &k.pools)
	} else if m.Percent > 0 {
		k.fault(path+".mirror.pool", "is missing: write the pool that gets the copies")
	}
	k.checkFallback(r, path+".fallback")
	k.checkCache(r, path+".cache")
	k.checkCompress(r, path+".compress")
	k.checkCoding(r, path+".response")
	k.checkJSON(r, path)
}

// checkTarget checks that a route goes exactly one way, and that the way exists.
func (k *checker) checkTarget(r *Route, path string) {
	var ways []string
	for _, way := range []struct {
		key   string
		given bool
	}{{"pool", r.Pool != ""}, {"split", len(r.Split) > 0}, {"respond", r.Respond != nil}, {"redirect", r.Redirect != nil}} {
		if way.given || k.faults.paths[path+"."+way.key] {
			ways = append(ways, way.key)
		}
	}
	switch len(ways) {
	case 0:
		k.fault(path, "the route goes nowhere: write one of pool, split, respond and redirect")
	case 1:
	default:
		k.fault(path+"."+ways[1], "a route goes one way, and this one has %s: keep one", strings.Join(ways, " and "))
	}
	if r.Pool != "" {
		k.checkReference(path+".pool", "pool", r.Pool, &k.pools)
	}
	k.checkSplit(r.Split, path+".split")
	if r.Respond != nil {
		k.checkRespond(r.Respond, path+".respond")
	}
	if r.Redirect != nil && r.Redirect.To != "" {
		k.checkRedirect(r.Redirect.To, path+".redirect.to")
	}
}

func (k *checker) checkSplit(split []Split, path string) {
	if len(split) == 0 {
		return
	}
	sum := 0
	first := map[string]int{}
	for i, s := range split {
		sum += s.Weight
		at := fmt.Sprintf("%s[%d].pool", path, i)
		if s.Pool == "" {
			continue // recorded as missing
		}
		k.checkReference(at, "pool", s.Pool, &k.pools)
		if j, twice := first[s.Pool]; twice {
			k.fault(at, "the pool %s is in this split twice, first in line %d: add the weights up", quote(s.Pool), k.line(fmt.Sprintf("%s[%d].pool", path, j)))
		}
		first[s.Pool] = i
	}
	if sum == 0 && !k.faultyBelow(path) {
		k.fault(path, "the weights add up to 0, so no pool is ever asked: write for example [{pool: a, weight: 95}, {pool: b, weight: 5}]")
	}
}

func (k *checker) checkRedirect(to, path string) {
	k.checkTemplate(path, to)
	k.checkText(path, to)
	if !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "http://") && !strings.HasPrefix(to, "https://") && !strings.HasPrefix(to, "${") {
		k.fault(path, "%s is neither a URL nor a path: write for example https://${host}${uri} or /new", quote(to))
	}
}

// maxRespond bounds the file of a fixed answer.
const maxRespond = 1 << 20

// checkRespond checks a fixed answer, and reads its file into Body.
func (k *checker) checkRespond(r *Respond, path string) {
	if r.Body != "" && r.File != "" {
		k.fault(path+".file", "an answer has body or file, not both: remove one")
	} else if r.File != "" {
		data, problem := readBounded(r.File, maxRespond)
		if problem != "" {
			k.fault(path+".file", "%s", problem)
		}
		r.Body = string(data)
	}
	if (r.Status == 204 || r.Status == 304) && (r.Body != "" || r.File != "") {
		k.fault(path+".status", "an answer with status %d has no body: remove the body, or write status: 200", r.Status)
	}
	for i := range r.Headers {
		h, at := &r.Headers[i], fmt.Sprintf("%s.headers[%d]", path, i)
		k.checkHeaderName(at+".name", h.Name, "")
		k.checkText(at+".value", h.Value)
		plain, _ := expand(strings.ReplaceAll(h.Value, "$${", ""), func(string) (string, bool) { return "", true }, "text")
		if strings.Contains(plain, "${") {
			k.fault(at+".value", "%s: templates work in a route's response: {set: …}, not in a fixed answer; write $${ for the text itself", quote(h.Value))
		}
		h.Value = strings.ReplaceAll(h.Value, "$${", "${")
	}
}

func (k *checker) checkMatch(m *Match, path string) {
	for i, h := range m.Hosts {
		if err := route.ParseHost(h); err != nil {
			k.fault(fmt.Sprintf("%s.hosts[%d]", path, i), "%v", err)
		}
	}
	if err := route.ParsePath(m.Path); err != nil {
		k.fault(path+".path", "%v", err)
	}
	for i, method := range m.Methods {
		at := fmt.Sprintf("%s.methods[%d]", path, i)
		switch up := strings.ToUpper(method); {
		case !isToken(method):
			k.fault(at, "%s is not a method: write for example GET or POST", quote(method))
		case method != up && slices.Contains(methods, up):
			k.fault(at, "%s is not a method: they are told apart by case: write %s", quote(method), up)
		case !slices.Contains(methods, method) && nearest(method, methods) != "":
			k.fault(at, "%s is not a method%s", quote(method), didYouMean(method, methods))
		}
	}
	for i := range m.Headers {
		k.checkFieldMatch(&m.Headers[i], fmt.Sprintf("%s.headers[%d]", path, i), true)
	}
	for i := range m.Query {
		k.checkFieldMatch(&m.Query[i], fmt.Sprintf("%s.query[%d]", path, i), false)
	}
	k.checkWhen(path+".when", m.When)
}

var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "QUERY"}

func (k *checker) checkFieldMatch(m *FieldMatch, path string, header bool) {
	if header && m.Name != "" && !isToken(m.Name) {
		k.fault(path+".name", "%s is no name of a header field: letters, digits and !#$%%&'*+-.^_`|~", quote(m.Name))
	}
	if m.Value != "" && m.Regex != "" {
		k.fault(path+".regex", "value and regex are both given: remove one")
	}
	k.checkRegex(path+".regex", m.Regex)
}

func (k *checker) checkRegex(path, text string) *regexp.Regexp {
	re, err := regexp.Compile(text)
	if err != nil {
		k.fault(path, "%s is no regular expression (RE2): %s", quote(text), strings.TrimPrefix(err.Error(), "error parsing regexp: "))
		return nil
	}
	return re
}

var groupRef = regexp.MustCompile(`\$(?:\$|(\w+)|\{(\w+)\})`)

func (k *checker) checkRewrite(w *Rewrite, path string) {
	if w.StripPrefix != "" {
		k.checkURLPath(path+".strip_prefix", w.StripPrefix)
	}
	if w.Prefix != "" {
		k.checkURLPath(path+".prefix", w.Prefix)
	}
	if w.To != "" && w.Regex == "" {
		k.fault(path+".regex", "is missing: to replaces what regex finds")
	}
	if re := k.checkRegex(path+".regex", w.Regex); re != nil && w.Regex != "" {
		k.checkGroups(path+".to", w.To, re)
	}
	k.checkSentMethod(path+".method", w.Method)
	k.checkQueryRewrite(&w.Query, path+".query")
	if w.Host != "" {
		host, port, hasPort := strings.Cut(w.Host, ":")
		if strings.HasPrefix(w.Host, "[") {
			_, problem := parseAddress(w.Host+":1", true)
			hasPort, host, port = problem != "", "localhost", "x"
		}
		if !isHost(host) || (hasPort && (!isDigits(port) || len(port) > 5)) {
			k.fault(path+".host", "%s is not a host: write for example api.internal or api.internal:8080", quote(w.Host))
		}
	}
}

// checkGroups checks that what a replacement refers to are groups of the expression.
func (k *checker) checkGroups(path, to string, re *regexp.Regexp) {
	for _, m := range groupRef.FindAllStringSubmatch(to, -1) {
		name := m[1] + m[2]
		if name == "" {
			continue
		}
		n := 0
		if isDigits(name) && len(name) < 4 {
			_, _ = fmt.Sscan(name, &n)
			if n <= re.NumSubexp() {
				continue
			}
			k.fault(path, "$%s is no group of the regex, which has %d: write $1 to the last of them, or ${1} before a letter", name, re.NumSubexp())
		} else if !slices.Contains(re.SubexpNames(), name) {
			k.fault(path, "%s is no group of the regex: name it (?P<%s>…), or write ${1} before a letter", m[0], name)
		}
	}
}

var priorities = layoutOf(reflect.TypeFor[Priority]()).alone.enum

// checkPriority checks what a route's priority is taken from.
func (k *checker) checkPriority(p *Priority, path string) {
	kind, _, _ := strings.Cut(p.From, ":")
	path += ".from"
	switch {
	case p.From == "": // the route's own
	case slices.Contains(priorities, p.From):
		k.fault(path, "%s is a priority itself: write priority: %s", p.From, p.From)
	case slices.Contains(sourcesOf, kind):
		k.checkFrom(path, &Dimension{From: p.From})
	default:
		advice := "write header:NAME, cookie:NAME, query:NAME, jwt:CLAIM, cert:cn or expr: CEL"
		if meant := nearest(kind, sourcesOf); meant != "" && !slices.Contains(sourcesAlone, kind) {
			advice = fmt.Sprintf("did you mean %s?", strings.Replace(p.From, kind, meant, 1))
		}
		k.fault(path, "%s gives no priority: %s", quote(p.From), advice)
	}
}

var fallbackReasons = []string{"breaker_open", "no_endpoint", "timeout", "upstream_error", "limited", "shed", "queue_full", "queue_timeout"}

func (k *checker) checkFallback(r *Route, path string) {
	f := &r.Fallback
	for i, on := range f.On {
		at := fmt.Sprintf("%s.on[%d]", path, i)
		if !slices.Contains(fallbackReasons, on) {
			advice := didYouMean(on, fallbackReasons)
			if advice == "" {
				advice = ": write one of " + strings.Join(fallbackReasons, ", ")
			}
			k.fault(at, "%s is no reason for a fallback%s", quote(on), advice)
		}
	}
	switch has := f.Respond != nil || f.Pool != ""; {
	case len(f.On) > 0 && !has:
		k.fault(path, "there is nothing to fall back on: write respond or pool")
	case len(f.On) == 0 && has:
		k.fault(path+".on", "is missing, so the fallback never happens: write for example on: [%s]", strings.Join(fallbackReasons[:3], ", "))
	case f.Respond != nil && f.Pool != "":
		k.fault(path+".pool", "a fallback has respond or pool, not both: remove one")
	}
	if f.Respond != nil {
		k.checkRespond(f.Respond, path+".respond")
	}
	if f.Pool != "" {
		k.checkReference(path+".pool", "pool", f.Pool, &k.pools)
		if f.Pool == r.Pool {
			k.fault(path+".pool", "the route's own pool is no fallback for itself: name another")
		}
	}
}
