package tests

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// h2 returns a client that speaks HTTP/2 in clear text.
func h2(t testing.TB) *http.Client {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: p, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// streams is one connection of HTTP/2 on which requests are opened and answers counted.
type streams struct {
	framer   *http2.Framer
	writing  sync.Mutex // the framer has one buffer for what is written
	c        net.Conn
	open     chan struct{} // one token for each stream that may be open
	leave    chan struct{} // closed at the first GOAWAY
	answered map[uint32]string
	last     uint32   // of the last GOAWAY
	goAways  []uint32 // what they said
	over     chan struct{}
}

func openStreams(t testing.TB, addr string, atOnce int) *streams {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	s := &streams{framer: http2.NewFramer(c, c), c: c, open: make(chan struct{}, atOnce), leave: make(chan struct{}), answered: map[uint32]string{}, over: make(chan struct{})}
	s.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	io.WriteString(c, http2.ClientPreface) //nolint:errcheck // the reader tells
	s.framer.WriteSettings()               //nolint:errcheck // as above
	go s.read()
	return s
}

// read takes what comes until the connection ends.
func (s *streams) read() {
	defer close(s.over)
	status := map[uint32]string{}
	for {
		f, err := s.framer.ReadFrame()
		if err != nil {
			return
		}
		id := f.Header().StreamID
		ended := false
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			status[id], ended = f.PseudoValue("status"), f.StreamEnded()
		case *http2.DataFrame:
			ended = f.StreamEnded()
		case *http2.RSTStreamFrame:
			status[id], ended = f.ErrCode.String(), true
		case *http2.PingFrame:
			if !f.IsAck() {
				s.writing.Lock()
				s.framer.WritePing(true, f.Data) //nolint:errcheck // as above
				s.writing.Unlock()
			}
		case *http2.GoAwayFrame:
			s.goAways, s.last = append(s.goAways, f.LastStreamID), f.LastStreamID
			if len(s.goAways) == 1 {
				close(s.leave)
			}
		}
		if ended {
			s.answered[id] = status[id]
			<-s.open
		}
	}
}

// ask opens streams until the gateway says that it goes away, and returns how many.
func (s *streams) ask(path string) (asked uint32) {
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for id := uint32(1); ; id += 2 {
		select {
		case <-s.leave:
			return asked
		case <-s.over:
			return asked
		case s.open <- struct{}{}:
		}
		head.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", "a.test"}, {":path", path}} {
			enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) //nolint:errcheck // a buffer takes everything
		}
		s.writing.Lock()
		err := s.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true})
		s.writing.Unlock()
		if err != nil {
			return asked
		}
		asked++
	}
}

