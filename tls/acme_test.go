package tls

import (
	"context"
	stdtls "crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

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
