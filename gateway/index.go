package gateway

import (
	"slices"

	"weir/internal/expr"
)

// index finds, of many conditions, those that may hold for a request without trying all: those that demand that a dimension has
// one of some values are found by its value.
type index struct {
	always []int
	by     []byDimension
	when   []*expr.Program // by item, where the value does not say all; nil: it does. Empty for policies, which know their own
}

type byDimension struct {
	dim int
	at  map[string][]int
}

// add adds an item with its condition; nil is none. dim returns the index of a dimension by its name in expressions.
func (ix *index) add(item int, when *expr.Program, dim func(string) (int, bool)) {
	if when == nil {
		ix.always = append(ix.always, item)
		return
	}
	eq, ok := when.Implies()
	if !ok {
		ix.always = append(ix.always, item)
		return
	}
	d, ok := dim(eq.Name)
	if !ok {
		ix.always = append(ix.always, item)
		return
	}
	i := slices.IndexFunc(ix.by, func(b byDimension) bool { return b.dim == d })
	if i < 0 {
		i = len(ix.by)
		ix.by = append(ix.by, byDimension{d, map[string][]int{}})
	}
	for _, v := range eq.Values {
		if !slices.Contains(ix.by[i].at[v], item) {
			ix.by[i].at[v] = append(ix.by[i].at[v], item)
		}
	}
}

// matches goes over the items whose condition may hold for x.
func (ix *index) matches(x *Exchange) matches { return matches{ix: ix, x: x, list: ix.always} }

type matches struct {
	ix   *index
	x    *Exchange
	list []int
	by   int // next of ix.by
	item int

	byValue bool // the dimension has a value that the item's condition demands
}

func (m *matches) next() bool {
	for len(m.list) == 0 {
		if m.by == len(m.ix.by) {
			return false
		}
		b := &m.ix.by[m.by]
		m.by++
		m.byValue = true
		if v, ok := m.x.Dimension(b.dim); ok {
			m.list = b.at[v]
		}
	}
	m.item, m.list = m.list[0], m.list[1:]
	return true
}