// TestShutdownH2 opens streams all through SIGTERM. A client that stops at the first GOAWAY loses none: the gateway serves what it had sent
// before it could hear that.
func TestShutdownH2(t *testing.T) {
	t.Parallel()
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			time.Sleep(time.Second)
		}
		say("ok")(w, r)
	})
	w := startWeir(t, onePool, map[string]string{"up": up.addr})
	idle := openStreams(t, w.addr("web"), 1)
	var wg sync.WaitGroup
	for i := range 4 {
		s, path := openStreams(t, w.addr("web"), 20), "/"
		if i == 0 {
			path = "/slow"
		}
		wg.Go(func() {
			asked := s.ask(path)
			<-s.over
			if len(s.answered) != int(asked) || len(s.goAways) != 2 || s.goAways[0] != 1<<31-1 || s.last != 2*asked-1 {
				t.Errorf("%s: %d of %d streams are answered, GOAWAY %v", path, len(s.answered), asked, s.goAways)
			}
			for id, status := range s.answered {
				if status != "200" {
					t.Errorf("stream %d: %s", id, status)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	w.signal(syscall.SIGTERM)
	start := time.Now()
	code := w.wait(8 * time.Second)
	if took := time.Since(start); code != 0 || took > 4*time.Second {
		t.Errorf("exit code %d after %v", code, took)
	}
	wg.Wait()
	<-idle.over
}

// TestReloadH2 changes the configuration 20 times under streams, and takes the listener away at last: nothing fails.
func TestReloadH2(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, answering("one"), map[string]string{"up": up.addr})
	s := openStreams(t, w.addr("web"), 20)
	asked := make(chan uint32)
	go func() { asked <- s.ask("/") }()
	text := func() string {
		_, text := fetch(t, "GET", w.url("/text"), "")
		return text
	}
	for i := range 20 {
		w.writeConfig(answering(fmt.Sprint("n", i)))
		if status, body := w.admin("POST", "/api/v1/config/reload", ""); status != 200 {
			t.Fatalf("%d %s", status, body)
		}
		resp, err := h2(t).Get(w.url("/text"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if want := fmt.Sprint("n", i); string(b) != want || text() != want {
			t.Errorf("%q and %q, want %q", b, text(), want)
		}
	}
	select {
	case <-s.leave:
		t.Error("a reload has ended the connection")
	default:
	}
	w.writeConfig(strings.ReplaceAll(answering("last"), "{name: web, address: \"@web\"}", "{name: other, address: \"@other\"}"))
	if status, body := w.admin("POST", "/api/v1/config/reload", ""); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	n := <-asked
	<-s.over
	if len(s.answered) != int(n) || n < 100 {
		t.Errorf("%d of %d streams are answered", len(s.answered), n)
	}
	for id, status := range s.answered {
		if status != "200" {
			t.Errorf("stream %d: %s", id, status)
		}
	}
}

// goingAway is an endpoint of HTTP/2 that treats each connection's streams as script says.
func goingAway(t testing.TB, script func(f *http2.Framer, conn int, id uint32)) (addr string, asked *atomic.Int64) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked = new(atomic.Int64)
	var wg sync.WaitGroup
	t.Cleanup(func() {
		ln.Close()
		wg.Wait()
	})
	wg.Go(func() {
		for conn := 0; ; conn++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				io.ReadFull(c, make([]byte, len(http2.ClientPreface))) //nolint:errcheck // the next read tells
				f := http2.NewFramer(c, c)
				f.WriteSettings() //nolint:errcheck // as above
				for {
					frame, err := f.ReadFrame()
					if err != nil {
						return
					}
					switch frame := frame.(type) {
					case *http2.SettingsFrame:
						if !frame.IsAck() {
							f.WriteSettingsAck() //nolint:errcheck // as above
						}
					case *http2.HeadersFrame:
						asked.Add(1)
						script(f, conn, frame.StreamID)
					}
				}
			})
		}
	})
	return ln.Addr().String(), asked
}

// TestNotActedOn: a POST that an endpoint has refused, or that lies beyond its GOAWAY, is sent again.
func TestNotActedOn(t *testing.T) {
	t.Parallel()
	ok := func(f *http2.Framer, id uint32) {
		var head bytes.Buffer
		hpack.NewEncoder(&head).WriteField(hpack.HeaderField{Name: ":status", Value: "200"})                                  //nolint:errcheck // a buffer takes everything
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true, EndStream: true}) //nolint:errcheck // the client tells
	}
	for name, script := range map[string]func(f *http2.Framer, conn int, id uint32){
		"refused": func(f *http2.Framer, _ int, id uint32) {
			if id%4 == 3 {
				f.WriteRSTStream(id, http2.ErrCodeRefusedStream) //nolint:errcheck // the client tells
				return
			}
			ok(f, id)
		},
		"gone": func(f *http2.Framer, conn int, id uint32) {
			if id >= 5 {
				f.WriteGoAway(3, http2.ErrCodeNo, nil) //nolint:errcheck // the client tells
				return
			}
			ok(f, id)
		},
	} {
		t.Run(name, func(t *testing.T) {
			addr, asked := goingAway(t, script)
			w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, protocol: h2c, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": addr})
			c := h2(t)
			for i := range 20 {
				var body io.Reader = strings.NewReader("a body")
				if i > 9 { // of no known length
					body = struct{ io.Reader }{body}
				}
				resp, err := c.Post(w.url("/"), "text/plain", body)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("request %d: %d %s", i, resp.StatusCode, resp.Header.Get("Weir-Reason"))
				}
			}
			if asked.Load() <= 20 {
				t.Error("nothing was refused")
			}
		})
	}
}

// TestALPN: with TLS a listener speaks what the client prefers, and HTTP/1 alone where it is told so.
func TestALPN(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	pki := newAuthority(t)
	cert, key := pki.issue("a", "a.test")
	w := startWeir(t, base+`
listeners:
  - {name: web, address: "@web"}
  - {name: both, address: "@both", tls: true}
  - {name: old, address: "@old", tls: true, http2: false}
tls: {certificates: [{cert: "`+cert+`", key: "`+key+`"}]}
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": up.addr})
	f := func(listener, want string, offers ...string) {
		t.Helper()
		c, err := tls.Dial("tcp", w.addr(listener), &tls.Config{ServerName: "a.test", InsecureSkipVerify: true, NextProtos: offers})
		got := ""
		if err == nil {
			got = c.ConnectionState().NegotiatedProtocol
			c.Close()
		} else if alert := new(net.OpError); !errors.As(err, &alert) {
			t.Error(err)
		}
		if got != want {
			t.Errorf("%s: %q, want %q", listener, got, want)
		}
	}
	f("both", "h2", "h2", "http/1.1")
	f("both", "http/1.1", "http/1.1")
	f("both", "")
	f("old", "http/1.1", "h2", "http/1.1")
	f("old", "", "h2")
}
