package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"unicode/utf16"

	"go.yaml.in/yaml/v3"
)

// maxExtra bounds a text that comes by the API.
const maxExtra = 64 << 10

// body is what a text of the API is to hold.
type body struct{ one, example string }

var policyBody = &body{"policy", `write for example {"name": "per-user", "dimensions": ["user_id"], "limit": 1000, "window": "1m"}`}

// Extra is a policy that came by the API.
type Extra struct {
	Name string // for messages, and the policy's if the text gives none; empty before it is known
	Text []byte // one policy, as JSON or YAML
}

// ExtraName returns the name that a text gives its policy, right or wrong, or "" if there is none to be read.
func ExtraName(text []byte) string {
	root := readExtra(text, &faultList{body: policyBody})
	if root == nil {
		return ""
	}
	if n := lookup(root, "name", 0); n != nil && n.Kind == yaml.ScalarNode && !isNull(n) {
		return n.Value
	}
	return ""
}

// file is what stands for a file's name in messages.
func (x *Extra) file() string {
	if x.Name == "" {
		return "body"
	}
	return "policy " + x.Name
}

// With returns c with more policies, in that order after those it has, checked as if all stood in one file. The error is
// [Faults]: everything wrong with the extras at once, each with its place in that text and "body" or "policy NAME" for a file.
// c does not change. Variables in the texts are not expanded, and no file is read but those of time zones. Linear in the
// policies of both; an extra costs about 0.1 ms.
func (c *Config) With(extras []Extra) (*Config, error) {
	first := len(c.Policies)
	out := *c
	out.Policies = append(make([]Policy, 0, first+len(extras)), c.Policies...)
	texts := make([]policyText, len(extras))
	for i := range extras {
		var p Policy
		p, texts[i] = decodeExtra(&extras[i])
		out.Policies = append(out.Policies, p)
	}
	b := newPolicyBook(out.Policies, first, texts, c.known)
	b.inherit()
	b.check()
	var all Faults
	for i := range texts {
		if faults, ok := texts[i].faults.err().(Faults); ok && len(all) < maxFaults {
			all = append(all, faults...)
		}
	}
	if len(all) > 0 {
		return nil, all
	}
	return &out, nil
}

// decodeExtra reads a text. A policy that cannot be read at all has no more than its name, and broken set.
func decodeExtra(x *Extra) (Policy, policyText) {
	p := policyDefaults()
	p.Name, p.api = x.Name, true
	t := policyText{faults: &faultList{file: x.file(), body: policyBody}, node: &yaml.Node{Kind: yaml.MappingNode}}
	root := readExtra(x.Text, t.faults)
	if root == nil {
		t.broken = true
		return p, t
	}
	t.node = root
	d := &decoder{faults: t.faults, verbatim: true}
	d.value(root, reflect.ValueOf(&p).Elem(), nil)
	return p, t
}

// readExtra returns the keys of a text, or nil with the reason recorded.
func readExtra(text []byte, faults *faultList) *yaml.Node {
	if len(text) > maxExtra {
		faults.add(start, "", "the text has %d bytes: a %s has at most %v", len(text), faults.body.one, Size(maxExtra))
		return nil
	}
	if len(bytes.TrimSpace(text)) == 0 {
		faults.add(start, "", "%s", faults.empty())
		return nil
	}
	root := readTree(plainJSON(text), faults)
	if root == nil {
		return nil
	}
	if root.Kind != yaml.MappingNode {
		faults.add(placeOf(root), "", "%s where the keys of a %s are wanted: %s", describe(root), faults.body.one, faults.body.example)
		return nil
	}
	if alias := firstAlias(root); alias != nil {
		faults.add(placeOf(alias), "", "the alias *%s: aliases are not taken here, write out what it stands for", alias.Value)
		return nil
	}
	return root
}

// surrogates matches two escapes that stand for one character in JSON, and the escaped backslashes that may precede them.
var surrogates = regexp.MustCompile(`\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}`)

// plainJSON returns JSON without what YAML does not have: tabs between values, and characters escaped as two. Places stay,
// but for what follows such a character on its line. A text that is not JSON stays as it is.
func plainJSON(text []byte) []byte {
	if !json.Valid(text) {
		return text
	}
	text = bytes.ReplaceAll(text, []byte("\t"), []byte(" ")) // none are inside strings
	return surrogates.ReplaceAllFunc(text, func(pair []byte) []byte {
		if len(pair) != len(`\ud83d\ude00`) {
			return pair
		}
		high, _ := strconv.ParseUint(string(pair[2:6]), 16, 32)
		low, _ := strconv.ParseUint(string(pair[8:]), 16, 32)
		return fmt.Appendf(nil, `\U%08X`, utf16.DecodeRune(rune(high), rune(low)))
	})
}

// firstAlias returns an alias at or below n, or nil.
func firstAlias(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n
	}
	for _, child := range n.Content {
		if alias := firstAlias(child); alias != nil {
			return alias
		}
	}
	return nil
}
