package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"testing"
)

// Whatever this codec accepts, net/http reads the same way: two parsers that disagree are a smuggled request.
func FuzzRequestAgreesWithNetHTTP(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nT: x\r\n\r\n",
		"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"\r\nGET / HTTP/1.0\r\nConnection: close, te\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		rd := NewReader(bytes.NewReader(raw))
		var h Head
		if err := rd.ReadRequest(&h, lim); err != nil {
			return
		}
		var b Body
		b.Request(&h, &rd, lim)
		var body []byte
		for {
			p, err := b.Next()
			body = append(body, p...)
			if err == io.EOF {
				break
			}
			if err != nil {
				return
			}
		}
		br := bufio.NewReader(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\r\n"))))
		req, err := http.ReadRequest(br)
		if err != nil {
			return // stricter than we are in some values: its refusal smuggles nothing
		}
		if req.Method != string(h.Method()) || req.RequestURI != string(h.Target()) {
			t.Fatalf("start line: %q %q, net/http %q %q", h.Method(), h.Target(), req.Method, req.RequestURI)
		}
		theirs, err := io.ReadAll(req.Body)
		if err != nil {
			return
		}
		if !bytes.Equal(body, theirs) {
			t.Fatalf("body %q, net/http %q", body, theirs)
		}
		rest, _ := io.ReadAll(br)
		if !bytes.Equal(rest, rd.Bytes()) && rd.Buffered() < SmallBuffer && len(rest) < SmallBuffer/2 {
			t.Fatalf("behind the message %q, net/http %q", rd.Bytes(), rest)
		}
	})
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"), false)
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), false)
	f.Add([]byte("HTTP/1.0 304 \r\n\r\nabc"), true)
	f.Fuzz(func(t *testing.T, raw []byte, toHead bool) {
		rd := NewReader(bytes.NewReader(raw))
		var h Head
		if err := rd.ReadResponse(&h, lim); err != nil {
			return
		}
		if h.Status < 100 || h.Status > 599 || h.Chunked && h.Length >= 0 {
			t.Fatalf("accepted %+v", h)
		}
		var b Body
		b.Response(&h, &rd, lim, toHead)
		for {
			if _, err := b.Next(); err != nil {
				break
			}
		}
	})
}
