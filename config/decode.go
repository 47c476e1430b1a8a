package config

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxAliased bounds how many values the aliases of a file may stand for.
const maxAliased = 1_000_000

// decoder fills structs from nodes by their tags. It never stops at a fault.
type decoder struct {
	env      func(string) (string, bool)
	expanded map[string]string // text of the file by what variables made of it
	faults   *faultList
	verbatim bool     // the text comes from the network: variables are text, and no files are read
	path     []string // of the value being decoded: routes, [2], match
	aliased  int      // values decoded through aliases so far
	inAlias  int      // how many aliases deep the current value is
}

// where returns the current path as text.
func (d *decoder) where() string {
	return strings.ReplaceAll(strings.Join(d.path, "."), ".[", "[")
}

func (d *decoder) fault(n *yaml.Node, format string, args ...any) {
	d.faults.add(placeOf(n), d.where(), format, args...)
}

// value decodes n into v. A null leaves the default.
func (d *decoder) value(n *yaml.Node, v reflect.Value, f *field) {
	if n.Kind == yaml.AliasNode {
		d.inAlias++
		defer func() { d.inAlias-- }()
		alias := n
		if n = follow(n); n == nil {
			d.fault(alias, "aliases refer to one another too deep")
			return
		}
	}
	if d.inAlias > 0 {
		if d.aliased++; d.aliased > maxAliased {
			if d.aliased == maxAliased+1 {
				d.fault(n, "the aliases of this file stand for more than %d values: write them out", maxAliased)
			}
			return
		}
	}
	if n.Style&yaml.TaggedStyle != 0 {
		d.fault(n, "the tag %s is not used here: remove it", n.Tag)
		return
	}
	if isNull(n) {
		return
	}
	switch {
	case v.Kind() == reflect.Interface:
		d.laterValue(n, f)
	case isKeys(v.Type()):
		d.structure(n, v, f)
	case v.Kind() == reflect.Slice:
		d.list(n, v, f)
	case v.Kind() == reflect.Pointer:
		fresh := reflect.New(v.Type().Elem())
		if fresh.Elem().Kind() == reflect.Struct {
			fresh.Elem().Set(layoutOf(fresh.Elem().Type()).defaults)
		}
		d.value(n, fresh.Elem(), f)
		v.Set(fresh)
	default:
		d.scalar(n, v, f)
	}
}

// structure decodes a mapping.
func (d *decoder) structure(n *yaml.Node, v reflect.Value, f *field) {
	l := layoutOf(v.Type())
	if l.alone != nil && n.Kind == yaml.ScalarNode {
		d.scalar(n, v.Field(l.alone.index), l.alone)
		return
	}
	if n.Kind != yaml.MappingNode {
		d.fault(n, "%s where keys are wanted: write %s", describe(n), exampleOf(f, l))
		return
	}
	given := make(map[string]bool, len(n.Content)/2)
	d.pairs(n, v, l, given, 0)
	for i := range l.fields {
		f := &l.fields[i]
		if !f.required || d.excused(f, v, l) {
			continue
		}
		d.path = append(d.path, f.key)
		if value := v.Field(f.index); value.IsZero() && !d.faults.paths[d.where()] {
			if given[f.key] {
				d.fault(lookup(n, f.key, 0), "is empty: %s", hint(f))
			} else {
				d.fault(n, "is missing: %s", hint(f))
			}
		}
		d.path = d.path[:len(d.path)-1]
	}
}

// excused says whether a required field of v need not be there, as the key that stands for it is, right or wrong.
func (d *decoder) excused(f *field, v reflect.Value, l *layout) bool {
	if f.unless == "" {
		return false
	}
	d.path = append(d.path, f.unless)
	defer func() { d.path = d.path[:len(d.path)-1] }()
	return !v.Field(l.byKey[f.unless].index).IsZero() || d.faults.paths[d.where()]
}

func hint(f *field) string {
	if f.doc == "" {
		return "write " + f.key + ": …"
	}
	return fmt.Sprintf("write %s: … (%s)", f.key, f.doc)
}

func exampleOf(f *field, l *layout) string {
	if l.alone != nil {
		return f.key + ": " + l.alone.def
	}
	return fmt.Sprintf("%s: {%s: …}", f.key, l.keys[0])
}

// pairs decodes the keys of one mapping, its own first, then those that merge keys bring in and it does not have.
func (d *decoder) pairs(n *yaml.Node, v reflect.Value, l *layout, given map[string]bool, depth int) {
	merged := depth > 0
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := follow(n.Content[i]), n.Content[i+1]
		if key == nil || key.Kind != yaml.ScalarNode {
			d.fault(n.Content[i], "a key is a plain word: write key: value")
			continue
		}
		if isMerge(key) {
			continue
		}
		if first, twice := lines[key.Value]; twice {
			d.fault(key, "the key %s is given twice, first in line %d: remove one", quote(key.Value), first)
			continue
		}
		lines[key.Value] = key.Line
		if merged && given[key.Value] {
			continue
		}
		given[key.Value] = true
		f := l.byKey[key.Value]
		if f == nil {
			d.unknownKey(key, l, given)
			continue
		}
		d.path = append(d.path, f.key)
		d.member(value, v.Field(f.index), f)
		d.path = d.path[:len(d.path)-1]
	}
	d.merges(n, v, l, given, depth)
}

