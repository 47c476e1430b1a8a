package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
)

const (
	maxJSON = 64 << 10 // bytes of a JSON body
	maxYAML = 16 << 20 // bytes of a config file: about 50,000 routes
)

// read returns r's body. If it is longer than limit or not of one of the media types, it answers and ok is false. Media
// types that start with "" let a body without one pass.
func read(w http.ResponseWriter, r *http.Request, limit int64, media ...string) (body []byte, ok bool) {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if (err != nil && got+r.Header.Get("Content-Type") != "") || !slices.Contains(media, got) {
		w.Header().Set("Accept", strings.Join(media, ", "))
		answerProblem(w, problem{Status: http.StatusUnsupportedMediaType,
			Detail: fmt.Sprintf("Content-Type must be %s, not %s.", strings.Join(media, " or "), quote(r.Header.Get("Content-Type")))})
		return nil, false
	}
	return readAny(w, r, limit)
}

func readAny(w http.ResponseWriter, r *http.Request, limit int64) (body []byte, ok bool) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, limit))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		answerProblem(w, problem{Status: http.StatusRequestEntityTooLarge, Detail: fmt.Sprintf("The body may have %d bytes.", limit)})
		return nil, false
	}
	if err != nil {
		answerProblem(w, problem{Status: http.StatusBadRequest, Detail: "The body could not be read: " + err.Error() + "."})
		return nil, false
	}
	return body, true
}

// readJSON decodes r's body, one JSON value without unknown fields, into v. If it is not that, it answers and returns
// false.
func readJSON(w http.ResponseWriter, r *http.Request, v any) bool {
	body, ok := read(w, r, maxJSON, "application/json")
	if !ok {
		return false
	}
	if err := decode(body, v); err != nil {
		answerProblem(w, problem{Status: http.StatusBadRequest, Detail: "The body is not what this call takes.", Faults: []fault{place(body, err)}})
		return false
	}
	return true
}

// readNothing refuses a body other than an empty one or {}.
func readNothing(w http.ResponseWriter, r *http.Request) bool {
	body, ok := readAny(w, r, maxJSON)
	if !ok {
		return false
	}
	if len(bytes.TrimSpace(body)) == 0 {
		return true
	}
	if err := decode(body, &struct{}{}); err != nil {
		answerProblem(w, problem{Status: http.StatusBadRequest, Detail: "This call takes no body.", Faults: []fault{place(body, err)}})
		return false
	}
	return true
}

// errTrailing says where a second value begins.
type errTrailing struct{ offset int64 }

func (errTrailing) Error() string { return "there is more after the JSON value" }

func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errTrailing{d.InputOffset()}
	}
	return nil
}

// place turns an error of decode into a fault with line and column.
func place(body []byte, err error) fault {
	f := fault{Message: strings.TrimPrefix(err.Error(), "json: ")}
	offset := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	var trailing errTrailing
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset, f.Path = kind.Offset, kind.Field
		f.Message = fmt.Sprintf("must be %s, not %s", kind.Type, kind.Value)
	case errors.As(err, &trailing):
		offset = trailing.offset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		f.Message, offset = "the JSON value is not complete", int64(len(body))
	}
	if offset >= 0 && offset <= int64(len(body)) {
		before := body[:offset]
		f.Line = 1 + bytes.Count(before, []byte{'\n'})
		f.Col = max(1, len(before)-(bytes.LastIndexByte(before, '\n')+1))
	}
	return f
}
