package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	cryptotls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/tests/bench/machine"
)

// What is held open at once.
const (
	idleTunnels   = 10_000 // of clients of HTTP/1: fewer if open files do not suffice for two sockets of each
	idleSecure    = 2_000  // of those over TLS: handshakes take time
	idleConns     = 100    // of HTTP/2
	idleStreams   = 100    // on each of them
	idleSettle    = 3 * time.Second
	idleDialers   = 16
	spareFiles    = 400
	upgradeToEcho = "GET /ws HTTP/1.1\r\nHost: bench\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\nAccept: */*\r\nAccept-Language: en\r\n" +
		"Origin: http://bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)

// idleFigures is what one kind of idle clients takes of the gateway.
type idleFigures struct {
	what                 string
	n                    int
	before, with, after  int64 // bytes resident: before, with all of them, and when they are gone
	goroutines, left     int   // for all of them, and beyond those at first when they are gone
	files, filesLeft     int   // likewise
	took, firstByteAfter time.Duration
}

// runIdle opens idle WebSockets and event streams through the gateway, and reports what they take. It fails if one breaks, or leaves
// something behind.
func runIdle(ctx context.Context, opt *options) error {
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary directory harms nobody
	var all []idleFigures
	for _, m := range idleMeasures() {
		one, err := m.run(ctx, opt, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", one.what, err)
		}
		all = append(all, one)
	}
	report := renderIdle(opt, all)
	fmt.Print(report)
	if opt.out == "" {
		return nil
	}
	return os.WriteFile(opt.out, []byte(report), 0o644)
}

// idleMeasure is one kind of idle clients, whose gateway listens in clear text or over TLS.
type idleMeasure struct {
	secure bool
	take   func(g *idleRig) (idleFigures, error)
}

func idleMeasures() []idleMeasure {
	h1 := &cryptotls.Config{InsecureSkipVerify: true}                             //nolint:gosec // its own
	h2 := &cryptotls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}} //nolint:gosec // as above
	return []idleMeasure{
		{false, func(g *idleRig) (idleFigures, error) {
			return g.sockets("WebSockets in clear text", g.mostTunnels(), nil)
		}},
		{false, func(g *idleRig) (idleFigures, error) { return g.multiplexed("in clear text", nil) }},
		{false, (*idleRig).streams},
		{true, func(g *idleRig) (idleFigures, error) {
			return g.sockets("WebSockets over TLS", min(g.mostTunnels(), idleSecure), h1)
		}},
		{true, func(g *idleRig) (idleFigures, error) { return g.multiplexed("over TLS", h2) }},
	}
}

// run measures with a gateway that nobody else has used, so that no memory is there already.
func (m idleMeasure) run(ctx context.Context, opt *options, dir string) (f idleFigures, err error) {
	g, err := newIdleRig(ctx, opt, dir, m.secure)
	if err != nil {
		return f, err
	}
	defer g.stop()
	return m.take(g)
}

// idleRig is a gateway before an endpoint that takes WebSockets, which it echoes, and event streams, in which it says something when it is
// told to.
type idleRig struct {
	*server
	web, admin string
	endpoint   *http.Server
	say        atomic.Pointer[chan struct{}] // closed: every event stream gets something
}

