package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// raw is a client that says exactly the bytes it is told to.
type raw struct {
	t   testing.TB
	c   net.Conn
	br  *bufio.Reader
	got bytes.Buffer // every byte received
}

// response is one response as it arrived. For one that is cut, err says why and body is what came.
type response struct {
	status int
	line   string
	fields [][2]string
	body   []byte
	closed bool // the body ended with the connection, there was no other framing
	err    error
}

// errHeadless means that the connection ended before a response began.
var errHeadless = errors.New("closed without a response")

// dial connects to a loopback address.
func dial(t testing.TB, addr string) *raw {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return newRaw(t, c)
}

func newRaw(t testing.TB, c net.Conn) *raw {
	r := &raw{t: t, c: c}
	r.br = bufio.NewReader(io.TeeReader(c, &r.got))
	t.Cleanup(func() { c.Close() })
	return r
}

// send writes bytes; a peer that has closed the connection is not a fault.
func (r *raw) send(s string) error {
	r.c.SetWriteDeadline(time.Now().Add(10 * time.Second))
	_, err := io.WriteString(r.c, s)
	return err
}

// read reads the next response within d. head says that it answers a HEAD.
func (r *raw) read(d time.Duration, head bool) *response {
	r.c.SetReadDeadline(time.Now().Add(d))
	return readResponse(r.br, head)
}

// ask sends a request and reads its response, which must be complete.
func (r *raw) ask(request string) *response {
	r.t.Helper()
	if err := r.send(request); err != nil {
		r.t.Fatalf("send %.60q: %v", request, err)
	}
	resp := r.read(10*time.Second, strings.HasPrefix(request, "HEAD "))
	if resp.err != nil {
		r.t.Fatalf("answer of %.60q: %v (received %q)", request, resp.err, r.got.String())
	}
	return resp
}

// closedWithin says whether the peer closes the connection within d, sending nothing more.
func (r *raw) closedWithin(d time.Duration) error {
	r.c.SetReadDeadline(time.Now().Add(d))
	b, err := io.ReadAll(r.br)
	switch {
	case len(b) > 0:
		return fmt.Errorf("%q instead of the end of the connection", b)
	case err == nil, isReset(err):
		return nil
	}
	return err
}

// get is the value of the first field of that name, in any case.
func (r *response) get(name string) string {
	for _, f := range r.fields {
		if strings.EqualFold(f[0], name) {
			return f[1]
		}
	}
	return ""
}

// reason is the first token of Weir-Reason.
func (r *response) reason() string {
	token, _, _ := strings.Cut(r.get("Weir-Reason"), ";")
	return strings.TrimSpace(token)
}

// readResponse parses as strictly as readHead does.
func readResponse(br *bufio.Reader, head bool) *response {
	resp := &response{}
	r := &upRequest{}
	line, err := r.line(br)
	if err != nil {
		resp.err = err
		if len(r.raw) == 0 && (errors.Is(err, io.EOF) || isReset(err)) {
			resp.err = errHeadless
		}
		return resp
	}
	resp.line = line
	rest, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(rest) < 4 || rest[3] != ' ' {
		resp.err = fmt.Errorf("bad status line %q", line)
		return resp
	}
	if resp.status, err = strconv.Atoi(rest[:3]); err != nil {
		resp.err = fmt.Errorf("bad status line %q", line)
		return resp
	}
	if resp.fields, resp.err = r.section(br); resp.err != nil {
		return resp
	}
	if head || resp.status/100 == 1 || resp.status == 204 || resp.status == 304 {
		return resp
	}
	r.fields = resp.fields
	switch {
	case r.get("Transfer-Encoding") != "" && r.get("Content-Length") != "":
		resp.err = errors.New("Transfer-Encoding and Content-Length")
	case r.get("Transfer-Encoding") != "" || r.get("Content-Length") != "":
		if resp.err = r.readBody(br); resp.err == io.EOF {
			resp.err = io.ErrUnexpectedEOF
		}
		resp.body = r.body
		resp.fields = append(resp.fields, r.trailer...)
	default:
		resp.closed = true
		resp.body, resp.err = io.ReadAll(br)
	}
	return resp
}

func isReset(err error) bool {
	return err != nil && (strings.Contains(err.Error(), "reset by peer") || strings.Contains(err.Error(), "broken pipe"))
}

func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
