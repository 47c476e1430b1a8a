package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"os"
	"sync"
	"sync/atomic"

	"weir/internal/http1"
)

//lint:file-ignore SA1019 why x/net's HTTP/2 and not net/http's: docs/adr/019-http2.md

// round is a stream to an endpoint as a connection of HTTP/1 for one request: what is written is taken apart and sent on the stream, and
// reads give the answer as HTTP/1 writes it. It is the counterpart of stream.
type round struct {
	link   *link
	wire   *wire // that reads and writes; its due instants are what counts
	ctx    context.Context
	cancel context.CancelFunc
	given  bool        // the link, to the library
	wrote  atomic.Bool // the library has written the head

	sent    bool // the head was written, and the request is under way
	framing unframer
	request *http.Request
	tunnel  *asked // the request asks for a tunnel; nil: it does not

	mu   sync.Mutex     // for who sets body, and who reads it elsewhere than in writes
	body *io.PipeWriter // of a request that was not whole in the first write

	interim chan []byte // heads of 1xx answers
	done    chan struct{}
	resp    *http.Response // after done
	err     error          // after done
	head    []byte         // of the answer; not read yet
	answer  chunker
	begun   bool // the answer's head was made

	alarms
}

// errTooLong is what is left that a head cannot be sent for: the endpoint says how much it takes (RFC 9113, section 6.5.2).
var errTooLong = errors.New("the head is longer than the endpoint takes")

func newRound(l *link) *round {
	r := &round{link: l, interim: make(chan []byte, maxInterim), done: make(chan struct{})}
	ctx := context.WithValue(context.Background(), taken{}, &r.given)
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: r.got1xx, WroteHeaders: func() { r.wrote.Store(true) }})
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.reading.check = func() error { return r.wire.lateRead(os.ErrDeadlineExceeded) }
	r.reading.cut, r.writing.cut = r.abandon, r.abandon
	return r
}

// Write takes a request: its head with the first write, and whole chunks of its body with any.
func (r *round) Write(p []byte) (int, error) {
	if err := r.writing.begin(); err != nil {
		return 0, err
	}
	if err := r.writing.end(r.write(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (r *round) write(p []byte) error {
	if !r.sent {
		return r.begin(p)
	}
	if r.body == nil {
		return errFraming
	}
	if r.tunnel != nil {
		return r.sendPiece(p)
	}
	if err := r.framing.feed(p, r.sendPiece, r.setTrailer); err != nil {
		return err
	}
	if r.framing.done {
		return r.body.Close()
	}
	return nil
}

func (r *round) sendPiece(p []byte) error {
	_, err := r.body.Write(p)
	return err
}

func (r *round) setTrailer(name, value []byte) {
	key := canonical(name)
	if _, announced := r.request.Trailer[key]; announced {
		r.request.Trailer[key] = append(r.request.Trailer[key], string(value))
	}
}

// begin sends the request that p holds, with its body if that is there too.
func (r *round) begin(p []byte) error {
	var h http1.Head
	h.Reset()
	n, fault := h.ParseRequest(p, http1.Limits{Bytes: len(p) + 1, Fields: 1 << 15})
	if fault != http1.None || n == 0 {
		return errFraming
	}
	r.request = r.translate(&h)
	if r.askTunnel(&h); r.tunnel != nil {
		r.request.Body = r.openBody()
	} else if r.framing.begin(&h, false); !r.framing.done {
		var whole bytes.Buffer
		if len(p) > n {
			if err := r.framing.feed(p[n:], func(p []byte) error { whole.Write(p); return nil }, r.setTrailer); err != nil {
				return err
			}
		}
		if r.framing.done {
			r.request.Body = io.NopCloser(&whole)
		} else {
			rest := r.openBody()
			r.request.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(&whole, rest), rest}
		}
	}
	r.request.GetBody = func() (io.ReadCloser, error) { return http.NoBody, nil } // see link.GetClientConn
	r.sent = true
	go r.run()
	return nil
}

// openBody makes the body one that is written later.
func (r *round) openBody() *io.PipeReader {
	r.mu.Lock()
	defer r.mu.Unlock()
	rest, body := io.Pipe()
	r.body = body
	return rest
}

// run waits for the answer's head. Close waits for it.
func (r *round) run() {
	defer close(r.done)
	if r.resp, r.err = r.link.transport.RoundTrip(r.request); r.err != nil && r.headTooLong() {
		r.err = errTooLong
	}
	if r.err != nil && r.body != nil {
		r.body.CloseWithError(r.err) //nolint:errcheck // it has none
	}
}

// headTooLong reports whether nothing else can be why the head was not sent.
func (r *round) headTooLong() bool {
	return !r.wrote.Load() && r.ctx.Err() == nil && !r.link.dead.Load() && !errors.Is(r.err, errNotActedOn) && !errors.Is(r.err, errNoExtendedConnect)
}

// abandon resets the stream. The library looks at the context only when it does not wait for more of the body.
func (r *round) abandon() {
	r.cancel()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body != nil {
		r.body.CloseWithError(errAborted) //nolint:errcheck // it has none
	}
}

// translate makes the request of a head as the gateway writes them.
func (r *round) translate(h *http1.Head) *http.Request {
	path, query, ask := bytes.Cut(h.Target(), []byte("?"))
	opaque := string(path)
	if len(path) > 1 && path[1] == '/' { // else it would be taken for an authority
		host, _ := h.Get(http1.Host)
		opaque = "//" + string(host) + opaque
	}
	req := (&http.Request{
		Method: string(h.Method()), Proto: "HTTP/2.0", ProtoMajor: 2, Header: make(http.Header, len(h.Fields)),
		URL: &url.URL{Scheme: r.link.scheme, Opaque: opaque, RawQuery: string(query), ForceQuery: ask, Host: "endpoint"},
	}).WithContext(r.ctx)
	req.Header["User-Agent"] = []string{""} // or else the library's own
	for i := range h.Fields {
		name, value := canonical(h.Name(i)), string(h.Value(i))
		switch f := &h.Fields[i]; {
		case f.Known == http1.Host:
			req.Host = value
		case f.Known == http1.Trailer:
			req.Trailer = announced(value)
		case f.Hop || f.Known == http1.ContentLength:
		case name == "User-Agent":
			req.Header[name] = []string{value}
		default:
			req.Header[name] = append(req.Header[name], value)
		}
	}
	if isGRPC(req.Header.Get("Content-Type")) {
		req.Header["Te"] = []string{"trailers"} // servers ask for it
	}
	switch {
	case h.Chunked:
		req.ContentLength = -1
	case h.Length > 0:
		req.ContentLength = h.Length
	case h.Length == 0:
		req.Body = http.NoBody
	}
	return req
}

// announced is a map with the names of a Trailer field.
func announced(list string) http.Header {
	t := http.Header{}
	for name := range bytes.SplitSeq([]byte(list), []byte(",")) {
		if name = bytes.TrimSpace(name); http1.Token(name) && http1.KnownName(string(name)) == http1.Other { // no other is sent; the library would refuse some
			t[canonical(name)] = nil
		}
	}
	return t
}

// got1xx passes an interim answer to whoever reads.
func (r *round) got1xx(code int, h textproto.MIMEHeader) error {
	switch code {
	case http.StatusContinue:
		return nil
	case http.StatusSwitchingProtocols: // HTTP/2 has none (RFC 9113, section 8.6): it would be taken for HTTP/1's
		return errors.New("101 on a stream of HTTP/2")
	}
	b := appendStatus(nil, code, http.StatusText(code))
	b = appendHTTPFields(b, http.Header(h), "Content-Length")
	select {
	case r.interim <- append(b, '\r', '\n'):
		return nil
	default:
		return errors.New("too many interim answers")
	}
}

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
		select {
		case r.head = <-r.interim:
		case <-r.done:
			select {
			case r.head = <-r.interim: // it came before
			default:
				if r.err != nil {
					return 0, r.err
				}
				r.begun = true
				r.head = r.appendHead(nil)
			}
		}
	}
	if len(r.head) > 0 {
		n := copy(p, r.head)
		r.head = r.head[n:]
		return n, nil
	}
	return r.answer.Read(p)
}

