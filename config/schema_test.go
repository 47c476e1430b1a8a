package config

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("weir.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("weir.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance reads YAML as the values a JSON Schema speaks of.
func instance(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestSchemaAcceptsWhatParses(t *testing.T) {
	s := compiledSchema(t)
	files, err := filepath.Glob("testdata/valid/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, examplePath) {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(instance(t, data)); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// TestSchemaRefusesWhatItCanSee validates the corpus files whose faults are of keys, types, units, ranges and enums.
func TestSchemaRefusesWhatItCanSee(t *testing.T) {
	s := compiledSchema(t)
	for _, name := range []string{
		"not-keys", "unknown-key", "wrong-type", "bool-words", "duration-units", "size-units", "percent-units", "out-of-range",
		"enum", "missing-required", "empty-names", "later-blocks", "later-keys", "scopes", "lists-of-one", "number-forms",
		"backpressure-of-another-kind", "backpressure-unknown-keys", "backpressure-off-by-word", "load-threshold-percent", "load-threshold-zero",
		"load-threshold-words", "signals", "signals-out-of-their-range", "shedding-rate", "multiplier", "concurrency-algorithm", "concurrency-numbers",
		"queue-numbers", "pool-queue", "priority", "hold", "degrade-stale",
	} {
		files, err := filepath.Glob("testdata/faults/*-" + name + ".yaml")
		if err != nil || len(files) != 1 {
			t.Fatalf("%s: %v, %v", name, files, err)
		}
		data, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		if s.Validate(instance(t, data)) == nil {
			t.Errorf("%s is valid", files[0])
		}
	}
}

// TestSchemaRefusesEachFaultyKey gives every key of every struct a value of a wrong type, one at a time, and a neighbour that
// does not exist.
func TestSchemaRefusesEachFaultyKey(t *testing.T) {
	s := compiledSchema(t)
	paths := schemaPaths()
	if len(paths) < 150 {
		t.Fatalf("only %d keys", len(paths))
	}
	for _, p := range paths {
		wrong := any("\x00 no such value")
		if p.field.typ.Kind() == reflect.String && p.field.enum == nil && p.field.later == "" {
			wrong = []any{"a list"}
		}
		if s.Validate(p.with(p.field.key, wrong)) == nil {
			t.Errorf("%s: %q is valid", p, wrong)
		}
		if s.Validate(p.with(p.field.key+"x", "1")) == nil {
			t.Errorf("%sx is valid", p)
		}
	}
}

// schemaPath is a key of the file: listeners, [], limits, body.
type schemaPath struct {
	steps []string // of the struct that holds it
	field *field
}

func (p schemaPath) String() string {
	return strings.ReplaceAll(strings.Join(append(p.steps[:len(p.steps):len(p.steps)], p.field.key), "."), ".[]", "[]")
}

// with returns a document that has only value at key beside the path's field.
func (p schemaPath) with(key string, value any) any {
	v := any(map[string]any{key: value})
	for i := len(p.steps) - 1; i >= 0; i-- {
		if p.steps[i] == "[]" {
			v = []any{v}
		} else {
			v = map[string]any{p.steps[i]: v}
		}
	}
	return v
}

// schemaPaths returns every key of the file.
func schemaPaths() []schemaPath {
	var all []schemaPath
	var walk func(t reflect.Type, steps []string)
	walk = func(t reflect.Type, steps []string) {
		l := layoutOf(t)
		for i := range l.fields {
			f := &l.fields[i]
			all = append(all, schemaPath{steps, f})
			below := append(steps[:len(steps):len(steps)], f.key)
			inner := f.typ
			if inner.Kind() == reflect.Slice {
				inner, below = inner.Elem(), append(below, "[]")
			}
			if inner.Kind() == reflect.Pointer {
				inner = inner.Elem()
			}
			if isKeys(inner) {
				walk(inner, below)
			}
		}
	}
	walk(reflect.TypeFor[Config](), nil)
	return all
}
