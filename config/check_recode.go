package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	jsonbody "weir/gateway/body"
	"weir/gateway/compress"
)

// checkSentMethod checks a method that is sent in place of the client's.
func (k *checker) checkSentMethod(path, method string) {
	switch up := strings.ToUpper(method); {
	case method == "":
	case !isToken(method):
		k.fault(path, "%s is not a method: write for example POST", quote(method))
	case method == "CONNECT" || method == "TRACE":
		k.fault(path, "%s is not served: write for example POST", method)
	case method == "HEAD":
		k.fault(path, "an answer to HEAD has no body, and clients that asked otherwise wait for one: write for example GET")
	case method != up && slices.Contains(methods, up):
		k.fault(path, "%s is not a method: they are told apart by case: write %s", quote(method), up)
	case !slices.Contains(methods, method) && nearest(method, methods) != "":
		k.fault(path, "%s is not a method%s", quote(method), didYouMean(method, methods))
	}
}

func (k *checker) checkQueryRewrite(q *QueryRewrite, path string) {
	for _, list := range []struct {
		key    string
		values []QueryValue
	}{{".set", q.Set}, {".add", q.Add}} {
		for i := range list.values {
			k.checkTemplate(fmt.Sprintf("%s%s[%d].value", path, list.key, i), list.values[i].Value)
		}
	}
	for i, name := range q.Remove {
		if name == "" {
			k.fault(fmt.Sprintf("%s.remove[%d]", path, i), "is empty: write the name of a parameter")
		}
	}
}

// checkJSON checks what a route changes in JSON bodies.
func (k *checker) checkJSON(r *Route, path string) {
	for _, side := range []struct {
		key string
		t   *JSONTransform
	}{{".request.json", &r.Request.JSON}, {".response.json", &r.Response.JSON}} {
		at := path + side.key
		k.checkJSONTransform(side.t, at)
		if !side.t.Empty() && (r.Respond != nil || r.Redirect != nil) {
			k.fault(at, "the route answers itself, so that there is no body to change: leave json out")
		}
	}
	if r.Response.JSON.Empty() {
		return
	}
	for _, list := range []struct {
		key    string
		values []HeaderValue
	}{{"set", r.Request.Set}, {"add", r.Request.Add}} {
		for i, h := range list.values {
			if low := strings.ToLower(h.Name); low == "accept-encoding" || low == "range" || low == "if-range" {
				k.fault(fmt.Sprintf("%s.request.%s[%d].name", path, list.key, i), "response.json needs whole answers without a coding, and asks for them: leave %s out", h.Name)
			}
		}
	}
}

func (k *checker) checkJSONTransform(t *JSONTransform, path string) {
	for i, p := range t.Remove {
		k.checkJSONOp(fmt.Sprintf("%s.remove[%d]", path, i), jsonbody.Op{Kind: jsonbody.Remove, Path: p})
	}
	for i, r := range t.Rename {
		if r.Path != "" && r.To != "" { // else recorded as missing
			k.checkJSONOp(fmt.Sprintf("%s.rename[%d]", path, i), jsonbody.Op{Kind: jsonbody.Rename, Path: r.Path, Name: r.To})
		}
	}
	for i, v := range t.Set {
		at := fmt.Sprintf("%s.set[%d]", path, i)
		switch {
		case v.Path == "": // recorded as missing
		case v.Value == "" && v.JSON == "":
			k.fault(at, "there is no value: write value: TEXT, or json: '1' (and json: '\"\"' for an empty text)")
		case v.Value != "" && v.JSON != "":
			k.fault(at+".json", "value and json are both given: remove one")
		default:
			k.checkTemplate(at+".value", v.Value)
			k.checkJSONOp(at, jsonbody.Op{Kind: jsonbody.Set, Path: v.Path, Text: v.Value, JSON: v.JSON})
		}
	}
	if n := len(t.Ops()); n > jsonbody.MaxOps {
		k.fault(path, "%d changes are too many: a body takes %d", n, jsonbody.MaxOps)
	}
}

