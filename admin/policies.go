package admin

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// policyMedia are the media types of a policy's text. JSON is YAML too, so that one decoder takes both.
var policyMedia = append([]string{"application/json"}, yamlMedia...)

func policyPath(name string) string { return "/api/v1/policies/" + url.PathEscape(name) }

func answerPolicy(w http.ResponseWriter, status int, view any, etag string) {
	w.Header().Set("ETag", `"`+etag+`"`)
	send(w, status, "application/json", view)
}

// createPolicy answers 409 with the Location of the policy that has the name already, so that who sent a text without
// having read it knows where to PUT it.
func (s *Server) createPolicy(w http.ResponseWriter, r *http.Request) {
	body, ok := read(w, r, maxJSON, policyMedia...)
	if !ok {
		return
	}
	name, view, etag, err := s.controller.CreatePolicy(who(r).name, body)
	s.audit(r, err, "create policy", "policy", name, "etag", etag)
	if name != "" && (err == nil || errors.Is(err, ErrConflict)) {
		w.Header().Set("Location", policyPath(name))
	}
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	answerPolicy(w, http.StatusCreated, view, etag)
}

func (s *Server) policy(w http.ResponseWriter, r *http.Request) {
	view, etag, err := s.controller.Policy(r.PathValue("name"))
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	if all, tags, ok := entityTags(r.Header.Values("If-None-Match")); ok && (all || slices.ContainsFunc(tags, func(t entityTag) bool { return t.text == etag })) {
		w.Header().Set("ETag", `"`+etag+`"`)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	answerPolicy(w, http.StatusOK, view, etag)
}

func (s *Server) putPolicy(w http.ResponseWriter, r *http.Request) {
	body, ok := read(w, r, maxJSON, policyMedia...)
	if !ok {
		return
	}
	var created bool
	var view any
	var etag string
	name := r.PathValue("name")
	match, err := s.required(r, name)
	if err == nil {
		created, view, etag, err = s.controller.PutPolicy(who(r).name, name, body, match)
	}
	s.audit(r, err, "put policy", "policy", name, "created", created, "etag", etag)
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	status := http.StatusOK
	if created {
		status = http.StatusCreated
		w.Header().Set("Location", policyPath(name))
	}
	answerPolicy(w, status, view, etag)
}

func (s *Server) deletePolicy(w http.ResponseWriter, r *http.Request) {
	if !readNothing(w, r) {
		return
	}
	name := r.PathValue("name")
	match, err := s.required(r, name)
	if err == nil {
		err = s.controller.DeletePolicy(who(r).name, name, match)
	}
	s.audit(r, err, "delete policy", "policy", name)
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// required returns what r's If-Match wants of the policy name, as Controller takes it. Of several entity tags it picks the
// one that the policy has; the controller compares once more, when nothing can change in between.
func (s *Server) required(r *http.Request, name string) (string, error) {
	if r.Header.Get("If-None-Match") != "" {
		return "", badRequest("If-None-Match is for GET; POST /api/v1/policies creates and never replaces.")
	}
	values := r.Header.Values("If-Match")
	if len(values) == 0 {
		return "", nil
	}
	all, tags, ok := entityTags(values)
	if !ok {
		return "", badRequest("If-Match must be * or what ETag said, in its double quotes, not " + quote(strings.Join(values, ", ")) + ".")
	}
	if all {
		return "*", nil
	}
	var strong []string
	for _, t := range tags {
		if !t.weak && t.text != "" && t.text != "*" { // which mean something else to the controller, and are nobody's
			strong = append(strong, t.text)
		}
	}
	if len(strong) == 1 {
		return strong[0], nil
	}
	if _, etag, err := s.controller.Policy(name); err == nil && slices.Contains(strong, etag) {
		return etag, nil
	}
	return "", ErrPrecondition
}

// badRequest is an error of a request's form: 400.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// entityTag is an entity tag without its quotes (RFC 9110, section 8.8.3).
type entityTag struct {
	weak bool
	text string
}

// entityTags parses the values of If-Match or If-None-Match: all is *. ok is false for what is neither that nor a list of at
// least one tag.
func entityTags(values []string) (all bool, tags []entityTag, ok bool) {
	text := strings.Join(values, ",")
	if strings.Trim(text, " \t") == "*" {
		return true, nil, true
	}
	for {
		text = strings.TrimLeft(text, " \t,")
		if text == "" {
			return false, tags, len(tags) > 0
		}
		quoted, weak := strings.CutPrefix(text, "W/")
		if !strings.HasPrefix(quoted, `"`) {
			return false, nil, false
		}
		tag, rest, closed := strings.Cut(quoted[1:], `"`)
		text = strings.TrimLeft(rest, " \t")
		if !closed || text != "" && text[0] != ',' {
			return false, nil, false
		}
		tags = append(tags, entityTag{weak, tag})
	}
}
