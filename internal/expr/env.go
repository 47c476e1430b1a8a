package expr

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/ext"
)

// Kind is what an expression gives.
type Kind uint8

const (
	Bool   Kind = iota // a condition
	String             // the value of a dimension
	Int                // a cost; 0 or more

	settled // a cost, as a settle expression may give it
)

func (k Kind) String() string { return [...]string{"bool", "string", "int", "cost"}[k] }

// fits reports whether an expression of type t gives a k, or may turn out to.
func (k Kind) fits(t *cel.Type) bool {
	switch k {
	case Bool:
		return t.IsExactType(cel.BoolType)
	case String:
		return t.IsExactType(cel.StringType)
	case Int:
		return t.IsExactType(cel.IntType)
	}
	return t.IsExactType(cel.IntType) || t.IsExactType(cel.StringType) || t.IsExactType(cel.DoubleType) || t.IsExactType(cel.DynType)
}

// The variables besides the dimensions. CEL resolves the longest dotted name that is declared, so no types "request" and "response" are needed.
const (
	varMethod  = "request.method"
	varHost    = "request.host"
	varPath    = "request.path"
	varHeaders = "request.headers"
	varQuery   = "request.query"

	varStatus          = "response.status"
	varBytes           = "response.bytes"
	varResponseHeaders = "response.headers"
	varJSON            = "response.json"

	varMessagesIn  = "request.messages" // declared with the response: they are counted by its end
	varMessagesOut = "response.messages"
)

// MaxValue is how many bytes a string of a request or a response may have. A longer one is an evaluation error.
const MaxValue = 16 << 10

// Bounds on an expression, in source and at work. A unit of cost is about 10 bytes of a string looked at or made.
const (
	maxSource      = 8 << 10        // characters
	maxNesting     = 100            // of brackets and operators
	maxReplacement = 32             // bytes of what replace() puts in
	maxStatic      = 10_000_000_000 // worst case over all requests; more is refused at compile
	maxCost        = 200_000        // what one evaluation may spend
)

// fieldsType is the type of header fields and queries.
var fieldsType = cel.MapType(cel.StringType, cel.StringType)

// An Env is what expressions can name: the request and the dimensions. It is immutable and safe for concurrent use.
type Env struct {
	cel    *cel.Env
	dims   map[string]int       // index by name
	names  []string             // everything declared, for hints
	settle func() (*Env, error) // this one and the response, made when first asked for; nil in that one itself

	given    []string // as NewEnv was called
	programs programs
}

// NewEnv returns an environment with these dimensions, each a string variable. Their order gives the indices that
// [Request.Dimension] is asked for and [Program.Uses] returns.
func NewEnv(dimensions []string) (*Env, error) {
	if e := known(dimensions); e != nil {
		return e, nil
	}
	e := &Env{given: slices.Clone(dimensions), dims: make(map[string]int, len(dimensions)), names: []string{varMethod, varHost, varPath, varHeaders, varQuery}}
	opts := []cel.EnvOption{
		ext.Strings(),
		cel.OptionalTypes(),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.ParserExpressionSizeLimit(maxSource),
		cel.ParserRecursionLimit(maxNesting),
		cel.Variable(varMethod, cel.StringType),
		cel.Variable(varHost, cel.StringType),
		cel.Variable(varPath, cel.StringType),
		cel.Variable(varHeaders, fieldsType),
		cel.Variable(varQuery, fieldsType),
	}
	var errs []error
	for i, name := range dimensions {
		if _, twice := e.dims[name]; twice {
			errs = append(errs, fmt.Errorf("dimension %q is given twice", name))
			continue
		}
		if err := checkName(name); err != nil {
			errs = append(errs, err)
			continue
		}
		e.dims[name] = i
		e.names = append(e.names, name)
		opts = append(opts, cel.Variable(name, cel.StringType))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	var err error
	if e.cel, err = cel.NewEnv(opts...); err != nil {
		return nil, fmt.Errorf("declare dimensions: %w", err)
	}
	e.settle = sync.OnceValues(e.withResponse)
	e.remember()
	return e, nil
}

// withResponse returns e with the response's variables.
func (e *Env) withResponse() (*Env, error) {
	extended, err := e.cel.Extend(
		cel.CustomTypeAdapter(jsonAdapter{e.cel.CELTypeAdapter()}),
		cel.Variable(varStatus, cel.IntType),
		cel.Variable(varBytes, cel.IntType),
		cel.Variable(varResponseHeaders, fieldsType),
		cel.Variable(varJSON, cel.DynType),
		cel.Variable(varMessagesIn, cel.IntType),
		cel.Variable(varMessagesOut, cel.IntType),
	)
	if err != nil {
		return nil, fmt.Errorf("declare the response: %w", err)
	}
	names := slices.Insert(slices.Clone(e.names), slices.Index(e.names, varQuery)+1, varMessagesIn, varStatus, varBytes, varResponseHeaders, varJSON, varMessagesOut)
	return &Env{cel: extended, dims: e.dims, names: names}, nil
}

// reserved are the words of CEL's grammar, the names of its types, and our own root: no dimension can have them.
var reserved = map[string]bool{
	"true": true, "false": true, "null": true, "in": true, "as": true, "break": true, "const": true, "continue": true,
	"else": true, "for": true, "function": true, "if": true, "import": true, "let": true, "loop": true, "package": true,
	"namespace": true, "return": true, "var": true, "void": true, "while": true,
	"bool": true, "bytes": true, "double": true, "dyn": true, "int": true, "list": true, "map": true, "null_type": true,
	"optional_type": true, "string": true, "type": true, "uint": true,
	"request": true, "response": true,
}

func checkName(name string) error {
	if reserved[name] {
		return fmt.Errorf("dimension %q cannot be named so: expressions use that word themselves; choose another name", name)
	}
	for i := range len(name) {
		c := name[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || i == 0) {
			return fmt.Errorf("dimension %q cannot be named so: use letters, digits and _, not a digit first", name)
		}
	}
	if name == "" {
		return errors.New("a dimension has no name")
	}
	return nil
}
