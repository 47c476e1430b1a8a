package expr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A Response is what a settle expression looks at, besides the request. It is asked only for what an evaluation gets to,
// and for its JSON once. Strings may be views that die when the exchange ends.
type Response interface {
	Status() int
	Bytes() int64                              // of the body sent to the client
	ResponseHeader(name string) (string, bool) // first value; name in lower case

	// JSON returns the body as encoding/json decodes it into an any: nil, a bool, a float64 or json.Number, a string,
	// []any or map[string]any. The caller bounds how long a body it decodes, say to 1 MiB. An error says that there is
	// no JSON, or too much.
	JSON() (any, error)

	// Messages returns how many messages have passed either way so far; not ok if the exchange is of a kind that has none.
	Messages() (in, out int64, ok bool)
}

// Needs is what a program reads that is known only at the end of the body. What an evaluation would not get to counts.
type Needs struct{ Bytes, JSON, Messages bool }

// A Settle is a compiled settle expression. It is immutable and safe for concurrent use.
type Settle struct {
	env   *Env
	cel   cel.Program
	needs Needs
	dims  []int
	reads Reads
	src   string
}

// CompileSettle checks src and returns a program that gives the cost of an exchange. It may give an int, a double, a
// string of digits, or something of the JSON that turns out to be one of these. Errors are as those of Compile.
//
// Every settle program is metered, so that none is refused because its worst case is not known. Refused is what Compile
// refuses besides, and to compare lists or maps as a whole, which the meter does not count.
func (e *Env) CompileSettle(src string) (s *Settle, err error) {
	defer catch(&err)
	in, err := e.settle()
	if err != nil {
		return nil, err
	}
	checked, err := in.check(src, settled)
	if err != nil {
		return nil, err
	}
	if f, ok := comparison(checked); ok {
		return nil, errors.New(position(checked, src, f.id) + f.msg)
	}
	prg, err := in.cel.Program(checked, append([]cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}, metered...)...)
	if err != nil {
		return nil, fmt.Errorf("column 1: %s", oneLine(err.Error()))
	}
	s = &Settle{env: in, cel: prg, src: src, dims: in.dimensions(checked), reads: readsOf(checked)}
	for _, ref := range checked.NativeRep().ReferenceMap() {
		switch strings.TrimPrefix(ref.Name, ".") {
		case varBytes:
			s.needs.Bytes = true
		case varJSON:
			s.needs.JSON = true
		case varMessagesIn, varMessagesOut:
			s.needs.Messages = true
		}
	}
	return s, nil
}

// comparison returns the first comparison of lists or maps.
func comparison(checked *cel.Ast) (fault, bool) {
	whole := func(n ast.Expr) bool { return holdsWhole(checked.NativeRep().GetType(n.ID())) }
	for _, n := range ast.MatchDescendants(ast.NavigateAST(checked.NativeRep()), ast.KindMatcher(ast.CallKind)) {
		call := n.AsCall()
		args := call.Args()
		switch call.FunctionName() {
		case operators.Equals, operators.NotEquals:
			if !whole(args[0]) || !whole(args[1]) {
				continue
			}
		case operators.In:
			if !whole(args[0]) {
				continue
			}
		default:
			continue
		}
		return fault{n.ID(), "lists and maps cannot be compared as a whole: compare elements, fields, or size()"}, true
	}
	return fault{}, false
}

// holdsWhole reports whether t is a list or a map, or an optional of one.
func holdsWhole(t *types.Type) bool {
	switch t.Kind() {
	case types.ListKind, types.MapKind:
		return true
	case types.OpaqueKind: // an optional
		for _, p := range t.Parameters() {
			if holdsWhole(p) {
				return true
			}
		}
	}
	return false
}

// Needs returns what the program reads that is known only at the end of the body.
func (s *Settle) Needs() Needs { return s.needs }

// Source returns the expression as it was compiled.
func (s *Settle) Source() string { return s.src }

// Cost evaluates the cost of the exchange that r and resp are of. A double is rounded up, and blanks around a string's
// digits do not count. Whatever is negative, does not fit, or is no number, is an error; so are a missing header field
// or a missing field of the JSON, a JSON that cannot be had, and the bound on the cost. An error's text is as that of
// [Program.Bool]. Neither r nor resp is kept. It takes about 250 ns and three allocations for a header field or a field of
// the JSON, besides decoding it.
func (s *Settle) Cost(r Request, resp Response) (int64, error) {
	out := outcomes.Get().(*outcome)
	out.env, out.request, out.response = s.env, r, resp
	v, _, err := s.cel.Eval(out)
	out.env, out.request, out.response = nil, nil, nil
	out.json, out.jsonErr, out.decoded = nil, nil, false
	outcomes.Put(out)
	if err != nil {
		return 0, errors.New(oneLine(err.Error()))
	}
	n, err := amount(v)
	switch {
	case err != nil:
		return 0, err
	case n < 0:
		return 0, fmt.Errorf("a cost of %d is negative", n)
	}
	return n, nil
}

// amount reads the result of a settle expression.
func amount(v ref.Val) (int64, error) {
	switch v := v.(type) {
	case types.Int:
		return int64(v), nil
	case types.Double:
		f := math.Ceil(float64(v))
		switch {
		case v < 0: // -0.5 too
			return 0, fmt.Errorf("a cost of %g is negative", float64(v))
		case f >= 0 && f < -math.MinInt64:
			return int64(f), nil
		}
		return 0, fmt.Errorf("a cost of %g is no number, or too large", float64(v))
	case types.String:
		n, err := strconv.ParseInt(strings.Trim(string(v), " \t"), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("a cost of %.100q is no whole number, or too large", string(v))
		}
		return n, nil
	}
	return 0, fmt.Errorf("the expression gave a %s, not an int, a double, or a string of digits", v.Type().TypeName())
}

// An outcome shows a request and its response to CEL.
type outcome struct {
	input
	fields fields // of the response

	json    any // what the response's JSON() gave, once decoded
	jsonErr error
	decoded bool
}

func newOutcome() *outcome {
	out := &outcome{}
	out.bind()
	out.fields = fields{in: &out.input, get: func(in *input, name string) (string, bool) { return in.response.ResponseHeader(name) }, lower: true}
	return out
}

// ResolveName implements cel.Activation.
func (out *outcome) ResolveName(name string) (any, bool) {
	switch name {
	case varStatus:
		return types.Int(out.response.Status()), true
	case varBytes:
		return types.Int(out.response.Bytes()), true
	case varMessagesIn, varMessagesOut:
		in, sent, ok := out.response.Messages()
		switch {
		case !ok:
			return errNoMessages, true
		case name == varMessagesIn:
			return types.Int(in), true
		}
		return types.Int(sent), true
	case varResponseHeaders:
		return &out.fields, true
	case varJSON:
		if !out.decoded {
			out.json, out.jsonErr = out.response.JSON()
			out.decoded = true
		}
		if out.jsonErr != nil {
			return types.WrapErr(out.jsonErr), true
		}
		return out.json, true
	}
	return out.input.ResolveName(name)
}

var errNoMessages = types.NewErr("the request is of a kind that has no messages")

var outcomes = sync.Pool{New: func() any { return newOutcome() }}

// Uses returns the indices of the dimensions that the expression can read, ascending. The caller must not change the slice.
func (s *Settle) Uses() (dims []int) { return s.dims }

// Reads returns what of the request the expression asks for by literal names. The caller must not change it.
func (s *Settle) Reads() Reads { return s.reads }
