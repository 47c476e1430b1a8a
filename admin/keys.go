package admin

import (
	"net/http"
	"net/url"
)

// usage answers what a key spent or, without one, what the gateway saw.
func (s *Server) usage(w http.ResponseWriter, r *http.Request) {
	bad := func(detail string) { answerProblem(w, problem{Status: http.StatusBadRequest, Detail: detail}) }
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		bad("The query can't be read: " + err.Error() + ".")
		return
	}
	for name := range q {
		if name != "key" {
			bad("This call takes key, not " + quote(name) + ".")
			return
		}
	}
	keys := q["key"]
	switch {
	case len(keys) == 0:
		answerJSON(w, s.controller.Summary())
		return
	case len(keys) > 1 || keys[0] == "":
		bad("Name one key, or leave key out for a summary.")
		return
	}
	v, err := s.controller.Usage(keys[0])
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	answerJSON(w, v)
}

// resetKey gives a key back all that it spent.
func (s *Server) resetKey(w http.ResponseWriter, r *http.Request) {
	if !readNothing(w, r) {
		return
	}
	name, v, err := s.controller.ResetKey(who(r).name, r.PathValue("key"))
	s.audit(r, err, "reset key", "key", name)
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	answerJSON(w, v)
}
