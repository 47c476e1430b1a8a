package expr

import (
	"fmt"
	"reflect"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// An input shows a request to CEL, which asks for variables by name.
type input struct {
	env            *Env
	request        Request
	response       Response // nil but in an outcome
	headers, query fields
}

func newInput() *input {
	in := &input{}
	in.bind()
	return in
}

// bind lets the fields ask whatever request in has at the time.
func (in *input) bind() {
	in.headers = fields{in: in, get: func(in *input, name string) (string, bool) { return in.request.Header(name) }, lower: true}
	in.query = fields{in: in, get: func(in *input, name string) (string, bool) { return in.request.Query(name) }}
}

// ResolveName implements cel.Activation. A dimension that the request does not have is "".
func (in *input) ResolveName(name string) (any, bool) {
	switch name {
	case varMethod:
		return value(in.request.Method()), true
	case varHost:
		return value(in.request.Host()), true
	case varPath:
		return value(in.request.Path()), true
	case varHeaders:
		return &in.headers, true
	case varQuery:
		return &in.query, true
	}
	i, ok := in.env.dims[name]
	if !ok {
		return nil, false
	}
	s, _ := in.request.Dimension(i)
	return value(s), true
}

// Parent implements cel.Activation.
func (in *input) Parent() cel.Activation { return nil }

// value hands a string that strangers chose to CEL. The bounds on the cost hold for strings of MaxValue at most.
func value(s string) ref.Val {
	if len(s) > MaxValue {
		return types.NewErr("a string of %d bytes is more than the %d an expression may look at", len(s), MaxValue)
	}
	return types.String(s)
}

// fields are the header fields or the query of a request or a response as a CEL map, asked lazily. It knows no keys but those it is
// asked for; compile refuses expressions that would list, count or compare them.
type fields struct {
	in    *input
	get   func(in *input, name string) (string, bool)
	lower bool // keys are taken in any case
}

var _ traits.Mapper = (*fields)(nil)

// Find implements traits.Mapper.
func (f *fields) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return types.MaybeNoSuchOverloadErr(key), false
	}
	s := string(name)
	if f.lower {
		s = strings.ToLower(s)
	}
	s, ok = f.get(f.in, s)
	if !ok {
		return nil, false
	}
	v := value(s)
	return v, !types.IsError(v)
}

// Get implements traits.Indexer.
func (f *fields) Get(key ref.Val) ref.Val {
	v, found := f.Find(key)
	if v == nil && !found {
		return types.NewErr("no such key: %v", key)
	}
	return v
}

// Contains implements traits.Container.
func (f *fields) Contains(key ref.Val) ref.Val {
	v, found := f.Find(key)
	if v != nil && types.IsError(v) {
		return v
	}
	return types.Bool(found)
}

// Type implements ref.Val.
func (f *fields) Type() ref.Type { return types.MapType }

// Value implements ref.Val.
func (f *fields) Value() any { return f }

// Equal implements ref.Val.
func (f *fields) Equal(ref.Val) ref.Val { return errWhole }

// ConvertToType implements ref.Val.
func (f *fields) ConvertToType(ref.Type) ref.Val { return errWhole }

// ConvertToNative implements ref.Val.
func (f *fields) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("header fields and queries cannot become %v", t)
}

// Iterator implements traits.Iterable.
func (f *fields) Iterator() traits.Iterator {
	panic("BUG: expr: header fields and queries cannot be listed")
}

// Size implements traits.Sizer.
func (f *fields) Size() ref.Val { return types.IntZero }

var errWhole = types.NewErr("header fields and queries can only be asked for by name")
