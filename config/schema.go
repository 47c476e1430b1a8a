package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// schema is a JSON Schema, or a part of one.
type schema = map[string]any

// Schema returns the JSON Schema (draft 2020-12) of the file, for editors. It is made from the tags of the structs: it knows
// keys, types, units, ranges and enums, and refuses what this version does not have. It cannot know what Parse alone sees:
// references, addresses, files and expressions. A variable is accepted wherever a single value stands.
func Schema() []byte {
	defs := schema{}
	root := structSchema(reflect.TypeFor[Config](), defs)
	root["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	root["title"] = "weir configuration"
	defs["variable"] = schema{"type": "string", "pattern": `\$\{[A-Z_][A-Z0-9_]*(:-[^}]*)?\}`}
	root["$defs"] = defs
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		panic("BUG: marshal schema: " + err.Error())
	}
	return append(text, '\n')
}

func structSchema(t reflect.Type, defs schema) schema {
	properties := schema{}
	var required []string
	var either []schema
	for i := range layoutOf(t).fields {
		f := &layoutOf(t).fields[i]
		properties[f.key] = fieldSchema(f, defs)
		switch {
		case f.unless != "":
			either = []schema{{"required": []string{f.key}}, {"required": []string{f.unless}}}
		case f.required:
			required = append(required, f.key)
		}
	}
	s := schema{"type": "object", "properties": properties, "additionalProperties": false}
	if required != nil {
		s["required"] = required
	}
	if either != nil {
		s["anyOf"] = either
	}
	return s
}

// fieldSchema returns the schema of a field with its documentation.
func fieldSchema(f *field, defs schema) schema {
	s := valueSchema(f, f.typ, defs)
	doc := f.doc
	if f.later != "" {
		doc += " (" + f.later + ")"
		s = idleSchema(f, s)
	}
	if !f.required {
		s = schema{"anyOf": []schema{s, {"type": "null"}}} // a key with nothing after it has its default
	}
	s["description"] = strings.TrimSpace(doc)
	if f.def != "" && f.typ.Kind() != reflect.Interface {
		s["default"] = defaultOf(f)
	}
	return s
}

func defaultOf(f *field) any {
	switch f.typ.Kind() {
	case reflect.Slice:
		return strings.Split(f.def, ",")
	case reflect.Bool:
		return f.def == "true"
	case reflect.Float64:
		if r, problem := parseRatio(f.def); problem == "" && f.typ == ratioType {
			return float64(r)
		}
	case reflect.Int, reflect.Int64:
		if n, err := strconv.ParseInt(f.def, 10, 64); err == nil && f.typ != durationType {
			return n
		}
	}
	return f.def
}

const percentPattern = `^(100(\.0*)?|[0-9]{1,2}(\.[0-9]+)?)%$`

const durationPattern = `^([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+$`

// valueSchema returns the schema of a value of type t in field f.
func valueSchema(f *field, t reflect.Type, defs schema) schema {
	if f.words != nil {
		plain, words := *f, []any{}
		plain.words = nil
		for _, w := range f.words {
			words = append(words, w.text)
		}
		return schema{"anyOf": []schema{valueSchema(&plain, t, defs), {"enum": words}}}
	}
	switch t {
	case durationType:
		return orVariable(schema{"type": "string", "pattern": durationPattern}, schema{"const": 0})
	case sizeType:
		return orVariable(schema{"type": "string", "pattern": `^[0-9]+(B|KiB|MiB|GiB|TiB)?$`}, schema{"type": "integer", "minimum": 0})
	case percentType:
		return orVariable(schema{"type": "string", "pattern": percentPattern}, schema{"const": 0})
	case ratioType:
		return orVariable(numberSchema(f), schema{"type": "string", "pattern": percentPattern})
	case amountType:
		return orVariable(integerSchema(f), schema{"type": "string", "pattern": percentPattern})
	case windowType:
		return orVariable(schema{"enum": calendar}, schema{"type": "string", "pattern": durationPattern})
	}
	switch t.Kind() {
	case reflect.Pointer:
		return valueSchema(f, t.Elem(), defs)
	case reflect.Struct:
		if defs[t.Name()] == nil {
			defs[t.Name()] = schema{} // ends the recursion of a type that holds itself
			defs[t.Name()] = structSchema(t, defs)
		}
		ref := schema{"$ref": "#/$defs/" + t.Name()}
		if alone := layoutOf(t).alone; alone != nil {
			return schema{"anyOf": []schema{valueSchema(alone, alone.typ, defs), ref}}
		}
		return ref
	case reflect.Slice:
		element := field{key: f.key, typ: t.Elem()}
		return schema{"type": "array", "items": valueSchema(&element, t.Elem(), defs)}
	case reflect.Bool:
		return orVariable(schema{"type": "boolean"})
	case reflect.Int, reflect.Int64:
		return orVariable(integerSchema(f))
	}
	if f.enum != nil {
		return orVariable(schema{"enum": enumValues(f)})
	}
	s := schema{"type": []string{"string", "number", "boolean"}} // a header value of 1 is the text 1
	if f.required {
		s["minLength"] = 1
	}
	return s
}

