package config

import (
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// laterValue refuses the value of a feature that is not there yet, unless it says nothing: empty, enabled: false, or the
// documented defaults.
func (d *decoder) laterValue(n *yaml.Node, f *field) {
	var def yaml.Node
	if err := yaml.Unmarshal([]byte(f.def), &def); err != nil {
		panic("BUG: default of " + f.key + ": " + err.Error())
	}
	var idle *yaml.Node
	if len(def.Content) > 0 {
		idle = def.Content[0]
	}
	if !saysNothing(n, idle) {
		d.fault(n, "%s", f.later)
	}
}

// saysNothing says whether a value switches nothing on. def is the documented default, or nil.
func saysNothing(n, def *yaml.Node) bool {
	if n = follow(n); n == nil {
		return false
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value == "" || isNull(n) || same(n, def)
	case yaml.SequenceNode:
		return len(n.Content) == 0
	}
	if enabled := follow(lookup(n, "enabled", 0)); enabled != nil && enabled.Value == "false" {
		return true
	}
	return len(n.Content) == 0 || same(n, def)
}

// same says whether every value that n gives is the one that def has. It goes no deeper than def.
func same(n, def *yaml.Node) bool {
	if n = follow(n); n == nil || def == nil || n.Kind != def.Kind {
		return false
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return n.Value == def.Value
	case yaml.SequenceNode:
		if len(n.Content) != len(def.Content) {
			return false
		}
		for i, item := range n.Content {
			if !same(item, def.Content[i]) {
				return false
			}
		}
		return true
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := follow(n.Content[i])
		if key == nil || !same(n.Content[i+1], lookup(def, key.Value, 0)) {
			return false
		}
	}
	return true
}

// check returns what is wrong with a value of the right type by the field's enum and range, or "".
func (f *field) check(v reflect.Value, text string) string {
	if f.enum != nil && !slices.Contains(f.enum, text) && (text != "" || f.def != "" || f.required) {
		problem := quote(text) + " is not one of " + strings.Join(f.enum, ", ")
		if meant := nearest(text, f.enum); meant != "" {
			problem += ": did you mean " + meant + "?"
		}
		return problem
	}
	if v.Kind() == reflect.Struct {
		if !v.Field(1).IsZero() { // a share, or a period of the calendar
			return ""
		}
		v = v.Field(0)
	}
	if (f.min != "" && less(v, f.limit(f.min))) || (f.max != "" && less(f.limit(f.max), v)) {
		switch {
		case f.max == "":
			return quote(text) + " is out of range: write " + f.min + " or more"
		case f.min == "":
			return quote(text) + " is out of range: write " + f.max + " or less"
		}
		return quote(text) + " is out of range: write " + f.min + " to " + f.max
	}
	return ""
}

// limit reads a bound as a value of the field's type.
func (f *field) limit(text string) reflect.Value {
	t := f.typ
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	v := reflect.New(t).Elem()
	if problem := setScalar(v, text); problem != "" {
		panic("BUG: bound of " + f.key + ": " + problem)
	}
	if v.Kind() == reflect.Struct {
		v = v.Field(0)
	}
	return v
}

func less(a, b reflect.Value) bool {
	if a.CanFloat() {
		return a.Float() < b.Float()
	}
	return a.Int() < b.Int()
}
