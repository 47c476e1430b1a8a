package admin

import "net/http"

// setBackpressure answers 200 with what is in force then, and the load.
func (s *Server) setBackpressure(w http.ResponseWriter, r *http.Request) {
	body, ok := read(w, r, maxJSON, "application/json")
	if !ok {
		return
	}
	view, err := s.controller.SetBackpressure(who(r).name, body)
	s.audit(r, err, "set backpressure")
	s.answerChange(w, view, err)
}

func (s *Server) dropBackpressure(w http.ResponseWriter, r *http.Request) {
	view, err := s.controller.DropBackpressure(who(r).name)
	s.audit(r, err, "drop backpressure")
	s.answerChange(w, view, err)
}

func (s *Server) answerChange(w http.ResponseWriter, view any, err error) {
	if err != nil {
		answerProblem(w, problemOf(err))
		return
	}
	answerJSON(w, view)
}
