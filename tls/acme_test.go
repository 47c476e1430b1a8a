package tls

import (
	"bytes"
	"context"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// pebble is a running ACME authority that validates for real: it resolves names by our DNS and calls our ports.
type pebble struct {
	directory string
	roots     *x509.CertPool
	out       *lockedBuffer
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// buildPebble builds the authority from its module. Only a module that cannot be fetched skips the test.
func buildPebble(t *testing.T) string {
	t.Helper()
	const peers, pkg = "../tests/peers", "github.com/letsencrypt/pebble/v2/cmd/pebble"
	list := exec.Command("go", "list", "-C", peers, "-deps", "-f", "{{.ImportPath}}", pkg)
	if out, err := list.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED, nothing shown about ACME: pebble's module cannot be fetched: %v\n%s", err, out)
	}
	bin := filepath.Join(t.TempDir(), "pebble")
	if out, err := exec.Command("go", "build", "-C", peers, "-o", bin, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build pebble: %v\n%s", err, out)
	}
	return bin
}

func freePort(t *testing.T) int {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	return ln.Addr().(*net.TCPAddr).Port
}

func startPebble(t *testing.T, api *ca, httpPort, tlsPort int) *pebble {
	t.Helper()
	bin := buildPebble(t)
	own := api.files("pebble", ask{names: []string{"localhost"}, ips: []net.IP{net.IPv4(127, 0, 0, 1)}})
	listen, management := fmt.Sprintf("127.0.0.1:%d", freePort(t)), fmt.Sprintf("127.0.0.1:%d", freePort(t))
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": listen, "managementListenAddress": management, "certificate": own.Cert, "privateKey": own.Key,
		"httpPort": httpPort, "tlsPort": tlsPort, "keyAlgorithm": "ecdsa", "retryAfter": map[string]int{"authz": 1, "order": 1},
	}})
	must(t, err)
	file := filepath.Join(t.TempDir(), "pebble.json")
	must(t, os.WriteFile(file, config, 0o600))
	p := &pebble{directory: "https://" + listen + "/dir", out: &lockedBuffer{}}
	cmd := exec.Command(bin, "-config", file, "-dnsserver", resolver(t))
	cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=5", "PEBBLE_VA_ALWAYS_VALID=0", "PEBBLE_AUTHZREUSE=0")
	cmd.Stdout, cmd.Stderr = p.out, p.out
	must(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("pebble said:\n%s", p.out)
		}
	})
	p.roots = p.fetchRoots(t, api, management)
	return p
}

// fetchRoots gets the root that pebble made for itself, and so waits until it answers.
func (p *pebble) fetchRoots(t *testing.T, api *ca, management string) *x509.CertPool {
	t.Helper()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &stdtls.Config{RootCAs: api.pool()}}}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) { // another process: nothing to wait on
		res, err := client.Get("https://" + management + "/roots/0")
		if err == nil {
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			must(t, err)
			pool := x509.NewCertPool()
			if pool.AppendCertsFromPEM(text) {
				return pool
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("pebble does not answer: %v\n%s", err, p.out)
		}
	}
}

var newOrder = regexp.MustCompile(`POST /order-plz`)

func (p *pebble) orders() int { return len(newOrder.FindAllString(p.out.String(), -1)) }

// resolver answers questions over TCP, as pebble asks them: names under "second" are at 127.0.0.2, all others at 127.0.0.1.
func resolver(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	serveOn(t, ln, MuxOptions{}, func(c *Conn) {
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		for {
			var size [2]byte
			if _, err := io.ReadFull(c, size[:]); err != nil {
				return
			}
			b := make([]byte, binary.BigEndian.Uint16(size[:]))
			if _, err := io.ReadFull(c, b); err != nil {
				return
			}
			out, err := resolve(b)
			if err != nil {
				t.Errorf("resolve: %v", err)
				return
			}
			c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(out))), out...))
		}
	})
	return ln.Addr().String()
}

func resolve(question []byte) ([]byte, error) {
	var q dnsmessage.Message
	if err := q.Unpack(question); err != nil {
		return nil, err
	}
	r := dnsmessage.Message{Header: dnsmessage.Header{ID: q.ID, Response: true, RecursionAvailable: true}, Questions: q.Questions[:1]}
	if asked := q.Questions[0]; asked.Type == dnsmessage.TypeA {
		addr := [4]byte{127, 0, 0, 1}
		if strings.Contains(asked.Name.String(), "second") {
			addr[3] = 2
		}
		r.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: asked.Name, Class: dnsmessage.ClassINET, TTL: 1}, Body: &dnsmessage.AResource{A: addr}}}
	}
	return r.Pack()
}

// challenges answers HTTP-01 as a listener in clear text does, by net/http here.
func challenges(t *testing.T, ln net.Listener, store *Store, answered *lockedBuffer) {
	t.Helper()
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := store.HTTP01(r.URL.Path, r.Host)
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprintln(answered, r.Host)
		w.Write(body)
	})}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	t.Cleanup(func() { srv.Close(); <-done })
}

