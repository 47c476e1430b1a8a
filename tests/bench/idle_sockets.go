package main

import (
	"bytes"
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http2"
)

//lint:file-ignore SA1019 the client is x/net's, which knows extended CONNECT

// A message of a WebSocket, as a client says it and as the endpoint does.
const (
	saysX   = "\x81\x81\x00\x00\x00\x00x"
	echoesX = "\x81\x01x"
)

// echo sends a message and gets it back.
func echo(c io.ReadWriter) error {
	if _, err := io.WriteString(c, saysX); err != nil {
		return err
	}
	b := make([]byte, len(echoesX))
	if _, err := io.ReadFull(c, b); err != nil {
		return err
	}
	if string(b) != echoesX {
		return fmt.Errorf("%q", b)
	}
	return nil
}

// lasts is a WebSocket that has proved to be there; the result has it do so again, and leave.
func lasts(c io.ReadWriteCloser) (func() error, error) {
	if err := echo(c); err != nil {
		return nil, err
	}
	return func() error { return errors.Join(echo(c), c.Close()) }, nil
}

// sockets measures n WebSockets, one connection each.
func (g *idleRig) sockets(what string, n int, conf *cryptotls.Config) (idleFigures, error) {
	return g.measure(what, n, func(int) (func() error, error) {
		c, err := dial(g.web, conf)
		if err != nil {
			return nil, err
		}
		if _, err := io.WriteString(c, upgradeToEcho); err != nil {
			return nil, err
		}
		head := make([]byte, 0, 512)
		for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
			n, err := c.Read(head[len(head) : len(head)+1])
			if err != nil || len(head) == cap(head)-1 {
				return nil, fmt.Errorf("%q %w", head, err)
			}
			head = head[:len(head)+n]
		}
		if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) {
			return nil, fmt.Errorf("%q", head)
		}
		return lasts(c)
	})
}

// dial opens a connection, over TLS if conf is there.
func dial(address string, conf *cryptotls.Config) (net.Conn, error) {
	if conf == nil {
		return net.Dial("tcp", address)
	}
	return cryptotls.Dial("tcp", address, conf)
}

// multiplexed measures WebSockets over HTTP/2, many on each connection.
func (g *idleRig) multiplexed(how string, conf *cryptotls.Config) (idleFigures, error) {
	conns := make([]func() (*http2.ClientConn, error), idleConns) // opened when first used
	for i := range conns {
		conns[i] = sync.OnceValues(func() (*http2.ClientConn, error) {
			c, err := dial(g.web, conf)
			if err != nil {
				return nil, err
			}
			return (&http2.Transport{}).NewClientConn(c)
		})
	}
	leaves := make([]atomic.Int32, idleConns)
	what := fmt.Sprintf("WebSockets %s, %d on each of %d connections of HTTP/2", how, idleStreams, idleConns)
	return g.measure(what, idleConns*idleStreams, func(i int) (func() error, error) {
		conn, err := conns[i%idleConns]()
		if err != nil {
			return nil, err
		}
		s, err := connect(conn, g.web)
		if err != nil {
			return nil, err
		}
		leave, err := lasts(s)
		if err != nil {
			return nil, err
		}
		return func() error {
			if err := leave(); err != nil {
				return err
			}
			if leaves[i%idleConns].Add(1) == idleStreams {
				return conn.Shutdown(context.Background())
			}
			return nil
		}, nil
	})
}

// connect opens a WebSocket on a stream of conn (RFC 8441).
func connect(conn *http2.ClientConn, host string) (*connected, error) {
	body, in := io.Pipe()
	req, err := http.NewRequest("CONNECT", "http://"+host+"/ws", body)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{":protocol": {"websocket"}, "Sec-Websocket-Version": {"13"}, "Origin": {"http://bench"}, "User-Agent": {"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}}
	resp, err := conn.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(resp.Status)
	}
	return &connected{resp.Body, in}, nil
}

// connected is a stream of HTTP/2 that CONNECT has opened.
type connected struct {
	io.Reader
	in *io.PipeWriter
}

func (c *connected) Write(b []byte) (int, error) { return c.in.Write(b) }

// Close ends the client's side, and waits for the end of the other.
func (c *connected) Close() error {
	c.in.Close() //nolint:errcheck // it never fails
	b, err := io.ReadAll(c.Reader)
	if err == nil && len(b) > 0 {
		err = fmt.Errorf("%q after the echo", b)
	}
	return err
}