// appendHead writes the answer's head as HTTP/1 does.
func (r *round) appendHead(b []byte) []byte {
	resp := r.resp
	if r.tunnel != nil && resp.StatusCode/100 == 2 {
		return r.appendSwitch(b)
	}
	b = appendStatus(b, resp.StatusCode, http.StatusText(resp.StatusCode))
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		delete(resp.Header, name) // not HTTP/2's: they would be believed
	}
	length, sized := resp.Header["Content-Length"]
	if len(length) == 1 && (len(resp.Trailer) > 0 || isGRPC(resp.Header.Get("Content-Type"))) {
		delete(resp.Header, "Content-Length") // HTTP/1 has trailers only behind chunks
		sized = false
	}
	b = appendHTTPFields(b, resp.Header, "")
	r.answer.src = resp.Body
	switch {
	case sized, r.request.Method == http.MethodHead, http1.NoBody(resp.StatusCode):
	case resp.ContentLength == 0: // it ended with its head
		b = append(b, "Content-Length: 0\r\n"...)
	default:
		r.answer.chunked = true
		r.answer.trailers = func(b []byte) []byte { return appendHTTPFields(b, resp.Trailer, "") }
		b = append(appendNames(b, resp.Trailer), "Transfer-Encoding: chunked\r\n"...)
	}
	return append(b, '\r', '\n')
}

// Close ends the stream, if it has not ended by itself.
func (r *round) Close() error {
	r.abandon()
	r.reading.stop()
	r.writing.stop()
	if !r.sent {
		r.link.release()
		return nil
	}
	<-r.done
	if r.resp != nil {
		return r.resp.Body.Close()
	}
	return nil
}

// LocalAddr returns no address: many streams share one.
func (r *round) LocalAddr() net.Addr { return &net.TCPAddr{} }

// RemoteAddr is LocalAddr.
func (r *round) RemoteAddr() net.Addr { return &net.TCPAddr{} }
