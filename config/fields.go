package config

import (
	"reflect"
	"strconv"
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
	ratioType    = reflect.TypeFor[Ratio]()
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
	words    []word   // words: names of values
	write    string   // write: what a value that cannot be read should be
	template string   // template: text or dimensions; ${names} that are no environment variables are left as they are
}

// word is a name of a value: off.
type word struct {
	text  string
	value int64
}

// layout is the fields of one struct in file order, and its value with every default filled in.
type layout struct {
	fields   []field
	keys     []string
	byKey    map[string]*field
	alone    *field // the one that a single value stands for, or nil
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
			required: sf.Tag.Get("required") == "true", write: sf.Tag.Get("write"), template: sf.Tag.Get("template"),
		}
		if other, ok := strings.CutPrefix(sf.Tag.Get("required"), "unless "); ok {
			f.required, f.unless = true, other
		}
		f.words = parseWords(sf.Tag.Get("words"))
		if e := sf.Tag.Get("enum"); e != "" {
			f.enum = strings.Split(e, ",")
		}
		l.fields = append(l.fields, f)
	}
	for i := range l.fields {
		f := &l.fields[i]
		l.keys = append(l.keys, f.key)
		l.byKey[f.key] = f
		if t.Field(f.index).Tag.Get("alone") == "true" {
			l.alone = f
		}
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
		if problem := f.set(v, f.def); problem != "" {
			panic("BUG: default of " + f.key + ": " + problem)
		}
	}
}

// parseWords reads auto=0,off=-1.
func parseWords(tag string) (words []word) {
	for part := range strings.SplitSeq(tag, ",") {
		if text, value, ok := strings.Cut(part, "="); ok {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				panic("BUG: words " + tag)
			}
			words = append(words, word{text, n})
		}
	}
	return words
}

// set stores text into v, a word or what setScalar takes. It returns what is wrong and what to write, or "".
func (f *field) set(v reflect.Value, text string) string {
	for _, w := range f.words {
		if w.text != text {
			continue
		}
		if v.CanFloat() {
			v.SetFloat(float64(w.value))
		} else {
			v.SetInt(w.value)
		}
		return ""
	}
	problem := setScalar(v, text)
	if i := strings.LastIndex(problem, ": write "); i >= 0 && f.write != "" {
		problem = problem[:i] + ": write " + f.write
	}
	if problem == "" {
		problem = f.check(v, text)
	}
	if problem != "" && f.words != nil {
		problem += ", or " + f.wordList(" or ")
	}
	return problem
}

// wordFor returns the word that v is written as, or "".
func (f *field) wordFor(v reflect.Value) string {
	for _, w := range f.words {
		if (v.CanFloat() && v.Float() == float64(w.value)) || (v.CanInt() && v.Int() == w.value) {
			return w.text
		}
	}
	return ""
}

func (f *field) wordList(between string) string {
	texts := make([]string, len(f.words))
	for i, w := range f.words {
		texts[i] = w.text
	}
	return strings.Join(texts, between)
}
