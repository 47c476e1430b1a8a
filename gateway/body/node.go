package body

import "slices"

// node is a place in the tree of steps that one pass follows down the document. In each object one member at most leads
// on by a name, and in each array one element at most by an index, since operations that meet are in different passes.
type node struct {
	edit     edit // what is done here, if anything; then nothing is below
	names    []member
	elements []element
	makes    bool // a set below is reached by names alone: what is missing here is made
	renames  bool // a member of this object may get another name
}

type member struct {
	name   string
	quoted []byte
	*node
}

type element struct {
	index int // or all
	*node
}

// edit is what an operation does where its path ends. Its kind is 0 where there is nothing to do.
type edit struct {
	kind     Kind
	value    []byte // Set: the value; Rename: the new name in quotes
	template int    // Set: the template that makes the value, -1: none
	name     string // Rename: the new name
}

// add adds an operation that meets none of the tree's.
func (n *node) add(o *operation) {
	made := len(o.path) // from here on the path is names
	for made > 0 && !o.path[made-1].element {
		made--
	}
	for i, s := range o.path {
		if o.kind == Set && i >= made {
			n.makes = true
			n.makeLast(s.name)
		}
		if o.kind == Rename && i == len(o.path)-1 {
			n.renames = true
		}
		n = n.child(s)
	}
	n.edit = o.edit
}

// makeLast puts a member behind all that were to be made before it, since members are made in the order of operations.
func (n *node) makeLast(name string) {
	k := n.member([]byte(name))
	if k >= 0 && !n.names[k].makes {
		m := n.names[k]
		n.names = append(slices.Delete(n.names, k, k+1), m)
	}
}

// child returns the node that a step leads to, a new one if need be.
func (n *node) child(s step) *node {
	if s.element {
		for _, e := range n.elements {
			if e.index == s.index {
				return e.node
			}
		}
		c := &node{}
		n.elements = append(n.elements, element{s.index, c})
		return c
	}
	for _, m := range n.names {
		if m.name == s.name {
			return m.node
		}
	}
	c := &node{}
	n.names = append(n.names, member{s.name, quote(s.name), c})
	return c
}

// member returns the place in names of a member, -1 if no step leads there.
func (n *node) member(name []byte) int {
	for i := range n.names {
		if n.names[i].name == string(name) {
			return i
		}
	}
	return -1
}

// element returns the node for an element, or nil.
func (n *node) element(index int) *node {
	for i := range n.elements {
		if e := &n.elements[i]; e.index == index || e.index == all {
			return e.node
		}
	}
	return nil
}

// replaces reports whether a member by the name of one that is renamed must go. renamed has a bit for each of names that is.
func (n *node) replaces(renamed uint64, name []byte) bool {
	for i := range n.names {
		if renamed>>i&1 == 1 && n.names[i].edit.name == string(name) {
			return true
		}
	}
	return false
}
