package body

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The model is a tree of what was written, changed one operation at a time.

type tree struct {
	scalar string // as written; "" in a container
	object bool
	items  []item
}

type item struct {
	written, meant string // name, in an object
	value          *tree
}

// print writes the tree; space returns what stands between two tokens.
func (v *tree) print(b *strings.Builder, space func() string) {
	if v.scalar != "" {
		b.WriteString(space() + v.scalar + space())
		return
	}
	brackets := "[]"
	if v.object {
		brackets = "{}"
	}
	b.WriteString(space() + brackets[:1] + space())
	for i, it := range v.items {
		if i > 0 {
			b.WriteString(",")
		}
		if v.object {
			b.WriteString(space() + it.written + space() + ":")
		}
		it.value.print(b, space)
	}
	b.WriteString(brackets[1:] + space())
}

func (v *tree) String() string {
	var b strings.Builder
	v.print(&b, func() string { return "" })
	return b.String()
}

func names(path []step) bool {
	return !slices.ContainsFunc(path, func(s step) bool { return s.element })
}

// made returns the value at the end of path, in new objects.
func made(path []step, value string) *tree {
	if len(path) == 0 {
		return &tree{scalar: value}
	}
	return &tree{object: true, items: []item{{string(quote(path[0].name)), path[0].name, made(path[1:], value)}}}
}

// do returns v with op done to it, of which the rest of the path is given.
func (v *tree) do(op Op, path []step, value string) *tree {
	if len(path) == 0 {
		return &tree{scalar: value}
	}
	s := path[0]
	if op.Kind == Set && v.scalar == "null" && names(path) {
		return made(path, value)
	}
	if v.scalar != "" || v.object == s.element {
		return v
	}
	hit := func(i int) bool {
		return s.element && (s.index == all || s.index == i) || !s.element && v.items[i].meant == s.name
	}
	out := &tree{object: v.object}
	found := false
	for i := range v.items {
		found = found || hit(i)
	}
	for i, it := range v.items {
		switch {
		case !hit(i):
			if found && op.Kind == Rename && len(path) == 1 && it.meant == op.Name {
				continue
			}
		case len(path) > 1 || op.Kind == Set:
			it.value = it.value.do(op, path[1:], value)
		case op.Kind == Remove:
			continue
		case op.Kind == Rename:
			it.written, it.meant = string(quote(op.Name)), op.Name
		}
		out.items = append(out.items, it)
	}
	if !found && op.Kind == Set && names(path) {
		out.items = append(out.items, made(path, value).items...)
	}
	return out
}

var modelNames = []string{"a", "é", `"`}

func drawName(t *rapid.T) item {
	name := rapid.SampledFrom(modelNames).Draw(t, "name")
	written := string(quote(name))
	if rapid.IntRange(0, 3).Draw(t, "escaped") == 0 {
		written = fmt.Sprintf(`"\u%04X"`, []rune(name)[0])
	}
	return item{written: written, meant: name}
}

func drawTree(t *rapid.T, depth int) *tree {
	kind := rapid.IntRange(0, 5).Draw(t, "kind")
	if depth == 0 || kind < 2 && depth < 4 {
		return &tree{scalar: rapid.SampledFrom([]string{"null", "null", "1.50", "-0e+7", "true", `"x\u0041"`, `"[{,:\"\\"`, `"a longer string, é"`}).Draw(t, "scalar")}
	}
	v := &tree{object: kind > 3}
	for range rapid.IntRange(0, 4).Draw(t, "items") {
		var it item
		if v.object {
			it = drawName(t)
		}
		it.value = drawTree(t, depth-1)
		v.items = append(v.items, it)
	}
	return v
}

func drawOp(t *rapid.T) Op {
	var path strings.Builder
	steps := rapid.IntRange(1, 3).Draw(t, "steps")
	for i := range steps {
		if i < steps-1 && rapid.Bool().Draw(t, "element") {
			path.WriteString(rapid.SampledFrom([]string{"[]", "[0]", "[1]"}).Draw(t, "index"))
		} else {
			path.WriteString("[" + string(quote(drawName(t).meant)) + "]")
		}
	}
	op := Op{Kind: rapid.SampledFrom([]Kind{Set, Set, Remove, Rename}).Draw(t, "op")}
	switch op.Kind {
	case Set:
		if rapid.Bool().Draw(t, "template") {
			op.Text = rapid.SampledFrom([]string{"${tenant}", "${nobody}", "x"}).Draw(t, "text")
		} else {
			op.JSON = rapid.SampledFrom([]string{"2", `"s"`, "null"}).Draw(t, "json")
		}
	case Rename:
		op.Name = drawName(t).meant
	}
	if op.Kind != Rename && rapid.IntRange(0, 2).Draw(t, "last") == 0 {
		path.WriteString(rapid.SampledFrom([]string{"[]", "[0]", "[1]"}).Draw(t, "index"))
	}
	op.Path = path.String()
	return op
}

func modelValue(op Op) string {
	if op.JSON != "" {
		return op.JSON
	}
	return map[string]string{"${tenant}": `"acme"`, "${nobody}": "null", "x": `"x"`}[op.Text]
}

// TestModel: a program does to a document what its operations do one after the other to the tree, and writes what it does
// not touch as it was written.
func TestModel(t *testing.T) {
	joined, changed := 0, 0 // programs with fewer passes than operations; documents that an operation changed
	check := func(t *rapid.T) {
		doc := drawTree(t, 4)
		var ops []Op
		want := doc
		for range rapid.IntRange(0, 5).Draw(t, "ops") {
			op := drawOp(t)
			path, err := parsePath(op.Path)
			if err != nil {
				t.Fatal(err)
			}
			if op.Kind == Rename && path[len(path)-1].name == op.Name {
				continue
			}
			ops = append(ops, op)
			want = want.do(op, path, modelValue(op))
		}
		p, err := Compile(ops, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		var src strings.Builder
		doc.print(&src, func() string { return rapid.SampledFrom([]string{"", "", " ", "\n\t"}).Draw(t, "space") })
		got, err := p.Apply(nil, []byte(src.String()), dimensions, nil)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, got); err != nil {
			t.Fatalf("%s became %s: %v", src.String(), got, err)
		}
		if compact.String() != want.String() {
			t.Fatalf("%+v\nof   %s\ngot  %s\nwant %s", ops, src.String(), compact.String(), want)
		}
		if want.String() == doc.String() && len(ops) == 0 && string(got) != src.String() {
			t.Fatalf("%q became %q", src.String(), got)
		}
		if len(p.passes) < len(ops) {
			joined++
		}
		if want.String() != doc.String() {
			changed++
		}
	}
	for range 10 { // cases are small, and what matters in them is rare
		rapid.Check(t, check)
	}
	if joined < 100 || changed < 100 {
		t.Errorf("the cases are poor: %d joined passes, %d changed documents", joined, changed)
	}
}