// A certificate by TLS-ALPN-01, another by HTTP-01, both kept and used again after a restart without a new order.
func TestACMEWithPebble(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs an ACME authority")
	}
	const byTLS, byHTTP = "first.weir.test", "second.weir.test"
	tlsListener, err := net.Listen("tcp", "127.0.0.1:0") // not on 127.0.0.2: the second name cannot be validated by TLS
	must(t, err)
	httpListener, err := net.Listen("tcp", "127.0.0.2:0") // not on 127.0.0.1: the first name cannot be validated by HTTP
	must(t, err)
	api := newCA(t, "api")
	authority := startPebble(t, api, httpListener.Addr().(*net.TCPAddr).Port, tlsListener.Addr().(*net.TCPAddr).Port)
	log, cache := newJournal(), filepath.Join(t.TempDir(), "acme")
	// Clients must show a certificate here; the authority has none to show.
	o := Options{ClientAuth: Require, ClientCA: api.file, Log: log.logger(), ACME: ACMEOptions{Enabled: true, Email: "ops@weir.test",
		Domains: []string{byTLS, byHTTP}, Directory: authority.directory, CAFile: api.file, CacheDir: cache}}
	store := newStore(t, o)
	tlsAddr := tlsListener.Addr().String()
	m := serveOn(t, tlsListener, MuxOptions{TLS: store}, describe)
	var answered lockedBuffer
	challenges(t, httpListener, store, &answered)

	config := func(name string) *stdtls.Config {
		return &stdtls.Config{RootCAs: authority.roots, ServerName: name, Certificates: []stdtls.Certificate{api.client("alice")}}
	}
	if got := visit(t, tlsAddr, config(byTLS)); got.err == nil || alert(got.err) == unrecognized {
		t.Errorf("before a certificate was obtained: %v, want a failure that is not about the name", got.err)
	}
	stop := run(t, store)
	for range 2 {
		log.wait(t, `msg="certificate from the acme authority"`)
	}
	serials := map[string]string{}
	for _, name := range []string{byTLS, byHTTP} {
		got := visit(t, tlsAddr, config(name))
		if got.err != nil {
			t.Fatalf("%s: %v", name, got.err)
		}
		serials[name] = got.serial()
	}
	if got := visit(t, tlsAddr, &stdtls.Config{InsecureSkipVerify: true, ServerName: "third.weir.test"}); alert(got.err) != unrecognized {
		t.Errorf("a domain that is not ours: %v", got.err)
	}
	if got := answered.String(); !strings.Contains(got, byHTTP) || strings.Contains(got, byTLS) {
		t.Errorf("HTTP-01 was answered for %q, want %s alone", got, byHTTP)
	}
	if infos := store.Certificates(); len(infos) != 2 || infos[0].Source != "acme" || infos[0].Names[0] != byTLS || time.Until(infos[1].NotAfter) < time.Hour {
		t.Errorf("%+v", infos)
	}
	stop()

	// Restart: the cache serves before Run, and Run orders nothing.
	orders := authority.orders()
	if orders < 2 {
		t.Errorf("%d orders seen: the count shows nothing", orders)
	}
	second := newStore(t, o)
	m.Reconfigure(MuxOptions{TLS: second})
	for round := range 2 {
		for name, want := range serials {
			if got := visit(t, tlsAddr, config(name)); got.err != nil || got.serial() != want {
				t.Errorf("after a restart, round %d, %s: %v, serial changed", round, name, got.err)
			}
		}
		if round == 0 {
			run(t, second)
			log.wait(t, "acme certificate is current")
			log.wait(t, "acme certificate is current")
		}
	}
	if n := authority.orders(); n != orders {
		t.Errorf("%d new orders after a restart", n-orders)
	}
	if info, err := os.Stat(cache); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("cache directory: %v, %v", info, err)
	}
}

func acmeStore(t *testing.T, o ACMEOptions, log *slog.Logger) *Store {
	t.Helper()
	o.Enabled = true
	return newStore(t, Options{ACME: o, Log: log})
}

// An authority that does not answer: Run keeps trying, holds no handshake, and ends at once.
func TestACMEAuthorityDown(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and never says a word
	must(t, err)
	defer ln.Close()
	log := newJournal()
	store := acmeStore(t, ACMEOptions{Domains: []string{"a.example"}, Directory: "https://" + ln.Addr().String() + "/dir"}, log.logger())
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	stop := run(t, store)
	c, err := ln.Accept() // Run is in the middle of a call
	must(t, err)
	defer c.Close()
	if got := visit(t, addr, &stdtls.Config{InsecureSkipVerify: true, ServerName: "a.example"}); got.err == nil {
		t.Error("a handshake without a certificate")
	}
	stop() // would take as long as the call's timeout if the call were not cut
}

func TestACMEFailureIsLoggedAndRetried(t *testing.T) {
	log := newJournal()
	store := acmeStore(t, ACMEOptions{Domains: []string{"a.example"}, Directory: fmt.Sprintf("https://127.0.0.1:%d/dir", freePort(t))}, log.logger())
	store.timing.acmeRetry = time.Millisecond
	stop := run(t, store)
	log.wait(t, "no certificate from the acme authority", "domain=a.example", "retry=1ms")
	log.wait(t, "no certificate from the acme authority", "domain=a.example", "retry=2ms")
	stop()
}

