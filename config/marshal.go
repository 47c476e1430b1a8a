package config

import (
	"bytes"
	"encoding/json"
	"reflect"
	"time"

	"go.yaml.in/yaml/v3"
)

// object is keys and values in file order. It marshals as a JSON object and as a YAML mapping.
type object []member

type member struct {
	key   string
	value any // string, bool, int64, float64, object or []any
}

// MarshalJSON writes the members in order.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// MarshalYAML writes the members in order.
func (o object) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, m := range o {
		var key, value yaml.Node
		key.SetString(m.key)
		if err := value.Encode(m.value); err != nil {
			return nil, err
		}
		n.Content = append(n.Content, &key, &value)
	}
	return n, nil
}

// Redacted returns the configuration as it is in force, every default filled in, for showing to people: keys as in the file
// and in its order, durations, sizes and percentages as people write them, secrets as "[redacted]", the content of files as
// their path, values of header fields that came from the environment as the ${NAME} that they came from. It marshals as JSON and as YAML.
func (c *Config) Redacted() any {
	return dumper{Secret.String, c.source.expanded}.dump(reflect.ValueOf(c).Elem())
}

// MarshalJSON writes Redacted.
func (c *Config) MarshalJSON() ([]byte, error) { return json.Marshal(c.Redacted()) }

// MarshalYAML writes Redacted.
func (c *Config) MarshalYAML() (any, error) { return c.Redacted(), nil }

// dumper turns values into objects, lists, strings, numbers and bools.
type dumper struct {
	secret   func(Secret) string
	expanded map[string]string // text of the file by what it was expanded to; header values are shown as the former
}

// plainly shows what defaults and constants of the schema are.
var plainly = dumper{secret: Secret.String}

func (d dumper) dump(v reflect.Value) any {
	switch x := v.Interface().(type) {
	case Secret:
		return d.secret(x)
	case time.Duration:
		return formatDuration(x)
	case Size:
		return x.String()
	case Percent:
		return x.String()
	case Amount:
		if x.Share != 0 {
			return x.String()
		}
		return x.Units
	case Window:
		return x.String()
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.dumpStruct(v)
	case reflect.Pointer:
		return d.dump(v.Elem())
	case reflect.Slice:
		list := make([]any, v.Len())
		for i := range list {
			list[i] = d.dump(v.Index(i))
		}
		return list
	case reflect.Int, reflect.Int64:
		return v.Int()
	case reflect.Float64:
		return v.Float()
	case reflect.Bool:
		return v.Bool()
	}
	return v.String()
}

// dumpStruct leaves out what is not there (a nil pointer, no amount), what this version never has in force, and a body that came from a
// file.
func (d dumper) dumpStruct(v reflect.Value) any {
	l := layoutOf(v.Type())
	if l.alone != nil && isAlone(v, l) {
		return d.dump(v.Field(l.alone.index))
	}
	o := make(object, 0, len(l.fields))
	respond, isRespond := v.Interface().(Respond)
	header, isHeader := v.Interface().(HeaderValue)
	for i := range l.fields {
		f := &l.fields[i]
		value := v.Field(f.index)
		if (f.later != "" && f.enum == nil) || (value.Kind() == reflect.Pointer && value.IsNil()) || (value.Type() == amountType && value.IsZero()) {
			continue
		}
		if text := f.wordFor(value); text != "" {
			o = append(o, member{f.key, text})
			continue
		}
		if isRespond && f.key == "body" && respond.File != "" {
			continue
		}
		if text, ok := d.expanded[header.Value]; ok && isHeader && f.key == "value" {
			o = append(o, member{f.key, text})
			continue
		}
		o = append(o, member{f.key, d.dump(value)})
	}
	return o
}

// isAlone says whether a single value says all that v holds.
func isAlone(v reflect.Value, l *layout) bool {
	for i := range l.fields {
		if f := &l.fields[i]; f != l.alone && !v.Field(f.index).Equal(l.defaults.Field(f.index)) {
			return false
		}
	}
	return true
}
