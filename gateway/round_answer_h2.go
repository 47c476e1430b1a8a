package gateway

import (
	"bytes"
	"io"
	"net/http"

	"weir/internal/h2"
	"weir/internal/http1"
)

// Read reads of the answer.
func (r *round) Read(p []byte) (int, error) {
	if err := r.reading.begin(); err != nil {
		return 0, err
	}
	n, err := r.read(p)
	if err == io.EOF {
		r.reading.end(nil) //nolint:errcheck // it has none
		return n, err
	}
	return n, r.reading.end(err)
}

func (r *round) read(p []byte) (int, error) {
	if len(r.head) == 0 && !r.begun {
		if err := r.readHead(); err != nil {
			return 0, err
		}
	}
	if len(r.head) == 0 {
		return r.answer.Read(p)
	}
	n := copy(p, r.head)
	if r.head = r.head[n:]; r.more && len(r.head) == 0 && len(p)-n >= chunkRoom {
		r.more = false
		m, _ := r.answer.Read(p[n:]) // it does not wait; an error comes again
		n += m
	}
	return n, nil
}

// readHead waits for a head that says something.
func (r *round) readHead() error {
	if r.failed != nil {
		return r.failed
	}
	for {
		a, err := r.own.ReadHead()
		if err != nil {
			return err
		}
		if a.Status != http.StatusContinue {
			r.lines = r.appendHead(r.lines[:0], &a)
			r.head = r.lines
			return nil
		}
	}
}

// appendHead writes a head as HTTP/1 does.
func (r *round) appendHead(b []byte, a *h2.Answer) []byte {
	if r.tunnel != nil && a.Status/100 == 2 {
		r.begun = true
		return r.appendSwitch(b, a)
	}
	b = append(appendStatus(b, a.Status, http.StatusText(a.Status)), a.Fields...)
	if a.Status < 200 {
		return append(b, '\r', '\n')
	}
	r.begun = true
	switch {
	case r.toHead || http1.NoBody(a.Status):
		if a.Length >= 0 {
			b = appendLength(b, a.Length)
		}
		return append(b, '\r', '\n')
	case a.Ends: // of a length that is not here the body will be cut
		b = appendLength(b, max(0, a.Length))
	case a.Length >= 0 && !a.Announces && !answersGRPC(a.Fields):
		b = appendLength(b, a.Length)
	default: // HTTP/1 has trailers only behind chunks
		r.answer.chunked = true
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	r.more = a.Here && !a.Ends
	return append(b, '\r', '\n')
}

// answersGRPC reports whether an answer of these lines is one of gRPC.
func answersGRPC(lines []byte) bool {
	const name = "content-type: "
	for line := range bytes.Lines(lines) {
		if v, ok := bytes.CutPrefix(line, []byte(name)); ok {
			return isGRPC(view(bytes.TrimSpace(v)))
		}
	}
	return false
}

// appendTrailers writes the answer's trailers.
func (r *round) appendTrailers(b []byte) []byte { return append(b, r.own.Trailers()...) }