func TestReloadReplacesTheAuthority(t *testing.T) {
	o := Options{ACME: ACMEOptions{Enabled: true, Domains: []string{"a.example"}, Directory: "https://127.0.0.1:1/dir"}}
	store := newStore(t, o)
	first := store.view.Load().acme
	must(t, store.Reload(o))
	if store.view.Load().acme != first {
		t.Error("the same options made a new authority")
	}
	stop := run(t, store)
	o.ACME.Domains = []string{"a.example", "b.example"}
	must(t, store.Reload(o))
	if store.view.Load().acme == first {
		t.Error("new domains did not make a new authority")
	}
	<-first.net.life.Done() // Run gives the former one up
	stop()
	o.ACME.Enabled = false
	if err := store.Reload(o); err == nil {
		t.Error("a Store with nothing to serve")
	}
}

func TestHTTP01AnswersItsOwnOnly(t *testing.T) {
	dir := t.TempDir()
	store := acmeStore(t, ACMEOptions{Domains: []string{"a.example"}, CacheDir: dir}, nil)
	must(t, os.WriteFile(filepath.Join(dir, "token+http-01"), []byte("token.key"), 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "acme_account+key"), []byte("secret"), 0o600))
	f := func(path, host, want string) {
		t.Helper()
		body, ok := store.HTTP01(path, host)
		if ok != (want != "") || ok && string(body) != want {
			t.Errorf("%s %s: %q %v, want %q", host, path, body, ok, want)
		}
	}
	f("/.well-known/acme-challenge/token", "a.example", "token.key")
	f("/.well-known/acme-challenge/token", "A.Example:80", "token.key")
	f("/.well-known/acme-challenge/token", "b.example", "")
	f("/.well-known/acme-challenge/token", "", "")
	f("/.well-known/acme-challenge/other", "a.example", "")
	f("/.well-known/acme-challenge/", "a.example", "")
	f("/.well-known/acme-challenge/../acme_account+key", "a.example", "")
	f("/.well-known/acme-challenge/x/token", "a.example", "")
	f("/.well-known/acme-challenge/token%00", "a.example", "")
	f("/token", "a.example", "")
	c := newCA(t, "root")
	plain := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	if _, ok := plain.HTTP01("/.well-known/acme-challenge/token", "a.example"); ok {
		t.Error("answered with ACME off")
	}
}

func TestCachedCertificateMustBeGood(t *testing.T) {
	c := newCA(t, "root")
	f := func(a ask, want bool) {
		t.Helper()
		dir := t.TempDir()
		certPEM, keyPEM := c.pem(a)
		must(t, os.WriteFile(filepath.Join(dir, "a.example"), append(keyPEM, certPEM...), 0o600))
		store := acmeStore(t, ACMEOptions{Domains: []string{"a.example"}, CacheDir: dir}, nil)
		if got := len(store.Certificates()) == 1; got != want {
			t.Errorf("%+v: in force %v, want %v", a, got, want)
		}
		_, addr := serve(t, MuxOptions{TLS: store}, describe)
		// The only domain there is answers a client that names nobody, too.
		if got := visit(t, addr, &stdtls.Config{InsecureSkipVerify: true, ServerName: "127.0.0.1"}); (got.err == nil) != want {
			t.Errorf("%+v: no SNI: %v", a, got.err)
		}
	}
	f(ask{names: []string{"a.example"}}, true)
	f(ask{names: []string{"b.example"}}, false)
	f(ask{names: []string{"a.example"}, notAfter: time.Now().Add(-time.Minute)}, false)
}

func TestPublishReplacesOnlyWhatChanged(t *testing.T) {
	c, log := newCA(t, "root"), newJournal()
	a := acmeStore(t, ACMEOptions{Domains: []string{"a.example"}}, log.logger()).view.Load().acme
	load := func(left time.Duration) *stdtls.Certificate {
		certPEM, keyPEM := c.pem(ask{names: []string{"a.example"}, notAfter: time.Now().Add(left)})
		cert, err := stdtls.X509KeyPair(certPEM, keyPEM)
		must(t, err)
		return &cert
	}
	first := load(10 * time.Minute) // of 130
	a.publish("a.example", first)
	log.wait(t, `msg="certificate from the acme authority"`)
	a.publish("a.example", first)
	log.wait(t, "overdue")
	second := load(time.Hour)
	a.publish("a.example", second)
	log.wait(t, `msg="certificate from the acme authority"`)
	if a.certificate("a.example") != second {
		t.Error("a renewed certificate is not in force")
	}
}

func TestTransportEndsWithItsLife(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	life, end := context.WithCancel(context.Background())
	tr := &lifeTransport{base: &http.Transport{}, life: life}
	got := make(chan error, 1)
	go func() {
		r, _ := http.NewRequest("GET", "http://"+ln.Addr().String(), nil)
		_, err := tr.RoundTrip(r)
		got <- err
	}()
	c, err := ln.Accept()
	must(t, err)
	defer c.Close()
	end()
	if err := <-got; err == nil {
		t.Error("a call outlived its transport")
	}
}
