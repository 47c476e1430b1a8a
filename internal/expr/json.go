package expr

import (
	"encoding/json"
	"math"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
	"cel.dev/cel-go/interpreter"
)

// A jsonAdapter makes values of CEL of what encoding/json decodes. A number is an int if it is whole and fits, however it
// is written, and a double otherwise.
type jsonAdapter struct{ types.Adapter }

// NativeToValue implements types.Adapter.
func (a jsonAdapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case float64:
		return number(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return types.Int(n)
		}
		f, err := v.Float64()
		if err != nil {
			return types.NewErr("a number of the JSON is none, or too large")
		}
		return number(f)
	case string:
		return value(v)
	case []any:
		return array{types.NewList(a, v)}
	case map[string]any:
		return object{types.NewMap(a, v)}
	}
	return a.Adapter.NativeToValue(v)
}

func number(f float64) ref.Val {
	if f == math.Trunc(f) && f >= math.MinInt64 && f < -math.MinInt64 {
		return types.Int(f)
	}
	return types.Double(f)
}

// An array is a list of the JSON. It can be walked and searched, which the meter counts, but not compared as a whole,
// which it does not.
type array struct{ traits.Lister }

// Equal implements ref.Val.
func (array) Equal(other ref.Val) ref.Val { return notWhole(other) }

// An object is a map of the JSON. It can only be asked by name: its order is random, so that walking it would give a
// different result each time, and comparing it as a whole costs what the meter does not count.
type object struct{ traits.Mapper }

// Equal implements ref.Val.
func (object) Equal(other ref.Val) ref.Val { return notWhole(other) }

// Iterator implements traits.Iterable.
func (object) Iterator() traits.Iterator {
	panic(interpreter.EvalCancelledError{Message: "an object of the JSON can only be asked by name, not listed"})
}

// notWhole compares a list or a map with another value: it differs from whatever is neither. An error as the result would
// not do, since CEL's own lists pass over the errors of their elements when they compare themselves; so a panic ends the
// evaluation, as the meter's does.
func notWhole(other ref.Val) ref.Val {
	switch other.(type) {
	case traits.Lister, traits.Mapper:
		panic(interpreter.EvalCancelledError{Message: "lists and objects of the JSON cannot be compared as a whole"})
	}
	return types.False
}