// enumValues returns the values of an enum; one that reads as a number in YAML is that number too.
func enumValues(f *field) []any {
	var values []any
	if f.def == "" && !f.required {
		values = append(values, "")
	}
	for _, e := range f.enum {
		values = append(values, e)
		if n, err := strconv.ParseFloat(e, 64); err == nil {
			values = append(values, n)
		}
	}
	return values
}

func integerSchema(f *field) schema {
	s := schema{"type": "integer"}
	if n, err := strconv.ParseInt(f.min, 10, 64); err == nil {
		s["minimum"] = n
	}
	if n, err := strconv.ParseInt(f.max, 10, 64); err == nil {
		s["maximum"] = n
	}
	return s
}

// numberSchema is of a Ratio.
func numberSchema(f *field) schema {
	least, most := Ratio(0), Ratio(1)
	for _, bound := range []struct {
		text string
		to   *Ratio
	}{{f.min, &least}, {f.max, &most}} {
		if r, problem := parseRatio(bound.text); problem == "" {
			*bound.to = r
		}
	}
	return schema{"type": "number", "minimum": float64(least), "maximum": float64(most)}
}

func orVariable(alternatives ...schema) schema {
	return schema{"anyOf": append(alternatives, schema{"$ref": "#/$defs/variable"})}
}

// idleSchema accepts only what switches a feature of a later version off, or its defaults.
func idleSchema(f *field, s schema) schema {
	switch f.typ.Kind() {
	case reflect.Interface:
		idle := []schema{
			{"enum": []any{nil, ""}},
			{"type": "array", "maxItems": 0},
			{"type": "object", "maxProperties": 0},
			{"type": "object", "properties": schema{"enabled": schema{"const": false}}, "required": []string{"enabled"}},
		}
		var def any
		if err := yaml.Unmarshal([]byte(f.def), &def); err == nil && def != nil {
			idle = append(idle, constSchema(def))
		}
		return schema{"anyOf": idle}
	case reflect.Struct:
		s["properties"] = defaultsSchema(f.typ)
		return s
	}
	fresh := reflect.New(f.typ).Elem()
	setDefault(fresh, f)
	return schema{"enum": []any{plainly.dump(fresh)}}
}

// constSchema accepts def, and of an object any part of it.
func constSchema(def any) schema {
	m, isMap := def.(map[string]any)
	if !isMap {
		return schema{"enum": []any{def, fmt.Sprint(def)}}
	}
	properties := schema{}
	for key, value := range m {
		properties[key] = schema{"const": value}
	}
	return schema{"type": "object", "properties": properties, "additionalProperties": false}
}

// defaultsSchema accepts the defaults of a struct's fields.
func defaultsSchema(t reflect.Type) schema {
	l, properties := layoutOf(t), schema{}
	for i := range l.fields {
		f := &l.fields[i]
		properties[f.key] = schema{"const": plainly.dump(l.defaults.Field(f.index))}
	}
	return properties
}
