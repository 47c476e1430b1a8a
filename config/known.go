package config

import (
	"fmt"
	"strings"
)

// nameSet is names that may be referred to, in the order of the file.
type nameSet struct {
	list []string
	set  map[string]bool
}

func (s *nameSet) add(name string) {
	if s.set == nil {
		s.set = map[string]bool{}
	}
	s.list = append(s.list, name)
	s.set[name] = true
}

func (s *nameSet) has(name string) bool { return s.set[name] }

// known is what policies may refer to.
type known struct {
	dimensions nameSet // with those built in
	routes     nameSet
	exprs      expressions
	clustered  bool // there is a cluster
	stored     bool // there is a store of strict policies
}

// namesOf returns the names of a list that are not empty.
func namesOf[T any](list []T, name func(*T) string) (all nameSet) {
	for i := range list {
		if s := name(&list[i]); s != "" {
			all.add(s)
		}
	}
	return all
}

// undefined says that nothing defines a name. what is pool, route, dimension or policy.
func undefined(what, name string, known []string) string {
	advice := didYouMean(name, known)
	if advice == "" {
		list := strings.Replace(what+"s", "ys", "ies", 1)
		switch {
		case len(known) == 0:
			advice = fmt.Sprintf(": define it under %s:", list)
		case len(known) <= 8:
			advice = fmt.Sprintf(": there are %s", strings.Join(known, ", "))
		default:
			advice = fmt.Sprintf(": define it under %s:, or name one that is there", list)
		}
	}
	return fmt.Sprintf("there is no %s %s%s", what, quote(name), advice)
}
