package body

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// step is one step of a path: a member's name, or an element's index.
type step struct {
	name    string
	element bool
	index   int
}

// all is the index of every element.
const all = -1

// maxIndex keeps indexes within what a document can hold.
const maxIndex = 1 << 30

var errDots = errors.New("a name is missing at a dot")

// parsePath returns the steps of a path, at least one.
func parsePath(path string) ([]step, error) {
	if path == "" {
		return nil, errors.New("needs a path")
	}
	var steps []step
	for rest := path; rest != ""; {
		var s step
		var err error
		switch {
		case rest[0] == '[':
			s, rest, err = parseBracket(rest)
		default:
			if len(steps) > 0 {
				if rest[0] != '.' {
					return nil, fmt.Errorf("a dot is missing before %q", rest)
				}
				rest = rest[1:]
			}
			s, rest, err = parseName(rest)
		}
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	if len(steps) > MaxDepth {
		return nil, fmt.Errorf("the path has more than %d steps", MaxDepth)
	}
	return steps, nil
}

// parseName takes a plain name off the front of s.
func parseName(s string) (step, string, error) {
	end := strings.IndexAny(s, ".[")
	if end < 0 {
		end = len(s)
	}
	name := s[:end]
	if name == "" {
		return step{}, "", errDots
	}
	if strings.ContainsAny(name, "]\"\\ \t") {
		return step{}, "", fmt.Errorf(`write the name %s as ["name"]`, name)
	}
	return step{name: name}, s[end:], checkName(name)
}

// parseBracket takes [], [index] or ["name"] off the front of s.
func parseBracket(s string) (step, string, error) {
	if strings.HasPrefix(s, `["`) {
		end, err := skipString([]byte(s), 1)
		if err != nil || !strings.HasPrefix(s[end:], "]") {
			return step{}, "", fmt.Errorf("the name in %s does not end", s)
		}
		var name string
		if err := json.Unmarshal([]byte(s[1:end]), &name); err != nil {
			return step{}, "", fmt.Errorf("%s is not a JSON string", s[1:end])
		}
		return step{name: name}, s[end+1:], checkName(name)
	}
	text, rest, ok := strings.Cut(s[1:], "]")
	if !ok {
		return step{}, "", fmt.Errorf("a bracket is not closed in %q", s)
	}
	if text == "" {
		return step{element: true, index: all}, rest, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxIndex || text != strconv.Itoa(n) {
		return step{}, "", fmt.Errorf(`[%s] is none of [], [0], ["name"]`, text)
	}
	return step{element: true, index: n}, rest, nil
}

func checkName(name string) error {
	if !utf8.ValidString(name) {
		return fmt.Errorf("the name %q is not UTF-8", name)
	}
	return nil
}
