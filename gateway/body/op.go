package body

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MaxDepth is how deep objects and arrays may nest, in documents and in what operations make of them.
const MaxDepth = 64

// MaxOps is how many operations a program may have.
const MaxOps = 64

// Kind is what an operation does.
type Kind uint8

// The kinds; see the package comment.
const (
	Set Kind = iota + 1
	Remove
	Rename
)

func (k Kind) String() string {
	switch k {
	case Set:
		return "set"
	case Remove:
		return "remove"
	case Rename:
		return "rename"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Op is one operation.
type Op struct {
	Kind Kind
	Path string
	JSON string // Set: the value as a JSON text; or
	Text string // Set: a template of a string
	Name string // Rename: the new name, as it is meant (without quotes or escapes)
}

// What Apply says of documents that it does not change.
var (
	ErrInvalid  = errors.New("not a JSON document")
	ErrDepth    = errors.New("JSON is nested too deep")
	ErrTooLarge = errors.New("JSON document is too large")
	ErrNoRoom   = errors.New("no room to change a JSON document")
)

// Program is compiled operations. It is immutable and safe for concurrent use.
type Program struct {
	passes    []*node
	templates []template
	limit     int
	longest   int // of the names in paths and of new ones, in bytes
}

// Compile makes a program of operations for documents of at most limit bytes, before and after each pass. It says of the
// first operation that is wrong which and why.
func Compile(ops []Op, limit int) (*Program, error) {
	if limit <= 0 {
		return nil, fmt.Errorf("a limit of %d bytes leaves no document", limit)
	}
	if len(ops) > MaxOps {
		return nil, fmt.Errorf("%d operations are more than %d", len(ops), MaxOps)
	}
	p := &Program{limit: limit}
	var pass []operation // those of the last pass
	for i := range ops {
		o, err := p.compile(&ops[i])
		if err != nil {
			return nil, fmt.Errorf("operation %d: %s %s: %w", i+1, ops[i].Kind, ops[i].Path, err)
		}
		if len(pass) == 0 || slices.ContainsFunc(pass, o.meets) {
			p.passes, pass = append(p.passes, &node{}), nil
		}
		pass = append(pass, o)
		p.longest = max(p.longest, len(o.edit.name))
		for _, s := range o.path {
			p.longest = max(p.longest, len(s.name))
		}
		p.passes[len(p.passes)-1].add(&o)
	}
	return p, nil
}

// operation is a compiled Op.
type operation struct {
	kind Kind
	path []step
	edit edit
}

func (p *Program) compile(op *Op) (operation, error) {
	path, err := parsePath(op.Path)
	if err != nil {
		return operation{}, err
	}
	o := operation{kind: op.Kind, path: path, edit: edit{kind: op.Kind, template: -1}}
	switch op.Kind {
	case Set:
		err = p.compileValue(op, &o)
	case Remove:
	case Rename:
		err = o.compileName(op.Name)
	default:
		err = errors.New("no such operation")
	}
	if op.Kind != Set && (op.JSON != "" || op.Text != "") {
		err = errors.New("a value is for set only")
	}
	if op.Kind != Rename && op.Name != "" {
		err = errors.New("a new name is for rename only")
	}
	return o, err
}

func (p *Program) compileValue(op *Op, o *operation) error {
	if (op.JSON == "") == (op.Text == "") {
		return errors.New("needs a value: either JSON or a text")
	}
	if op.Text != "" {
		t, err := parseTemplate(op.Text)
		if err != nil {
			return err
		}
		o.edit.template = len(p.templates)
		p.templates = append(p.templates, t)
		return nil
	}
	o.edit.value = []byte(strings.TrimSpace(op.JSON))
	switch end, err := skipValue(o.edit.value, 0, len(o.path)); {
	case err == ErrDepth:
		return fmt.Errorf("path and value nest deeper than %d", MaxDepth)
	case err != nil || end < len(o.edit.value):
		return fmt.Errorf("the value %s is not JSON; a string needs its quotes", op.JSON)
	}
	return nil
}

func (o *operation) compileName(name string) error {
	last := o.path[len(o.path)-1]
	switch {
	case last.element:
		return errors.New("an element of an array has no name")
	case name == "":
		return errors.New("needs a new name")
	case name == last.name:
		return errors.New("this is its name already")
	}
	if err := checkName(name); err != nil {
		return err
	}
	o.edit.name, o.edit.value = name, quote(name)
	return nil
}

// quote returns a name as a JSON string.
func quote(name string) []byte {
	return append(appendEscaped([]byte{'"'}, name), '"')
}

// meets reports whether o and an operation of its pass could see each other's work.
func (o *operation) meets(b operation) bool {
	for _, p := range o.touched() {
		for _, q := range b.touched() {
			if meet(p, q) {
				return true
			}
		}
	}
	return false
}

// touched returns the paths whose values are others after o than before.
func (o *operation) touched() [][]step {
	last := len(o.path) - 1
	switch {
	case o.kind == Remove && o.path[last].element: // those behind move up
		return [][]step{append(slices.Clone(o.path[:last]), step{element: true, index: all})}
	case o.kind == Rename:
		return [][]step{o.path, append(slices.Clone(o.path[:last]), step{name: o.edit.name})}
	}
	return [][]step{o.path}
}

// meet reports whether one path leads to or through what the other one finds, or both ask an array for elements in
// different manners, which one node of the tree cannot answer.
func meet(p, q []step) bool {
	for i := range min(len(p), len(q)) {
		a, b := p[i], q[i]
		if a == b {
			continue
		}
		return a.element && b.element && (a.index == all || b.index == all)
	}
	return true
}
