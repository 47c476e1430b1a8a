package config

import (
	"fmt"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// unused matches the mark of a key that the example shows but does not use: a # with no space after it.
var unused = regexp.MustCompile(`(?m)^(\s*)#(\S)`)

// unusedMore matches the lines that continue one: a # and spaces, then a key or an item.
var unusedMore = regexp.MustCompile(`(?m)^(\s*)#(  \s*(?:- )?[a-z_0-9]+:.*)$`)

// TestExampleHasEveryKey parses the example with every unused key in use and looks for each key of the schema in its place.
func TestExampleHasEveryKey(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	text := unused.ReplaceAllString(string(data), "$1$2")
	text = unusedMore.ReplaceAllString(text, "$1$2")
	var doc yaml.Node
	if err := yaml.Unmarshal([]byte(text), &doc); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	shown := map[*field]bool{} // the keys of a type that stands in several places are shown at one of them
	for _, p := range schemaPaths() {
		if anyHas(doc.Content[0], append(p.steps[:len(p.steps):len(p.steps)], p.field.key)) {
			shown[p.field] = true
		}
	}
	for _, p := range schemaPaths() {
		if !shown[p.field] {
			t.Errorf("%s is not in the example", p)
		}
	}
}

// anyHas says whether the node, or any item of the lists on the way, has the steps.
func anyHas(n *yaml.Node, steps []string) bool {
	if len(steps) == 0 {
		return true
	}
	switch n.Kind {
	case yaml.SequenceNode:
		for _, item := range n.Content {
			if steps[0] == "[]" && anyHas(item, steps[1:]) {
				return true
			}
		}
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == steps[0] && anyHas(n.Content[i+1], steps[1:]) {
				return true
			}
		}
	}
	return false
}

const referencePath = "../docs/config.md"

// TestReference holds docs/config.md to the tags; -update writes it anew.
func TestReference(t *testing.T) {
	got := reference()
	if *update {
		if err := os.WriteFile(referencePath, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not what the types say: run go test ./config -run TestReference -update", referencePath)
	}
}

// reference renders every key as a table per section.
func reference() string {
	var b strings.Builder
	b.WriteString(`# Configuration reference

Every key of the file, made from the types that read it. ` + "`config.example.yaml`" + ` shows the same in its place, and runs;
` + "`weir schema`" + ` prints it as a JSON Schema for editors; ` + "`weir validate -c FILE`" + ` reports every mistake with line and column.

Durations are written ` + "`250ms`, `5s`, `1m`, `24h`" + `; sizes ` + "`512`, `16KiB`, `10MiB`" + `; shares ` + "`20%`" + `; a number from 0 to 1 ` + "`0.8`" + ` or ` + "`80%`" + `. ` + "`${NAME}`" + ` and
` + "`${NAME:-default}`" + ` are environment variables if the name is in capital letters; ` + "`$${`" + ` is a plain ` + "`${`" + `. Secrets may be
` + "`file:/path`" + `. A file is relative to the working directory. A key marked *later* is known and refused, unless it holds its
default or says ` + "`enabled: false`" + `.
`)
	var section func(t reflect.Type, path string)
	section = func(t reflect.Type, path string) {
		l := layoutOf(t)
		title := path
		if path == "" {
			title = "top level"
		}
		fmt.Fprintf(&b, "\n## %s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title)
		for i := range l.fields {
			f := &l.fields[i]
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.key, valueCell(f), defaultCell(f), meaningCell(f))
		}
		for i := range l.fields {
			f := &l.fields[i]
			inner, suffix := f.typ, ""
			if inner.Kind() == reflect.Slice {
				inner, suffix = inner.Elem(), "[]"
			}
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if isKeys(inner) {
				section(inner, strings.TrimPrefix(path+"."+f.key+suffix, "."))
			}
		}
	}
	section(reflect.TypeFor[Config](), "")
	return b.String()
}

func valueCell(f *field) string {
	t, list := f.typ, ""
	if t.Kind() == reflect.Slice {
		t, list = t.Elem(), "list of "
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	name := map[reflect.Type]string{durationType: "duration", sizeType: "size", percentType: "share", secretType: "secret",
		amountType: "number or share", ratioType: "number", windowType: "duration or period"}[t]
	if name == "" {
		name = map[reflect.Kind]string{reflect.String: "text", reflect.Bool: "true or false", reflect.Int: "number", reflect.Int64: "number",
			reflect.Struct: "keys", reflect.Interface: "keys"}[t.Kind()]
	}
	if f.enum != nil {
		name = "`" + strings.Join(f.enum, "` `") + "`"
	}
	if isKeys(t) && layoutOf(t).alone != nil {
		name = "`" + strings.Join(layoutOf(t).alone.enum, "` `") + "`, or keys"
	}
	switch {
	case f.min != "" && f.max != "":
		name += ", " + f.min + " to " + f.max
	case f.min != "":
		name += ", " + f.min + " or more"
	case f.max != "":
		name += ", up to " + f.max
	}
	if f.words != nil {
		name += ", or `" + f.wordList("` or `") + "`"
	}
	return list + name
}

func defaultCell(f *field) string {
	switch {
	case f.unless != "":
		return "**required** without `" + f.unless + "`"
	case f.required:
		return "**required**"
	case isKeys(f.typ) && layoutOf(f.typ).alone != nil:
		return "`" + layoutOf(f.typ).alone.def + "`"
	case f.typ.Kind() == reflect.Bool && f.def == "":
		return "`false`"
	case f.def == "" || f.typ.Kind() == reflect.Interface:
		return ""
	case f.typ.Kind() == reflect.Slice:
		return "`[" + strings.ReplaceAll(f.def, ",", ", ") + "]`"
	}
	return "`" + f.def + "`"
}

func meaningCell(f *field) string {
	doc := f.doc
	if f.later != "" {
		doc += " *(later: " + f.later + ")*"
	}
	return strings.ReplaceAll(doc, "|", `\|`)
}

// TestEveryKeyIsDocumented asks for the text that the schema, the reference and messages show.
func TestEveryKeyIsDocumented(t *testing.T) {
	for _, p := range schemaPaths() {
		if p.field.doc == "" {
			t.Errorf("%s has no doc tag", p)
		}
	}
}

// TestExampleOfWhatIsNotUsed loads the example with its backpressure and shaping in use.
func TestExampleOfWhatIsNotUsed(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	head, tail, ok := strings.Cut(string(data), "\n#backpressure:")
	block, rest, ok2 := strings.Cut(tail, "\ncache:")
	if !ok || !ok2 {
		t.Fatal("the example has no backpressure that is not used")
	}
	block = regexp.MustCompile(`(?m)^#`).ReplaceAllString(block, "")
	c, err := Parse(examplePath, []byte(head+"\nbackpressure:"+block+"\ncache:"+rest), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	if c.Backpressure.Concurrency.Algorithm != "gradient" || len(c.Shaping) != 1 || c.Shaping[0].Guarantee != 1<<20 {
		t.Errorf("got %+v and %+v", c.Backpressure, c.Shaping)
	}
}
