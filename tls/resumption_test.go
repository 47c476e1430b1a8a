package tls

import (
	stdtls "crypto/tls"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// session is a client that resumes.
type session struct {
	t    *testing.T
	addr string
	cfg  *stdtls.Config
}

func (s session) visit(wantResumed bool) answered {
	s.t.Helper()
	got := visit(s.t, s.addr, s.cfg)
	if got.err != nil {
		s.t.Errorf("handshake: %v", got.err)
	} else if got.state.DidResume != wantResumed {
		s.t.Errorf("resumed %v, want %v", got.state.DidResume, wantResumed)
	}
	return got
}

func forVersions(t *testing.T, f func(t *testing.T, version uint16)) {
	for _, v := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
		t.Run(stdtls.VersionName(v), func(t *testing.T) { f(t, v) })
	}
}

func TestResumptionAcrossRotationAndReload(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		c := newCA(t, "root")
		o := Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}}
		store := newStore(t, o)
		_, addr := serve(t, MuxOptions{TLS: store}, describe)
		client := func() session {
			return session{t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example", MaxVersion: version, ClientSessionCache: stdtls.NewLRUClientSessionCache(8)}}
		}
		s := client()
		s.visit(false)
		s.visit(true)
		store.rotate()
		s.visit(true) // the key before is accepted; the ticket is renewed under the current one
		store.rotate()
		must(t, store.Reload(o))
		idle := client()
		idle.visit(false)
		store.rotate()
		store.rotate()
		idle.visit(false) // two rotations on, its ticket is worth nothing
	})
}

func TestResumedSessionCannotDodgeClientCertificate(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		c, clients, others := newCA(t, "root"), newCA(t, "clients"), newCA(t, "others")
		o := Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}}
		store := newStore(t, o)
		_, addr := serve(t, MuxOptions{TLS: store}, describe)
		client := func(certs ...stdtls.Certificate) session {
			return session{t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example", MaxVersion: version, Certificates: certs, ClientSessionCache: stdtls.NewLRUClientSessionCache(8)}}
		}
		anonymous, alice := client(), client(clients.client("alice"))
		anonymous.visit(false)
		anonymous.visit(true)

		// Under Request crypto/tls would resume it; but then the client would never be asked for its certificate.
		o.ClientAuth, o.ClientCA = Request, clients.file
		must(t, store.Reload(o))
		anonymous.visit(false)
		anonymous.visit(true)

		o.ClientAuth, o.ClientCA = Require, clients.file
		must(t, store.Reload(o))
		if got := visit(t, addr, anonymous.cfg); got.err == nil {
			t.Errorf("a session from before answered %q with client certificates required", got.text)
		}
		alice.visit(false)
		if got := alice.visit(true); !strings.Contains(got.text, "client=alice") {
			t.Errorf("resumed without the client's certificate: %q", got.text)
		}

		o.ClientCA = others.file
		must(t, store.Reload(o))
		if got := visit(t, addr, alice.cfg); got.err == nil {
			t.Errorf("a session under another client CA answered %q", got.text)
		}
	})
}

func TestResumedSessionCannotTakeAForeignName(t *testing.T) {
	forVersions(t, func(t *testing.T, version uint16) {
		c := newCA(t, "root")
		a, b := c.files("a", ask{names: []string{"a.example"}}), c.files("b", ask{names: []string{"b.example"}})
		store := newStore(t, Options{Certificates: []Pair{a, b}})
		_, addr := serve(t, MuxOptions{TLS: store}, describe)
		s := session{t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "b.example", MaxVersion: version, ClientSessionCache: stdtls.NewLRUClientSessionCache(8)}}
		s.visit(false)
		s.visit(true)
		must(t, store.Reload(Options{Certificates: []Pair{a}}))
		if got := visit(t, addr, s.cfg); alert(got.err) != unrecognized {
			t.Errorf("a name taken away: %v, want %s", got.err, unrecognized)
		}
	})
}

func TestTicketKeysRotateByTheClock(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	keys := func() [][32]byte {
		store.mu.Lock()
		defer store.mu.Unlock()
		return store.keys
	}
	synctest.Test(t, func(t *testing.T) {
		first := keys()[0]
		go store.rotateKeys(t.Context())
		time.Sleep(12*time.Hour - time.Second) // of the bubble's clock
		synctest.Wait()
		if k := keys(); len(k) != 1 || k[0] != first {
			t.Error("rotated before 12 h")
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if k := keys(); len(k) != 2 || k[1] != first || k[0] == first || k[0] == [32]byte{} {
			t.Error("not rotated after 12 h")
		}
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		if k := keys(); len(k) != 2 || slices.Contains(k, first) {
			t.Error("a key older than 24 h is still accepted")
		}
	})
}
