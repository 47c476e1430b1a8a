package h2

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

func clientOptions() *ClientOptions {
	return &ClientOptions{
		Streams: 100, HeadBytes: 4 << 10, HeadTimeout: 5 * time.Second, IdleTimeout: 10 * time.Second, Quiet: 10 * time.Second, Dead: 10 * time.Second, ControlFrames: 1000,
	}
}

// far is a server that says what it likes, and the client that it has.
type far struct {
	*peer
	c *Client
}

// serveFar serves a client until the test ends.
func serveFar(t testing.TB, nc net.Conn, o *ClientOptions) *Client {
	t.Helper()
	c := NewClient(nc, o)
	serving(t, c, nc)
	return c
}

// silentFar is one that has said nothing yet.
func silentFar(t testing.TB, o *ClientOptions) *far {
	t.Helper()
	server, client := pair(t)
	t.Cleanup(func() { server.Close() })
	p := newPeer(t, server)
	c := serveFar(t, client, o)
	preface := make([]byte, len(Preface))
	if _, err := io.ReadFull(server, preface); err != nil || string(preface) != Preface {
		t.Fatalf("%q %v", preface, err)
	}
	return &far{p, c}
}

func newFar(t testing.TB, o *ClientOptions, settings ...http2.Setting) *far {
	t.Helper()
	p := silentFar(t, o)
	p.WriteSettings(settings...)
	if err := p.c.Ready(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return p
}

// newCall is a call of which nothing was said.
func newCall(t testing.TB, c *Client) *Call {
	t.Helper()
	if !c.Reserve() {
		t.Fatal("no stream")
	}
	k := new(Call)
	k.Begin(c)
	return k
}

// request is one as the tests send them.
func request(method string, end bool, fields ...string) *Request {
	r := &Request{Method: []byte(method), Scheme: []byte("http"), Authority: []byte("a.example"), Path: []byte("/x"), End: end}
	for i := 0; i < len(fields); i += 2 {
		r.Fields = append(r.Fields, Field{[]byte(fields[i]), []byte(fields[i+1])})
	}
	return r
}

// asks is a call that has asked.
func asks(t testing.TB, c *Client, method string, end bool, fields ...string) *Call {
	t.Helper()
	k := newCall(t, c)
	if err := k.Ask(request(method, end, fields...)); err != nil {
		t.Fatal(err)
	}
	k.Flush()
	return k
}

// answered reads an answer to its end, and says what became of it: "103 200 body; trailers", "200 body cut", "error".
func answered(k *Call) string {
	var b strings.Builder
	for {
		a, err := k.ReadHead()
		if err != nil {
			return strings.TrimSpace(b.String() + " error")
		}
		if fmt.Fprintf(&b, "%d ", a.Status); a.Status >= 200 {
			break
		}
	}
	body, err := io.ReadAll(&readerOf{k})
	b.Write(body)
	if err != nil {
		b.WriteString(" cut")
	}
	if t := k.Trailers(); len(t) > 0 {
		b.WriteString("; " + strings.ReplaceAll(strings.TrimSpace(string(t)), "\r\n", ", "))
	}
	return strings.TrimSpace(b.String())
}

type readerOf struct{ k *Call }

func (r *readerOf) Read(p []byte) (int, error) { return r.k.Read(p) }

// say sends an answer's head.
func (p *far) say(id uint32, end bool, fields ...string) {
	p.head.Reset()
	p.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: p.only(fields...), EndHeaders: true, EndStream: end})
}
