package tls

import (
	stdtls "crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// eager looks at files soon after events and never by the clock, so that a test shows that events work.
func eager(s *Store) *Store {
	s.timing.settle, s.timing.check = 10*time.Millisecond, time.Hour
	return s
}

func TestChangedFilesArePickedUp(t *testing.T) {
	c := newCA(t, "root")
	a, b := c.files("a", ask{names: []string{"a.example"}}), c.files("b", ask{names: []string{"b.example"}})
	log := newJournal()
	store := eager(newStore(t, Options{Certificates: []Pair{a, b}, Log: log.logger()}))
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	serialOf := func(name string) string {
		t.Helper()
		got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: name})
		if got.err != nil {
			t.Fatal(got.err)
		}
		return got.serial()
	}
	first, other := serialOf("a.example"), serialOf("b.example")
	stop := run(t, store)
	log.wait(t, "watching certificate files", c.dir)
	certPEM, keyPEM := c.pem(ask{names: []string{"a.example", "more.example"}})

	// Half-written: the former one stays and the log says so.
	must(t, os.WriteFile(a.Cert, certPEM[:len(certPEM)/2], 0o600))
	log.wait(t, "changed certificate is not used", a.Cert)
	if got := serialOf("a.example"); got != first {
		t.Errorf("a half-written certificate replaced a good one")
	}
	// Whole, but the key is still the former one's.
	must(t, os.WriteFile(a.Cert, certPEM, 0o600))
	log.wait(t, "changed certificate is not used", "belong together")
	if got := serialOf("a.example"); got != first {
		t.Errorf("a certificate without its key replaced a good one")
	}
	must(t, os.WriteFile(a.Key, keyPEM, 0o600))
	log.wait(t, "certificate picked up", a.Cert)
	if got := serialOf("a.example"); got == first || got != serialOf("more.example") {
		t.Errorf("the changed certificate is not in force")
	}
	if serialOf("b.example") != other {
		t.Error("the certificate beside it changed")
	}
	// Gone: stays.
	must(t, os.Remove(a.Cert))
	log.wait(t, "changed certificate is not used", "does not exist")
	serialOf("a.example")
	// Replaced by rename, as certbot and editors do.
	tmp := filepath.Join(c.dir, "tmp")
	certPEM, keyPEM = c.pem(ask{names: []string{"a.example"}})
	must(t, os.WriteFile(a.Key, keyPEM, 0o600))
	must(t, os.WriteFile(tmp, certPEM, 0o600))
	must(t, os.Rename(tmp, a.Cert))
	log.wait(t, "certificate picked up", a.Cert)
	stop()
}

func TestMountedSecretIsPickedUp(t *testing.T) {
	c := newCA(t, "root")
	dir := t.TempDir()
	version := func(name string) {
		must(t, os.Mkdir(filepath.Join(dir, name), 0o700))
		certPEM, keyPEM := c.pem(ask{names: []string{"a.example"}})
		writePair(t, Pair{filepath.Join(dir, name, "tls.crt"), filepath.Join(dir, name, "tls.key")}, certPEM, keyPEM)
		must(t, os.Symlink(name, filepath.Join(dir, "..tmp")))
		must(t, os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")))
	}
	version("..1")
	p := Pair{filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	must(t, os.Symlink("..data/tls.crt", p.Cert))
	must(t, os.Symlink("..data/tls.key", p.Key))
	log := newJournal()
	store := eager(newStore(t, Options{Certificates: []Pair{p}, Log: log.logger()}))
	stop := run(t, store)
	log.wait(t, "watching certificate files", dir)
	version("..2")
	log.wait(t, "certificate picked up")
	stop()
}

func TestPeriodicLook(t *testing.T) {
	c := newCA(t, "root")
	a := c.files("a", ask{names: []string{"a.example"}})
	store := newStore(t, Options{Certificates: []Pair{a}})
	before := store.Certificates()[0]
	certPEM, keyPEM := c.pem(ask{names: []string{"a.example", "b.example"}})
	writePair(t, a, certPEM, keyPEM)
	store.refresh()
	if after := store.Certificates()[0]; len(after.Names) == len(before.Names) {
		t.Error("refresh did not see the change")
	}
}

func TestBadFileIsLoggedOnce(t *testing.T) {
	c, log := newCA(t, "root"), newJournal()
	a := c.files("a", ask{names: []string{"a.example"}})
	store := newStore(t, Options{Certificates: []Pair{a}, ClientAuth: Request, ClientCA: c.file, Log: log.logger()})
	must(t, os.WriteFile(a.Cert, []byte("junk"), 0o600))
	must(t, os.WriteFile(c.file, []byte("junk"), 0o600))
	for range 5 {
		store.refresh()
	}
	if n := len(log.lines); n != 2 {
		t.Errorf("%d log lines, want one per file", n)
	}
}

func TestChangedClientCADropsSessions(t *testing.T) {
	c, clients, others := newCA(t, "root"), newCA(t, "clients"), newCA(t, "others")
	o := Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}, ClientAuth: Require, ClientCA: clients.file}
	store := newStore(t, o)
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	alice := session{t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example", ClientSessionCache: stdtls.NewLRUClientSessionCache(8),
		Certificates: []stdtls.Certificate{clients.client("alice")}}}
	alice.visit(false)
	alice.visit(true)
	text, err := os.ReadFile(others.file)
	must(t, err)
	must(t, os.WriteFile(clients.file, text, 0o600))
	store.refresh()
	if got := visit(t, addr, alice.cfg); got.err == nil {
		t.Errorf("a client of the former CA got in: %q", got.text)
	}
}

func TestReloadMovesTheWatch(t *testing.T) {
	c, d := newCA(t, "root"), newCA(t, "elsewhere")
	log := newJournal()
	o := Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}, Log: log.logger()}
	store := eager(newStore(t, o))
	stop := run(t, store)
	b := d.files("b", ask{names: []string{"b.example"}})
	o.Certificates = []Pair{b}
	must(t, store.Reload(o))
	log.wait(t, "watching certificate files", d.dir)
	certPEM, keyPEM := d.pem(ask{names: []string{"b.example"}})
	writePair(t, b, certPEM, keyPEM)
	log.wait(t, "certificate picked up", b.Cert)
	stop()
}
