package expr

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// A fault is something wrong with an expression at one of its nodes.
type fault struct {
	id  int64
	msg string
}

// Compile checks src and returns a program that gives a k. The error is one line: the column in the expression, counted
// from 1 in characters (with the line, if src has several), what is wrong, and what to do.
//
// Refused is what type-checks but cannot be bounded or answered: a worst case, over all requests, that costs too much;
// header fields or a query used as a whole; a regular expression or replacement that is not a literal; join and format.
func (e *Env) Compile(src string, k Kind) (p *Program, err error) {
	defer catch(&err)
	if p := e.programs.get(programKey{src, k}); p != nil {
		return p, nil
	}
	checked, err := e.check(src, k)
	if err != nil {
		return nil, err
	}
	opts := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	estimate, err := e.cel.EstimateCost(checked, sizes{checked})
	if err != nil {
		return nil, fmt.Errorf("estimate the expression's cost: %w", err)
	}
	if estimate.Max > maxStatic {
		return nil, fmt.Errorf("column 1: the expression may cost %d units on a long request, more than %d: avoid loops within loops over strings that were split", estimate.Max, maxStatic)
	}
	limited := estimate.Max > maxCost
	if limited { // what can never cost more needs no meter, which would cost more than most expressions
		opts = append(opts, metered...)
	}
	prg, err := e.cel.Program(checked, opts...)
	if err != nil {
		return nil, fmt.Errorf("column 1: %s", oneLine(err.Error()))
	}
	p = &Program{env: e, cel: prg, kind: k, dims: e.dimensions(checked), reads: readsOf(checked), src: src, metered: limited}
	if k == Bool {
		p.implied, p.exact = e.implied(checked.NativeRep().Expr(), limited)
	}
	e.programs.put(programKey{src, k}, p)
	return p, nil
}

// catch turns a panic of the library into an error.
func catch(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("the expression cannot be compiled: %s; write it in a simpler way", oneLine(fmt.Sprint(r)))
	}
}

// check parses src, finds the types in it, and refuses what does not give a k or means nothing to a request.
func (e *Env) check(src string, k Kind) (*cel.Ast, error) {
	if strings.TrimSpace(src) == "" {
		return nil, fmt.Errorf("the expression is empty: write one that gives a %v, such as %s", k, examples[k])
	}
	checked, issues := e.cel.Compile(src)
	if issues.Err() != nil {
		return nil, e.issue(issues, src)
	}
	if t := checked.OutputType(); !k.fits(t) {
		return nil, fmt.Errorf("column 1: the expression gives a %s, but a %v is needed here: write one such as %s", cel.FormatCELType(t), k, examples[k])
	}
	if f, ok := firstFault(ast.NavigateAST(checked.NativeRep())); ok {
		return nil, errors.New(position(checked, src, f.id) + f.msg)
	}
	return checked, nil
}

var examples = [...]string{
	Bool:    `request.method != "GET"`,
	String:  `request.path.split("/")[1]`,
	Int:     `request.method == "GET" ? 1 : 5`,
	settled: `response.headers["x-cost"]`,
}

// firstFault returns the first node that means something to CEL, but not to a request.
func firstFault(root ast.NavigableExpr) (fault, bool) {
	for _, n := range ast.MatchDescendants(root, ast.AllMatcher()) {
		switch n.Kind() {
		case ast.IdentKind:
			if name := n.AsIdent(); (name == varHeaders || name == varQuery || name == varResponseHeaders) && !askedByName(n) {
				return fault{n.ID(), fmt.Sprintf(`%s can only be asked by name: write %s["name"], or "name" in %s`, name, name, name)}, true
			}
		case ast.CallKind:
			if f, ok := callFault(n.AsCall()); ok {
				return f, true
			}
		}
	}
	return fault{}, false
}

// callFault refuses what could make a long string of short ones within one call, before any meter sees it, and regular
// expressions out of a request.
func callFault(call ast.CallExpr) (fault, bool) {
	args := call.Args()
	switch name := call.FunctionName(); name {
	case overloads.Matches:
		if pattern := args[len(args)-1]; pattern.Kind() != ast.LiteralKind {
			return fault{pattern.ID(), "a regular expression must be a literal string: write the pattern itself in matches()"}, true
		}
	case "replace":
		with := args[1]
		if with.Kind() == ast.LiteralKind {
			if s, ok := with.AsLiteral().(types.String); ok && len(s) <= maxReplacement {
				return fault{}, false
			}
		}
		return fault{with.ID(), fmt.Sprintf("a replacement must be a literal string of at most %d bytes: write it itself in replace()", maxReplacement)}, true
	case "join", "format":
		return fault{call.Target().ID(), name + "() is not available, as its result can be very long: put strings together with +"}, true
	}
	return fault{}, false
}

// askedByName reports whether the map at n is an operand of an index, a selection, or "in".
func askedByName(n ast.NavigableExpr) bool {
	parent, ok := n.Parent()
	if !ok {
		return false
	}
	switch parent.Kind() {
	case ast.SelectKind:
		return true
	case ast.CallKind:
		args := parent.AsCall().Args()
		switch parent.AsCall().FunctionName() {
		case operators.Index, operators.OptIndex, operators.OptSelect:
			return args[0].ID() == n.ID()
		case operators.In, operators.OldIn:
			return args[1].ID() == n.ID()
		}
	}
	return false
}

