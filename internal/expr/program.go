package expr

import (
	"errors"
	"fmt"
	"strings"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// A Request is what expressions look at. It is asked only for what an evaluation gets to. Strings may be views that
// die when the request ends.
type Request interface {
	Method() string
	Host() string
	Path() string
	Header(name string) (string, bool) // first value; name in lower case
	Query(name string) (string, bool)  // first value, percent-decoded
	Dimension(i int) (string, bool)    // by its index in NewEnv; false if the request has none
}

// A Program is a compiled expression. It is immutable and safe for concurrent use.
type Program struct {
	env  *Env
	cel  cel.Program
	kind Kind
	dims []int
	src  string

	reads   Reads
	metered bool     // its worst case is more than maxCost
	implied Equality // without values: none
	exact   bool
}

// Uses returns the indices of the dimensions that the expression can read, ascending. A loop variable that hides a
// dimension counts as the dimension. The caller must not change the slice.
func (p *Program) Uses() (dims []int) { return p.dims }

// Reads are the header fields (in lower case) and parameters of a request that an expression asks for by literal names.
type Reads struct{ Headers, Query []string }

// Reads returns what the expression asks for. The caller must not change it.
func (p *Program) Reads() Reads { return p.reads }

// Source returns the expression as it was compiled.
func (p *Program) Source() string { return p.src }

// Bool evaluates a condition for r. An error is a fact about the request, such as a header that was indexed but is
// missing, or the bound on the cost; the result is then false. Its text is one line, and may repeat a part of the
// request: treat it as untrusted, and as secret as the request. The cost is about 100 ns, and one allocation of 16 bytes
// for every string of the request that is looked at; an error costs more.
//
// Panics if the program was not compiled as Bool; so do String and Int.
func (p *Program) Bool(r Request) (bool, error) {
	v, err := p.eval(r, Bool)
	if err != nil {
		return false, err
	}
	b, ok := v.(types.Bool)
	if !ok {
		return false, wrongType(v, Bool)
	}
	return bool(b), nil
}

// String evaluates a dimension's value for r. The result is a copy that outlives the request.
func (p *Program) String(r Request) (string, error) {
	v, err := p.eval(r, String)
	if err != nil {
		return "", err
	}
	s, ok := v.(types.String)
	if !ok {
		return "", wrongType(v, String)
	}
	return strings.Clone(string(s)), nil
}

// Int evaluates a cost for r. A negative one is an error.
func (p *Program) Int(r Request) (int64, error) {
	v, err := p.eval(r, Int)
	if err != nil {
		return 0, err
	}
	n, ok := v.(types.Int)
	switch {
	case !ok:
		return 0, wrongType(v, Int)
	case n < 0:
		return 0, fmt.Errorf("a cost of %d is negative", n)
	}
	return int64(n), nil
}

func wrongType(v ref.Val, want Kind) error {
	return fmt.Errorf("the expression gave a %s, not a %s", v.Type().TypeName(), want)
}

// eval runs the program. Whatever panics inside, the request's own methods too, comes out as an error.
func (p *Program) eval(r Request, k Kind) (v ref.Val, err error) {
	if p.kind != k {
		panic(fmt.Sprintf("BUG: expr: %v asked of a program that gives %v", k, p.kind))
	}
	in := inputs.Get().(*input)
	in.env, in.request = p.env, r
	v, _, err = p.cel.Eval(in)
	in.env, in.request = nil, nil
	inputs.Put(in)
	if err != nil {
		return nil, errors.New(oneLine(err.Error()))
	}
	return v, nil
}

// oneLine folds white space, and bounds what of a request an error may repeat.
func oneLine(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

var inputs = sync.Pool{New: func() any { return newInput() }}
