package tests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
)

var (
	errNothing  = errors.New("closed between requests")
	requestLine = regexp.MustCompile(`^([!#$%&'*+.^_|~0-9A-Za-z\x60-]+) ([^\x00-\x20\x7f]+) HTTP/1\.1$`)
	fieldLine   = regexp.MustCompile(`^([!#$%&'*+.^_|~0-9A-Za-z\x60-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*$`)
)

// readHead reads a request up to the empty line. It refuses what a lenient server would let pass.
func readHead(br *bufio.Reader) (*upRequest, error) {
	r := &upRequest{}
	line, err := r.line(br)
	if err != nil {
		if len(r.raw) == 0 {
			return nil, errNothing
		}
		return nil, fmt.Errorf("request line %q: %w", r.raw, err)
	}
	m := requestLine.FindStringSubmatch(line)
	if m == nil {
		return nil, fmt.Errorf("bad request line %q", line)
	}
	r.method, r.target = m[1], m[2]
	if r.fields, err = r.section(br); err != nil {
		return nil, err
	}
	count := map[string]int{}
	for _, f := range r.fields {
		count[strings.ToLower(f[0])]++
	}
	if count["host"] != 1 || count["content-length"] > 1 || count["transfer-encoding"] > 1 ||
		count["content-length"]+count["transfer-encoding"] > 1 {
		return nil, fmt.Errorf("framing of %q", r.raw)
	}
	return r, nil
}

// line reads one line that ends with CRLF, keeping its bytes.
func (r *upRequest) line(br *bufio.Reader) (string, error) {
	b, err := br.ReadBytes('\n')
	r.raw = append(r.raw, b...)
	if err != nil {
		return "", err
	}
	if !bytes.HasSuffix(b, []byte("\r\n")) {
		return "", fmt.Errorf("bare LF in %q", b)
	}
	return string(b[:len(b)-2]), nil
}

// section reads fields up to the empty line.
func (r *upRequest) section(br *bufio.Reader) (fields [][2]string, err error) {
	for {
		line, err := r.line(br)
		if err != nil {
			return nil, fmt.Errorf("field: %w", err)
		}
		if line == "" {
			return fields, nil
		}
		m := fieldLine.FindStringSubmatch(line)
		if m == nil {
			return nil, fmt.Errorf("bad field %q", line)
		}
		fields = append(fields, [2]string{m[1], m[2]})
	}
}

// readBody reads the body, and the trailers of a chunked one.
func (r *upRequest) readBody(br *bufio.Reader) error {
	if te := r.get("Transfer-Encoding"); te != "" {
		if te != "chunked" {
			return fmt.Errorf("Transfer-Encoding %q", te)
		}
		return r.readChunks(br)
	}
	cl := r.get("Content-Length")
	if cl == "" {
		return nil
	}
	n, err := strconv.ParseUint(cl, 10, 40)
	if err != nil {
		return err
	}
	return r.take(br, int64(n))
}

func (r *upRequest) readChunks(br *bufio.Reader) error {
	for {
		line, err := r.line(br)
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(line, 16, 40)
		if err != nil {
			return fmt.Errorf("chunk size %q", line)
		}
		if n == 0 {
			r.trailer, err = r.section(br)
			return err
		}
		if err := r.take(br, int64(n)); err != nil {
			return err
		}
		if end, err := r.line(br); err != nil || end != "" {
			return fmt.Errorf("after a chunk: %q, %w", end, err)
		}
	}
}

// take reads n bytes of body and keeps them.
func (r *upRequest) take(br *bufio.Reader, n int64) error {
	b := make([]byte, n)
	m, err := io.ReadFull(br, b)
	r.raw = append(r.raw, b[:m]...)
	r.body = append(r.body, b[:m]...)
	return err
}

// isGone says that a read ended because the connection did, in a place where that is not a fault of form.
func isGone(err error) bool {
	var op *net.OpError
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &op) || errors.Is(err, net.ErrClosed)
}
