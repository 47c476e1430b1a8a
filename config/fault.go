package config

import (
	"fmt"
	"slices"
	"strings"
)

// maxFaults bounds how many faults one file is told about; a file with more is not of this format.
const maxFaults = 1000

// maxExtraFaults is maxFaults for a text of the API.
const maxExtraFaults = 100

// Fault is one thing wrong with a file.
type Fault struct {
	File    string
	Line    int    // from 1
	Col     int    // from 1, in characters
	Path    string // routes[2].match.path; empty for the file as a whole
	Message string // starts with the path, says what is wrong and what to write
}

// Error returns file:line:col: message.
func (f Fault) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", f.File, f.Line, f.Col, f.Message)
}

// Faults is everything wrong with a file, in file order.
type Faults []Fault

// Error returns the faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

// faultList collects the faults of one file.
type faultList struct {
	file  string
	lines int // of the file; 0 until they are counted
	list  Faults
	paths map[string]bool // that have a fault already
	body  *body           // what the text is to hold if it comes by the API; nil for a file
}

// add records a fault of the value at path. The message is one line, prefixed with the path.
func (l *faultList) add(p place, path, format string, args ...any) {
	l.mark(path)
	if l.full() {
		return
	}
	if l.lines > 0 && p.line > l.lines { // the library places what is missing at the end behind it
		p = place{l.lines, 1}
	}
	message := strings.Join(strings.Fields(fmt.Sprintf(format, args...)), " ")
	if path != "" {
		message = path + ": " + message
	}
	l.list = append(l.list, Fault{File: l.file, Line: p.line, Col: p.col, Path: path, Message: message})
}

// empty says what to do about a text with nothing in it.
func (l *faultList) empty() string {
	if l.body != nil {
		return "the text is empty: " + l.body.example
	}
	return "the file is empty: start from config.example.yaml"
}

// one says what one text holds.
func (l *faultList) one() string {
	if l.body != nil {
		return "text holds one " + l.body.one
	}
	return "file holds one configuration"
}

// full says whether no more faults are recorded.
func (l *faultList) full() bool {
	return len(l.list) >= maxFaults || (l.body != nil && len(l.list) >= maxExtraFaults)
}

// mark makes later checks silent about path.
func (l *faultList) mark(path string) {
	if l.paths == nil {
		l.paths = map[string]bool{}
	}
	l.paths[path] = true
}

// err returns the faults in file order, or nil if there are none.
func (l *faultList) err() error {
	if len(l.list) == 0 {
		return nil
	}
	slices.SortStableFunc(l.list, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Col - b.Col
	})
	return l.list
}

// quote returns s in double quotes, escaped, and cut if it is long.
func quote(s string) string {
	if r := []rune(s); len(r) > 80 {
		s = string(r[:77]) + "..."
	}
	return fmt.Sprintf("%q", s)
}

// didYouMean returns `: did you mean "x"?` for the known name nearest to name, or nothing if none is near.
func didYouMean(name string, known []string) string {
	if best := nearest(name, known); best != "" {
		return fmt.Sprintf(": did you mean %s?", best)
	}
	return ""
}

// nearest returns the known name that needs the fewest edits to be name, or "" if all need more than a third of its length.
func nearest(name string, known []string) string {
	best, least := "", max(1, min(len(name), 24)/3)+1
	if len(name) < 2 {
		return ""
	}
	for _, k := range known {
		if len(k) > len(name)+least || len(name) > len(k)+least {
			continue
		}
		d := distance(strings.ToLower(name), strings.ToLower(k))
		if d < least || (d == 0 && best == "") {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of insertions, deletions, replacements and swaps of neighbours between a and b (optimal string
// alignment), in O(len(a)·len(b)).
func distance(a, b string) int {
	before, prev, cur := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		cur[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			cur[j] = min(prev[j]+1, cur[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				cur[j] = min(cur[j], before[j-2]+1)
			}
		}
		before, prev, cur = prev, cur, before
	}
	return prev[len(b)]
}