func newIdleRig(ctx context.Context, opt *options, dir string, secure bool) (*idleRig, error) {
	g := &idleRig{}
	say := make(chan struct{})
	g.say.Store(&say)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := new(http.Protocols)
	p.SetHTTP1(true)
	p.SetUnencryptedHTTP2(true)
	g.endpoint = &http.Server{Handler: http.HandlerFunc(g.serve), Protocols: p}
	go g.endpoint.Serve(ln) //nolint:errcheck // it ends with Close
	if err := selfSigned(dir); err != nil {
		return nil, err
	}
	var ports [2]int
	for i := range ports {
		if ports[i], err = freePort(); err != nil {
			return nil, err
		}
	}
	g.web, g.admin = local(ports[0]), local(ports[1])
	conf := fmt.Sprintf(`node: {name: bench, data_dir: ""}
admin: {address: "%s"}
telemetry: {access_log: {output: "off"}}
listeners:
  - {name: web, address: "%s", tls: %v, limits: {connections: 12000, connections_per_ip: 12000, idle_timeout: 10m}}
tls: {certificates: [{cert: %s/c.pem, key: %s/k.pem}]}
pools:
  - {name: sockets, endpoints: [{address: "%s"}], connections: {idle_timeout: 1s}}
  - {name: events, protocol: h2c, endpoints: [{address: "%s"}], connections: {max: 20000, idle_timeout: 1s}}
routes:
  - {name: sockets, match: {path: /ws}, pool: sockets}
  - {name: events, match: {path: /events}, pool: events, hold: headers, stream: {idle_timeout: 10m}}
shutdown_timeout: 1s
`, g.admin, g.web, secure, dir, dir, ln.Addr(), ln.Addr())
	path := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		return nil, err
	}
	g.server, err = startServer(ctx, "weir", -1, g.web, nil, opt.weir, "run", "-c", path)
	return g, err
}

func (g *idleRig) stop() {
	g.server.stop()
	g.endpoint.Close() //nolint:errcheck // its connections are gone
}

// serve is the endpoint.
func (g *idleRig) serve(w http.ResponseWriter, r *http.Request) {
	ctl := http.NewResponseController(w)
	if r.URL.Path == "/events" {
		w.Header().Set("Content-Type", "text/event-stream")
		ctl.Flush() //nolint:errcheck // the client tells
		select {
		case <-*g.say.Load():
			io.WriteString(w, "data: x\n\n") //nolint:errcheck // as above
		case <-r.Context().Done():
		}
		return
	}
	c, _, err := ctl.Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n") //nolint:errcheck // as above
	for b := make([]byte, len(saysX)); ; {
		if _, err := io.ReadFull(c, b); err != nil || string(b) != saysX {
			return
		}
		io.WriteString(c, echoesX) //nolint:errcheck // as above
	}
}

// mostTunnels is how many tunnels of clients of HTTP/1 the limit of open files allows, of which the gateway keeps some back: each takes two of the gateway's, and two of this process's.
func (g *idleRig) mostTunnels() int {
	var l syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l) != nil {
		return 1000
	}
	return min(idleTunnels, (int(l.Max)-spareFiles)/2)
}

// measure opens n clients with open, which returns what waits for a client's end, and looks at the gateway before, meanwhile and after.
func (g *idleRig) measure(what string, n int, open func(i int) (wait func() error, err error)) (f idleFigures, err error) {
	f.what, f.n = what, n
	say := make(chan struct{})
	g.say.Store(&say)
	if _, err := g.now(); err != nil { // what a scrape needs is there
		return f, err
	}
	time.Sleep(idleSettle)
	before, err := g.now()
	if err != nil {
		return f, err
	}
	began := time.Now()
	waits := make([]func() error, n)
	err = eachOf(n, func(i int) (err error) {
		waits[i], err = open(i)
		return err
	})
	if err != nil {
		return f, err
	}
	f.took = time.Since(began)
	time.Sleep(idleSettle)
	with, err := g.now()
	if err != nil {
		return f, err
	}
	began = time.Now()
	close(say)
	if err := eachOf(n, func(i int) error { return waits[i]() }); err != nil {
		return f, err
	}
	f.firstByteAfter = time.Since(began)
	time.Sleep(idleSettle)
	after, err := g.now()
	f.before, f.with, f.after = before.rss, with.rss, after.rss
	f.goroutines, f.left = with.goroutines-before.goroutines, after.goroutines-before.goroutines
	f.files, f.filesLeft = with.files-before.files, after.files-before.files
	if err == nil && (f.left > 20 || f.filesLeft > 20) {
		err = fmt.Errorf("%d goroutines and %d open files are left behind", f.left, f.filesLeft)
	}
	return f, err
}

