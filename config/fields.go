package config

import (
	"reflect"
	"strings"
	"sync"
	"time"
)

var (
	durationType = reflect.TypeFor[time.Duration]()
	sizeType     = reflect.TypeFor[Size]()
	percentType  = reflect.TypeFor[Percent]()
	secretType   = reflect.TypeFor[Secret]()
	amountType   = reflect.TypeFor[Amount]()
	windowType   = reflect.TypeFor[Window]()
)

// isKeys says whether a value of type t is keys in the file. Some structs are a single value there.
func isKeys(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && t != amountType && t != windowType
}

// field is what the tags of a struct's field say.
type field struct {
	index    int
	typ      reflect.Type
	key      string   // yaml: the key in the file
	doc      string   // doc: one line for people
	def      string   // default: as it would be written in the file; a list is written a,b
	enum     []string // enum: the only values
	later    string   // later: why any value but the default is refused
	min, max string   // min, max: as they would be written in the file
	required bool     // required: must be given, and not empty; required: unless KEY: if that key is empty
	unless   string   // required: unless KEY
	template string   // template: text or dimensions; ${names} that are no environment variables are left as they are
}

// layout is the fields of one struct in file order, and its value with every default filled in.
type layout struct {
	fields   []field
	keys     []string
	byKey    map[string]*field
	defaults reflect.Value
}

var layouts sync.Map // reflect.Type → *layout

// layoutOf reads the tags of struct type t, once per type.
func layoutOf(t reflect.Type) *layout {
	if l, ok := layouts.Load(t); ok {
		return l.(*layout)
	}
	l := &layout{byKey: map[string]*field{}, defaults: reflect.New(t).Elem()}
	for i := range t.NumField() {
		sf := t.Field(i)
		key := sf.Tag.Get("yaml")
		if !sf.IsExported() || key == "" || key == "-" {
			continue
		}
		f := field{
			index: i, typ: sf.Type, key: key, doc: sf.Tag.Get("doc"), def: sf.Tag.Get("default"), later: sf.Tag.Get("later"),
			min: sf.Tag.Get("min"), max: sf.Tag.Get("max"),
			required: sf.Tag.Get("required") == "true", template: sf.Tag.Get("template"),
		}
		if other, ok := strings.CutPrefix(sf.Tag.Get("required"), "unless "); ok {
			f.required, f.unless = true, other
		}
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
		}
		l.fields = append(l.fields, f)
	}
	for i := range l.fields {
		f := &l.fields[i]
		l.keys = append(l.keys, f.key)
		l.byKey[f.key] = f
		setDefault(l.defaults.Field(f.index), f)
	}
	got, _ := layouts.LoadOrStore(t, l)
	return got.(*layout)
}

// setDefault stores into v what a field holds that the file does not give.
func setDefault(v reflect.Value, f *field) {
	switch {
	case isKeys(f.typ):
		v.Set(layoutOf(f.typ).defaults)
	case f.def == "" || f.typ.Kind() == reflect.Interface:
	case f.typ.Kind() == reflect.Slice:
		v.Set(reflect.ValueOf(strings.Split(f.def, ",")))
	default:
		if problem := setScalar(v, f.def); problem != "" {
			panic("BUG: default of " + f.key + ": " + problem)
		}
	}
}