// merges decodes what the << keys of a mapping bring in.
func (d *decoder) merges(n *yaml.Node, v reflect.Value, l *layout, given map[string]bool, depth int) {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if key := follow(n.Content[i]); key == nil || !isMerge(key) {
			continue
		}
		for _, from := range mergeSources(n.Content[i+1]) {
			m := follow(from)
			if m == nil || m.Kind != yaml.MappingNode {
				d.fault(n.Content[i+1], "<< wants an alias of keys: write <<: *name")
				continue
			}
			if depth >= maxMerge {
				d.fault(n.Content[i+1], "merge keys refer to one another too deep")
				return
			}
			d.aliased += len(m.Content) / 2
			if d.aliased > maxAliased {
				d.fault(n.Content[i+1], "the aliases of this file stand for more than %d values: write them out", maxAliased)
				return
			}
			d.inAlias++
			d.pairs(m, v, l, given, depth+1)
			d.inAlias--
		}
	}
}

// unknownKey records a key that the schema does not have. The key that was meant counts as given.
func (d *decoder) unknownKey(key *yaml.Node, l *layout, given map[string]bool) {
	meant := nearest(key.Value, l.keys)
	known := "the keys here are " + strings.Join(l.keys, ", ")
	if meant != "" {
		known = "did you mean " + meant + "?"
		given[meant] = true
		d.path = append(d.path, meant)
		d.faults.mark(d.where())
		d.path = d.path[:len(d.path)-1]
	}
	d.fault(key, "unknown key %s: %s", quote(key.Value), known)
}

// member decodes the value of a field and refuses what this version does not do yet.
func (d *decoder) member(n *yaml.Node, v reflect.Value, f *field) {
	before := len(d.faults.list)
	d.value(n, v, f)
	if f.later == "" || v.Kind() == reflect.Interface || len(d.faults.list) > before {
		return
	}
	idle := reflect.New(f.typ).Elem()
	setDefault(idle, f)
	if !reflect.DeepEqual(v.Interface(), idle.Interface()) {
		d.fault(n, "%s", f.later)
		v.Set(idle)
	}
}

// list decodes a sequence.
func (d *decoder) list(n *yaml.Node, v reflect.Value, f *field) {
	if n.Kind != yaml.SequenceNode {
		example := "[a, b]"
		if n.Kind == yaml.ScalarNode {
			example = "[" + n.Value + "]"
		}
		if f.typ.Elem().Kind() == reflect.Struct {
			example = "a list whose items start with -"
		}
		d.fault(n, "%s where a list is wanted: write %s", describe(n), example)
		return
	}
	items := reflect.MakeSlice(v.Type(), 0, min(len(n.Content), 64)) // grown as items turn out to be good
	for i, item := range n.Content {
		if d.faults.full() {
			break
		}
		items = reflect.Append(items, reflect.Zero(v.Type().Elem()))
		d.path = append(d.path, "["+strconv.Itoa(i)+"]")
		at := items.Index(i)
		if at.Kind() == reflect.Struct {
			at.Set(layoutOf(at.Type()).defaults)
		}
		if target := follow(item); target != nil && isNull(target) {
			d.fault(item, "the item is empty: write a value after the -, or remove it")
		} else {
			element := *f
			element.typ, element.enum, element.min, element.max = at.Type(), nil, "", ""
			d.value(item, at, &element)
		}
		d.path = d.path[:len(d.path)-1]
	}
	v.Set(items)
}

// scalar decodes a single value, expanding variables and reading secrets from files.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, f *field) {
	if n.Kind != yaml.ScalarNode {
		d.fault(n, "%s where a single value is wanted: write %s: value", describe(n), f.key)
		return
	}
	text, problem := n.Value, ""
	if !d.verbatim {
		text, problem = d.resolve(n.Value, v.Type() == secretType, f)
	}
	if problem != "" {
		d.fault(n, "%s", problem)
		return
	}
	if text != n.Value {
		d.expanded[text] = n.Value
	}
	fresh := reflect.New(v.Type()).Elem()
	if problem = f.set(fresh, text); problem != "" {
		if text != n.Value {
			problem += " (it comes from " + n.Value + ")"
		}
		d.fault(n, "%s", problem)
		return
	}
	v.Set(fresh)
}

// resolve returns text with its variables expanded, or what is in the file that a secret names.
func (d *decoder) resolve(text string, secret bool, f *field) (string, string) {
	text, problem := expand(text, d.env, f.template)
	if path, isFile := strings.CutPrefix(text, "file:"); problem == "" && isFile && secret {
		return readSecret(path)
	}
	return text, problem
}

// describe says what a node is, in words.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return "a list"
	case yaml.MappingNode:
		return "keys"
	}
	return "the value " + quote(n.Value)
}