// eachOf calls f for 0 to n-1, some at a time, and returns the first error.
func eachOf(n int, f func(i int) error) error {
	var wg sync.WaitGroup
	var next atomic.Int64
	errs := make(chan error, idleDialers)
	for range idleDialers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// streams measures event streams over HTTP/2, many on each connection.
func (g *idleRig) streams() (idleFigures, error) {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	conns := make([]*http.Transport, idleConns) // each makes one
	for i := range conns {
		conns[i] = &http.Transport{Protocols: p}
		defer conns[i].CloseIdleConnections()
	}
	return g.measure(fmt.Sprintf("event streams, %d on each of %d connections of HTTP/2, to an endpoint of HTTP/2", idleStreams, idleConns), idleConns*idleStreams, func(i int) (func() error, error) {
		req, err := http.NewRequest("GET", "http://"+g.web+"/events", nil)
		if err != nil {
			return nil, err
		}
		resp, err := conns[i%idleConns].RoundTrip(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, errors.New(resp.Status)
		}
		return func() error {
			defer conns[i%idleConns].CloseIdleConnections()
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			if err == nil && string(b) != "data: x\n\n" {
				err = fmt.Errorf("%q", b)
			}
			return err
		}, nil
	})
}

// usage is what the gateway uses.
type usage struct {
	rss               int64 // bytes
	goroutines, files int
}

func (g *idleRig) now() (u usage, err error) {
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", g.pid()))
	if err != nil {
		return u, err
	}
	u.files = len(files)
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.pid()))
	if err != nil {
		return u, err
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	fmt.Sscan(rest, &u.rss) //nolint:errcheck // 0 shows
	u.rss <<= 10
	resp, err := http.Get("http://" + g.admin + "/metrics")
	if err != nil {
		return u, err
	}
	defer resp.Body.Close()
	for sc := bufio.NewScanner(resp.Body); sc.Scan(); {
		fmt.Sscanf(sc.Text(), "go_goroutines %d", &u.goroutines) //nolint:errcheck // other lines
	}
	http.DefaultClient.CloseIdleConnections()
	return u, nil
}

// selfSigned writes a certificate and its key to dir.
func selfSigned(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "bench"}, DNSNames: []string{"bench"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "c.pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600),
		os.WriteFile(filepath.Join(dir, "k.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

func renderIdle(opt *options, all []idleFigures) string {
	var b strings.Builder
	m := machine.This()
	fmt.Fprintf(&b, "# What idle clients take\n\n%s, commit %s. %s, %s, %s. weir: %s. Load average before the run: %s.\n\n", time.Now().UTC().Format(time.DateOnly), machine.Commit(opt.repo),
		m.CPU, m.Kernel, m.OS, machine.Build(opt.weir), opt.loadBefore)
	fmt.Fprintf(&b, "`make bench-idle`: clients are opened through the real binary and say nothing for %v; then each gets a message, which all of them got (else there would be no report), and leaves. "+
		"A WebSocket has a message echoed before that too. Those of HTTP/2 come by extended CONNECT (RFC 8441), and the endpoint of all WebSockets speaks HTTP/1. KiB each: by how much the resident memory of the process, a new one for each line, grew, over all of them; the kernel's socket buffers are not in it. There are %d WebSockets by HTTP/1 in clear text unless the limit of open files allows fewer: each is two of the gateway's, one by HTTP/2 is one.\n\n", idleSettle, idleTunnels)
	b.WriteString("| | open | KiB each | MiB in all | goroutines each | open files each | opened in | message to all in | MiB when they had left | goroutines, files left |\n|---|---|---|---|---|---|---|---|---|---|\n")
	for _, f := range all {
		fmt.Fprintf(&b, "| %s | %d | %.1f | %.0f | %.1f | %.1f | %.1f s | %.1f s | %.0f | %d, %d |\n", f.what, f.n, float64(f.with-f.before)/1024/float64(f.n), float64(f.with)/(1<<20),
			float64(f.goroutines)/float64(f.n), float64(f.files)/float64(f.n), f.took.Seconds(), f.firstByteAfter.Seconds(), float64(f.after)/(1<<20), f.left, f.filesLeft)
	}
	return b.String()
}