func (k *checker) checkJSONOp(path string, op jsonbody.Op) {
	if k.faultyBelow(path + ".") {
		return
	}
	if _, err := jsonbody.Compile([]jsonbody.Op{op}, 1); err != nil {
		if why := errors.Unwrap(err); why != nil {
			err = why
		}
		k.fault(path, "%s %s: %v", op.Kind, quote(op.Path), err)
	}
}

// Ops returns the operations in the order in which they are done.
func (t *JSONTransform) Ops() []jsonbody.Op {
	var ops []jsonbody.Op
	for _, p := range t.Remove {
		ops = append(ops, jsonbody.Op{Kind: jsonbody.Remove, Path: p})
	}
	for _, r := range t.Rename {
		ops = append(ops, jsonbody.Op{Kind: jsonbody.Rename, Path: r.Path, Name: r.To})
	}
	for _, v := range t.Set {
		ops = append(ops, jsonbody.Op{Kind: jsonbody.Set, Path: v.Path, Text: v.Value, JSON: v.JSON})
	}
	return ops
}

// checkCoding checks that a route does not say itself how bodies are encoded that the gateway encodes, or changes as they are.
func (k *checker) checkCoding(r *Route, path string) {
	why := "the route compresses answers"
	if !r.Compress.Enabled {
		why = "the route changes the JSON of answers"
	}
	if !r.Compress.Enabled && r.Response.JSON.Empty() {
		return
	}
	fault := func(at, name string) {
		if strings.EqualFold(name, "content-encoding") {
			k.fault(at, "%s, so that Content-Encoding is the gateway's own: remove it here", why)
		}
	}
	for i, h := range r.Response.Set {
		fault(fmt.Sprintf("%s.set[%d].name", path, i), h.Name)
	}
	for i, h := range r.Response.Add {
		fault(fmt.Sprintf("%s.add[%d].name", path, i), h.Name)
	}
	for i, name := range r.Response.Remove {
		fault(fmt.Sprintf("%s.remove[%d]", path, i), name)
	}
}

// checkCompress checks how a route's responses are compressed.
func (k *checker) checkCompress(r *Route, path string) {
	c := &r.Compress
	for i, name := range c.Algorithms {
		at := fmt.Sprintf("%s.algorithms[%d]", path, i)
		coding, ok := compress.ParseCoding(name)
		switch {
		case !ok || coding == compress.Identity || coding.String() != name:
			k.fault(at, "%s is no algorithm%s", quote(name), orList(didYouMean(name, compressAlgorithms), compressAlgorithms))
		case slices.Index(c.Algorithms, name) < i:
			k.fault(at, "the algorithm %s is given twice: remove one", name)
		}
	}
	for i, t := range c.Types {
		if _, err := compress.NewRules([]string{t}, 0); err != nil {
			k.fault(fmt.Sprintf("%s.types[%d]", path, i), "%v", err)
		}
	}
	if !c.Enabled {
		return
	}
	if r.Respond != nil || r.Redirect != nil {
		k.fault(path+".enabled", "the route answers itself, and such answers are not compressed: leave compress out")
	}
	if len(c.Algorithms) == 0 {
		k.fault(path+".algorithms", "is empty, so that nothing is compressed: write some of %s, or enabled: false", strings.Join(compressAlgorithms, ", "))
	}
	if len(c.Types) == 0 {
		k.fault(path+".types", "is empty, so that nothing is compressed: leave it out for those that are usual, or write enabled: false")
	}
}

var compressAlgorithms = []string{"zstd", "br", "gzip"}

// orList returns advice, or else what there is to choose from.
func orList(advice string, list []string) string {
	if advice != "" {
		return advice
	}
	return ": write one of " + strings.Join(list, ", ")
}
