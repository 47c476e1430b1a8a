package route

import (
	"errors"
	"math"
	"strings"
	"sync"
	"unsafe"
)

// A Table finds the first rule that matches a request. It is immutable and safe for concurrent use.
type Table struct {
	rules     []rule
	exact     map[string]*node // by host
	wildcards map[string]*node // by what follows "*."
	any       *node            // rules without hosts
}

// A node of a tree of path segments. Lists ascend.
type node struct {
	first    int32            // the lowest rule at or below this node
	literals map[string]*node // by segment
	param    *node            // any segment but the empty one
	here     []int32          // rules whose path ends here
	below    []int32          // rules that match here and everywhere below
}

// Compile builds a table of rules, in order. The error joins one *RuleError for every fault of every rule; the rules
// are not kept.
func Compile(rules []Rule) (*Table, error) {
	if len(rules) >= math.MaxInt32 {
		return nil, errors.New("more rules than a table can number")
	}
	t := &Table{rules: make([]rule, len(rules)), exact: map[string]*node{}, wildcards: map[string]*node{}}
	var errs []error
	for i := range rules {
		c, err := compileRule(i, rules[i])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		t.rules[i] = c
		t.insert(int32(i), &t.rules[i])
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Table) insert(n int32, r *rule) {
	if len(r.hosts) == 0 {
		if t.any == nil {
			t.any = &node{first: n}
		}
		t.any.insert(n, &r.path)
	}
	for _, h := range r.hosts {
		group := t.exact
		if h.wildcard {
			group = t.wildcards
		}
		if group[h.name] == nil {
			group[h.name] = &node{first: n}
		}
		group[h.name].insert(n, &r.path)
	}
}

func (n *node) insert(number int32, p *pattern) {
	for _, seg := range p.segments {
		n = n.child(number, seg)
	}
	list := &n.here
	if p.below {
		list = &n.below
	}
	if k := len(*list); k == 0 || (*list)[k-1] != number { // the same host may stand in a rule twice
		*list = append(*list, number)
	}
}

// child returns the node below n for seg, which it makes if there is none. Rules come in ascending order, so the one
// that makes a node is its first.
func (n *node) child(number int32, seg segment) *node {
	if seg.param {
		if n.param == nil {
			n.param = &node{first: number}
		}
		return n.param
	}
	if n.literals == nil {
		n.literals = map[string]*node{}
	}
	if n.literals[seg.text] == nil {
		n.literals[seg.text] = &node{first: number}
	}
	return n.literals[seg.text]
}

const none = math.MaxInt32

// A search is one look-up: the best rule so far, which later candidates must undercut.
type search struct {
	table *Table
	head  Head
	path  string
	best  int32
}

// Match returns the first rule that matches h, or -1.
//
// The cost does not grow with the number of rules, but with that of labels of the host, of segments of the path, and of
// rules that match both and differ only in the rest (method, fields, regular expression, When): these are asked one by
// one. No allocation, but what When, h and the buffers of package regexp make of theirs. Safe for concurrent use.
func (t *Table) Match(h Head) (rule int) {
	path := h.Path()
	if foldable(path) < 0 {
		return t.match(h, path)
	}
	// Slow path
	buf := folds.Get().(*[]byte)
	*buf = appendFold((*buf)[:0], path)
	rule = t.match(h, unsafe.String(unsafe.SliceData(*buf), len(*buf)))
	folds.Put(buf)
	return rule
}

// folds holds buffers of folded paths; nothing keeps a view of them past Match.
var folds = sync.Pool{New: func() any { return new([]byte) }}

func (t *Table) match(h Head, path string) int {
	s := search{table: t, head: h, path: path, best: none}
	host := strings.TrimSuffix(h.Host(), ".")
	s.group(t.exact[host])
	if len(t.wildcards) > 0 {
		for i := 1; i < len(host); i++ {
			if host[i] == '.' {
				s.group(t.wildcards[host[i+1:]])
			}
		}
	}
	s.group(t.any)
	if s.best == none {
		return -1
	}
	return int(s.best)
}

// group looks for better rules among those of one host pattern.
func (s *search) group(root *node) {
	if root == nil || root.first >= s.best {
		return
	}
	if !strings.HasPrefix(s.path, "/") { // "*" of OPTIONS, or nothing
		s.list(root.below)
		return
	}
	s.walk(root, s.path)
}

// walk looks for better rules at n and below; rest is what follows n's segments: nothing, or "/" and more. What is
// deeper comes first, as the special tends to stand before the general in a file.
func (s *search) walk(n *node, rest string) {
	if rest == "" {
		s.list(n.here)
		s.list(n.below)
		return
	}
	text, rest := cutSegment(rest)
	if c := n.literals[text]; c != nil && c.first < s.best {
		s.walk(c, rest)
	}
	if n.param != nil && text != "" && n.param.first < s.best {
		s.walk(n.param, rest)
	}
	s.list(n.below)
}

// cutSegment returns the first segment of rest, which begins with "/", and what follows it.
func cutSegment(rest string) (text, after string) {
	if end := strings.IndexByte(rest[1:], '/'); end >= 0 {
		return rest[1 : end+1], rest[end+1:]
	}
	return rest[1:], ""
}

// list asks the rules of an ascending list for one that is better.
func (s *search) list(rules []int32) {
	for _, n := range rules {
		if n >= s.best {
			return
		}
		if s.table.rules[n].accepts(s.head, s.path) {
			s.best = n
			return
		}
	}
}