// dimensions returns which of e's dimensions the expression refers to. A loop variable of the same name counts as one.
func (e *Env) dimensions(checked *cel.Ast) []int {
	var dims []int
	for _, ref := range checked.NativeRep().ReferenceMap() {
		if i, ok := e.dims[strings.TrimPrefix(ref.Name, ".")]; ok {
			dims = append(dims, i)
		}
	}
	slices.Sort(dims)
	return slices.Compact(dims)
}

// readsOf returns the literal names by which the expression asks for header fields and parameters.
func readsOf(checked *cel.Ast) (r Reads) {
	for _, n := range ast.MatchDescendants(ast.NavigateAST(checked.NativeRep()), ast.KindMatcher(ast.IdentKind)) {
		parent, ok := n.Parent()
		if name := n.AsIdent(); !ok || name != varHeaders && name != varQuery {
			continue
		}
		asked := ""
		switch parent.Kind() {
		case ast.SelectKind:
			asked = parent.AsSelect().FieldName()
		case ast.CallKind:
			for _, arg := range parent.AsCall().Args() {
				if arg.Kind() == ast.LiteralKind {
					asked, _ = arg.AsLiteral().Value().(string)
				}
			}
		}
		switch {
		case asked == "":
		case n.AsIdent() == varHeaders:
			r.Headers = append(r.Headers, strings.ToLower(asked))
		default:
			r.Query = append(r.Query, asked)
		}
	}
	return r
}

// issue renders the first of CEL's complaints.
func (e *Env) issue(issues *cel.Issues, src string) error {
	first := issues.Errors()[0]
	for _, i := range issues.Errors() {
		if i.Location.Line() < first.Location.Line() || i.Location.Line() == first.Location.Line() && i.Location.Column() < first.Location.Column() {
			first = i
		}
	}
	where := place(first.Location.Line(), first.Location.Column(), src)
	return errors.New(where + e.advise(oneLine(first.Message)))
}

// advise adds what to do to a message of CEL's.
func (e *Env) advise(msg string) string {
	if rest, ok := strings.CutPrefix(msg, "undeclared reference to '"); ok {
		name, _, _ := strings.Cut(rest, "'")
		if root, _, _ := strings.Cut(name, "."); (root == "response" || name == varMessagesIn) && e.settle != nil {
			return fmt.Sprintf("%s is only known in settle: this expression runs before there is a response, and sees the request alone", name)
		}
		return fmt.Sprintf("nothing is called %q: known are %s, and functions of CEL", name, strings.Join(e.names, ", "))
	}
	if strings.HasPrefix(msg, "Syntax error: token recognition error at: '=") {
		return `a single "=" means nothing: write "==" to compare`
	}
	if rest, ok := strings.CutPrefix(msg, "Syntax error: "); ok {
		return fmt.Sprintf(`syntax error: %s; write CEL such as request.method == "GET" && "x-a" in request.headers`, rest)
	}
	if strings.HasPrefix(msg, "found no matching overload") {
		return msg + "; compare and combine values of the same type, and convert with string() or int()"
	}
	if strings.HasSuffix(msg, "does not support field selection") {
		return msg + "; use it as it is, or a function such as startsWith or contains"
	}
	return msg
}

// position returns where node id stands, as the head of a message.
func position(checked *cel.Ast, src string, id int64) string {
	loc := checked.NativeRep().SourceInfo().GetStartLocation(id)
	return place(loc.Line(), loc.Column(), src)
}

func place(line, column int, src string) string {
	column = max(column, 0) + 1
	if line > 1 || strings.Contains(strings.TrimSpace(src), "\n") {
		return fmt.Sprintf("line %d, column %d: ", max(line, 1), column)
	}
	return fmt.Sprintf("column %d: ", column)
}

// sizes tells CEL how long the strings of a request can be, and those that are made from what is no string.
type sizes struct{ checked *cel.Ast }

// EstimateSize implements cost.Estimator.
func (s sizes) EstimateSize(node cost.AstNode) *cost.SizeEstimate {
	if len(node.Path()) > 0 && node.Type() != nil && node.Type().Kind() == types.StringKind {
		return &cost.SizeEstimate{Min: 0, Max: MaxValue}
	}
	if e := node.Expr(); e != nil && e.Kind() == ast.CallKind && e.AsCall().FunctionName() == overloads.TypeConvertString {
		switch s.checked.NativeRep().GetType(e.AsCall().Args()[0].ID()).Kind() {
		case types.BoolKind, types.IntKind, types.UintKind, types.DoubleKind, types.TimestampKind, types.DurationKind:
			return &cost.SizeEstimate{Min: 1, Max: 64}
		}
	}
	return nil
}

// EstimateCallCost implements cost.Estimator: CEL's own estimates hold.
func (sizes) EstimateCallCost(_, _ string, _ *cost.AstNode, _ []cost.AstNode) *cost.CallEstimate {
	return nil
}
