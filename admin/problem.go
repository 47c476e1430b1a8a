package admin

import (
	"encoding/json"
	"net/http"
	"strconv"
)

// problem is an error as clients see it (RFC 9457).
type problem struct {
	Type   string  `json:"type"`
	Title  string  `json:"title"`
	Status int     `json:"status"`
	Detail string  `json:"detail,omitempty"`
	Faults []fault `json:"faults,omitempty"` // every fault of a body, with its place
}

// fault is one fault of what was sent. Line and Col count from 1; 0 is unknown. Path names the field.
type fault struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`
	Col     int    `json:"col,omitempty"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

func answerProblem(w http.ResponseWriter, p problem) {
	p.Type = "about:blank"
	p.Title = http.StatusText(p.Status)
	send(w, p.Status, "application/problem+json", p)
}

func answerJSON(w http.ResponseWriter, v any) {
	send(w, http.StatusOK, "application/json", v)
}

// send marshals v before it answers, so that a value that can't be marshalled is a panic with nothing sent: 500.
func send(w http.ResponseWriter, status int, media string, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic("BUG: answer: " + err.Error())
	}
	sendBytes(w, status, media, append(body, '\n'))
}

func sendText(w http.ResponseWriter, s string) {
	sendBytes(w, http.StatusOK, "text/plain; charset=utf-8", []byte(s))
}

func sendBytes(w http.ResponseWriter, status int, media string, body []byte) {
	h := w.Header()
	h.Set("Content-Type", media)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone: nobody to tell
}
