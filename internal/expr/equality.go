package expr

import (
	"slices"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
)

// An Equality says that a condition can only hold if the named thing has one of the values. It lets a caller with many
// conditions look up those that may hold by an index.
type Equality struct {
	Name   string   // a dimension, or request.method, request.host, request.path
	Values []string // one or more, each once, none of them ""
}

// Implies returns an equality that the condition implies, the first from the left, or ok false. The condition may
// demand more. Known are name == "value", the same turned round, and name in ["a", "b"], as the whole condition or
// joined to the rest of it by &&. The caller must not change the values.
//
// Where the equality does not hold, Bool gives false without an error, whatever the other parts of the condition would
// give: in CEL, false && error is false. Two kinds of requests are outside this promise. A named thing longer than
// [MaxValue] gives an error instead: the caller must treat one as if the equality might hold. And a [Request] that
// panics gives an error wherever it does.
//
// An equality with "" is never returned, since a dimension that the request does not have is "" too.
func (p *Program) Implies() (eq Equality, ok bool) { return p.implied, len(p.implied.Values) > 0 }

// Exact reports whether the condition holds exactly if the equality that it implies does: nothing else is demanded. The
// same two kinds of requests are outside the promise.
func (p *Program) Exact() bool { return p.exact }

// implied finds what Implies and Exact return. The meter's error is no value that && could pass over, so that a metered
// condition has an equality only where nothing is evaluated before it.
func (e *Env) implied(root ast.Expr, metered bool) (eq Equality, exact bool) {
	terms := conjuncts(nil, root)
	for i, term := range terms {
		if metered && i > 0 {
			break
		}
		if eq, ok := e.equality(term); ok {
			return eq, len(terms) == 1
		}
	}
	return Equality{}, false
}

// conjuncts appends the terms of an && of any depth, from the left; an expression that is none is its own only term.
func conjuncts(terms []ast.Expr, n ast.Expr) []ast.Expr {
	if n.Kind() != ast.CallKind || n.AsCall().FunctionName() != operators.LogicalAnd {
		return append(terms, n)
	}
	for _, arg := range n.AsCall().Args() {
		terms = conjuncts(terms, arg)
	}
	return terms
}

// equality reads a comparison of something an index can have with literals.
func (e *Env) equality(n ast.Expr) (eq Equality, ok bool) {
	if n.Kind() != ast.CallKind || len(n.AsCall().Args()) != 2 {
		return Equality{}, false
	}
	a, b := n.AsCall().Args()[0], n.AsCall().Args()[1]
	switch n.AsCall().FunctionName() {
	case operators.Equals:
		if a.Kind() == ast.LiteralKind {
			a, b = b, a
		}
		eq.Values, ok = literals(nil, b)
	case operators.In:
		if b.Kind() != ast.ListKind || len(b.AsList().OptionalIndices()) > 0 {
			return Equality{}, false
		}
		eq.Values, ok = literals(nil, b.AsList().Elements()...)
	}
	if !ok || len(eq.Values) == 0 || slices.Contains(eq.Values, "") {
		return Equality{}, false
	}
	eq.Name, ok = e.indexed(a)
	return eq, ok
}

// literals appends the strings that nodes are, each once. It is not ok if one is anything else.
func literals(values []string, nodes ...ast.Expr) (_ []string, ok bool) {
	for _, n := range nodes {
		if n.Kind() != ast.LiteralKind {
			return nil, false
		}
		s, ok := n.AsLiteral().(types.String)
		if !ok {
			return nil, false
		}
		if !slices.Contains(values, string(s)) {
			values = append(values, string(s))
		}
	}
	return values, true
}

// indexed returns the name of the variable at n. No loop variable can hide it: a term of && is not within a macro.
func (e *Env) indexed(n ast.Expr) (name string, ok bool) {
	if n.Kind() != ast.IdentKind {
		return "", false
	}
	name = strings.TrimPrefix(n.AsIdent(), ".")
	switch name {
	case varMethod, varHost, varPath:
		return name, true
	}
	_, ok = e.dims[name]
	return name, ok
}
