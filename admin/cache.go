package admin

import (
	"net/http"
	"net/url"
	"slices"
)

// purgeBy are the parameters that name what is forgotten.
var purgeBy = []string{"url", "prefix", "tag", "all"}

// purge forgets kept answers.
func (s *Server) purge(w http.ResponseWriter, r *http.Request) {
	if !readNothing(w, r) {
		return
	}
	by, value, problem := purgeOf(r.URL.RawQuery)
	if problem != "" {
		answerProblem(w, problemText(problem))
		return
	}
	v, err := s.controller.Purge(who(r).name, by, value)
	s.audit(r, err, "purge cache", "by", by, "value", value)
	s.answerChange(w, v, err)
}

// purgeOf reads what a query names, or says what is wrong with it.
func purgeOf(query string) (by, value, problem string) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return "", "", "The query can't be read: " + err.Error() + "."
	}
	for name, values := range q {
		switch {
		case !slices.Contains(purgeBy, name):
			return "", "", "This call takes url, prefix, tag or all, not " + quote(name) + "."
		case len(q) > 1 || len(values) > 1:
			return "", "", "Name one thing: url, prefix, tag or all."
		case name == "all" && values[0] != "true":
			return "", "", "Write all=true to forget everything."
		case values[0] == "":
			return "", "", quote(name) + " is empty."
		}
		by, value = name, values[0]
	}
	if by == "" {
		return "", "", "Name what to forget: url=http://host/path, prefix=http://host/pa, tag=name, or all=true."
	}
	return by, value, ""
}

func problemText(detail string) problem {
	return problem{Status: http.StatusBadRequest, Detail: detail}
}
