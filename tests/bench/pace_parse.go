package main

import (
	"bytes"
	"errors"
	"strconv"
)

var (
	crlf          = []byte("\r\n")
	headEnd       = []byte("\r\n\r\n")
	contentLength = []byte("content-length")
	connection    = []byte("connection")
	errUnframed   = errors.New("response without Content-Length")
	errNotHTTP    = errors.New("not an HTTP/1.1 response")
)

// response is the framing of one response at the front of a buffer.
type response struct {
	Status int
	Size   int  // bytes of head and body
	Close  bool // the server closes the connection after it
}

// parseResponse reads the head at the front of buf. ok is false while the head is not complete; buf may still lack the
// body. Only what the benchmark's servers send is understood: a status line, fields, and Content-Length.
func parseResponse(buf []byte) (r response, ok bool, err error) {
	end := bytes.Index(buf, headEnd)
	if end < 0 {
		return response{}, false, nil
	}
	line, fields, _ := bytes.Cut(buf[:end+len(crlf)], crlf)
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return response{}, false, errNotHTTP
	}
	if r.Status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return response{}, false, errNotHTTP
	}
	length := -1
	for len(fields) > 0 {
		line, fields, _ = bytes.Cut(fields, crlf)
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, contentLength):
			if length, err = strconv.Atoi(string(value)); err != nil || length < 0 {
				return response{}, false, errUnframed
			}
		case bytes.EqualFold(name, connection):
			r.Close = bytes.EqualFold(value, []byte("close"))
		}
	}
	if length < 0 {
		return response{}, false, errUnframed
	}
	r.Size = end + len(headEnd) + length
	return r, true, nil
}
