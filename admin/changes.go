package admin

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"weir/config"
)

// steer returns the call that changes an endpoint's state by change.
func (s *Server) steer(action string, change func(pool, endpoint string) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !readNothing(w, r) {
			return
		}
		pool, endpoint := r.PathValue("pool"), r.PathValue("address")
		err := change(pool, endpoint)
		s.audit(r, err, action, "pool", pool, "endpoint", endpoint)
		if err != nil {
			answerProblem(w, problemOf(err))
			return
		}
		answerJSON(w, map[string]string{"pool": pool, "endpoint": endpoint, "done": action})
	}
}

func (s *Server) reload(w http.ResponseWriter, r *http.Request) {
	if !readNothing(w, r) {
		return
	}
	v, err := s.controller.Reload(who(r).name)
	s.audit(r, err, "reload")
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	answerJSON(w, v)
}

// brief returns err in one line: of the faults of a file, the first and how many there are.
func brief(err error) string {
	var faults config.Faults
	if errors.As(err, &faults) && len(faults) > 1 {
		return fmt.Sprintf("%v (first of %d faults)", faults[0], len(faults))
	}
	return err.Error()
}

// yamlMedia are the media types of a config file: those of YAML, and what clients say who were not told (curl -d).
var yamlMedia = []string{"application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml", "text/plain", "application/octet-stream", "application/x-www-form-urlencoded", ""}

// validate checks the config file in the body. Two at once are enough: each may be 16 MiB and what that decodes to.
func (s *Server) validate(w http.ResponseWriter, r *http.Request) {
	select {
	case s.validating <- struct{}{}:
		defer func() { <-s.validating }()
	default:
		w.Header().Set("Retry-After", "1")
		answerProblem(w, problem{Status: http.StatusServiceUnavailable, Detail: "Two files are being validated already."})
		return
	}
	body, ok := read(w, r, maxYAML, yamlMedia...)
	if !ok {
		return
	}
	name := r.URL.Query().Get("name")
	if name == "" {
		name = "config.yaml"
	}
	if err := s.controller.Validate(name, body); err != nil {
		p := problemOf(err)
		p.Status = http.StatusUnprocessableEntity
		answerProblem(w, p)
		return
	}
	answerJSON(w, map[string]bool{"valid": true})
}

// audit logs a change: who, what, from where, and what became of it.
func (s *Server) audit(r *http.Request, err error, action string, details ...any) {
	level, result := slog.LevelInfo, "done"
	if err != nil {
		level, result = slog.LevelWarn, brief(err)
	}
	log := s.settings.Load().log.With("who", who(r).name, "from", r.RemoteAddr, "action", action)
	log.With(details...).Log(r.Context(), level, "admin change", "result", result)
}

// problemOf returns err as a client sees it: what the errors of a Controller stand for, 422 for faults of a text, 503 for what is not possible now, else 500.
func problemOf(err error) problem {
	var bad badRequest
	var faults config.Faults
	p := problem{Status: http.StatusInternalServerError, Detail: err.Error()}
	switch {
	case errors.Is(err, ErrNotFound):
		p.Status = http.StatusNotFound
	case errors.Is(err, ErrInvalid):
		p.Status = http.StatusBadRequest
	case errors.Is(err, ErrConflict):
		p.Status = http.StatusConflict
	case errors.Is(err, ErrPrecondition):
		p.Status = http.StatusPreconditionFailed
	case errors.Is(err, ErrUnavailable):
		p.Status = http.StatusServiceUnavailable
	case errors.As(err, &bad):
		p.Status = http.StatusBadRequest
	case errors.As(err, &faults):
		p.Status, p.Detail = http.StatusUnprocessableEntity, brief(err)
	}
	for _, f := range faults {
		p.Faults = append(p.Faults, fault{File: f.File, Line: f.Line, Col: f.Col, Path: f.Path, Message: f.Message})
	}
	return p
}
