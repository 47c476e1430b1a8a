package tls

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func alert(err error) string {
	var a stdtls.AlertError
	if errors.As(err, &a) {
		return a.Error()
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err.Error()
	}
	return ""
}

const unrecognized = "tls: unrecognized name"

func TestCertificateBySNI(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{
		c.files("a", ask{names: []string{"a.example", "www.a.example"}}),
		c.files("wild", ask{names: []string{"*.example.org"}}),
		c.files("exact", ask{names: []string{"Exact.example.org"}}),
	}})
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	roots := c.pool()
	f := func(sni, wantName string) {
		t.Helper()
		got := visit(t, addr, &stdtls.Config{RootCAs: roots, ServerName: sni})
		if wantName == "" {
			if alert(got.err) != unrecognized {
				t.Errorf("%s: error %v, want %s", sni, got.err, unrecognized)
			}
			return
		}
		if got.err != nil {
			t.Errorf("%s: %v", sni, got.err)
		} else if n := got.state.PeerCertificates[0].DNSNames[0]; n != wantName {
			t.Errorf("%s: got the certificate of %s, want %s", sni, n, wantName)
		}
	}
	f("a.example", "a.example")
	f("A.EXAMPLE", "a.example")
	f("www.a.example", "a.example")
	f("x.example.org", "*.example.org")
	f("exact.example.org", "Exact.example.org")
	f("example.org", "")
	f("x.y.example.org", "")
	f("b.example", "")
	f("a.example.evil", "")
	// No SNI: an IP address as server name is not sent.
	got := visit(t, addr, &stdtls.Config{InsecureSkipVerify: true, ServerName: "127.0.0.1"})
	if alert(got.err) != unrecognized {
		t.Errorf("no SNI with several certificates: %v, want %s", got.err, unrecognized)
	}
}

func TestNoSNIWithOneCertificate(t *testing.T) {
	c := newCA(t, "root")
	one := c.files("ip", ask{ips: []net.IP{net.IPv4(127, 0, 0, 1)}})
	_, addr := serve(t, MuxOptions{TLS: newStore(t, Options{Certificates: []Pair{one}})}, describe)
	if got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "127.0.0.1"}); got.err != nil {
		t.Errorf("no SNI: %v", got.err)
	}
	if got := visit(t, addr, &stdtls.Config{InsecureSkipVerify: true, ServerName: "other.example"}); alert(got.err) != unrecognized {
		t.Errorf("foreign name: %v, want %s", got.err, unrecognized)
	}
}

func TestKeyTypeByClient(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{
		c.files("rsa", ask{names: []string{"a.example"}, rsa: true}),
		c.files("old", ask{names: []string{"a.example"}, notAfter: time.Now().Add(-time.Minute)}),
		c.files("ec", ask{names: []string{"a.example"}}),
	}})
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	f := func(cfg *stdtls.Config, want x509.PublicKeyAlgorithm) {
		t.Helper()
		cfg.RootCAs, cfg.ServerName = c.pool(), "a.example"
		got := visit(t, addr, cfg)
		if got.err != nil {
			t.Error(got.err)
		} else if a := got.state.PeerCertificates[0].PublicKeyAlgorithm; a != want {
			t.Errorf("got a certificate for %v, want %v", a, want)
		}
	}
	f(&stdtls.Config{}, x509.ECDSA)
	f(&stdtls.Config{MaxVersion: stdtls.VersionTLS12}, x509.ECDSA)
	f(&stdtls.Config{MaxVersion: stdtls.VersionTLS12, CipherSuites: []uint16{stdtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, x509.RSA)
}

func TestExpiredCertificateGivesWay(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{
		c.files("old", ask{names: []string{"a.example"}, notAfter: time.Now().Add(-time.Minute)}),
		c.files("rsa", ask{names: []string{"a.example"}, rsa: true}),
	}})
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	if got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"}); got.err != nil {
		t.Error(got.err)
	}
}

func TestVersionsAndSuites(t *testing.T) {
	c := newCA(t, "root")
	pairs := []Pair{c.files("a", ask{names: []string{"a.example"}, rsa: true})}
	f := func(min uint16, client *stdtls.Config, ok bool) {
		t.Helper()
		_, addr := serve(t, MuxOptions{TLS: newStore(t, Options{Certificates: pairs, MinVersion: min})}, describe)
		client.RootCAs, client.ServerName = c.pool(), "a.example"
		if got := visit(t, addr, client); (got.err == nil) != ok {
			t.Errorf("error %v, want success %v", got.err, ok)
		}
	}
	f(0, &stdtls.Config{MinVersion: stdtls.VersionTLS10, MaxVersion: stdtls.VersionTLS11}, false)
	f(0, &stdtls.Config{MaxVersion: stdtls.VersionTLS12}, true)
	f(stdtls.VersionTLS13, &stdtls.Config{MaxVersion: stdtls.VersionTLS12}, false)
	f(stdtls.VersionTLS13, &stdtls.Config{}, true)
	cbc := []uint16{stdtls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, stdtls.TLS_RSA_WITH_AES_128_GCM_SHA256}
	f(0, &stdtls.Config{MaxVersion: stdtls.VersionTLS12, CipherSuites: cbc}, false)
}

func TestALPN(t *testing.T) {
	c := newCA(t, "root")
	pairs := []Pair{c.files("a", ask{names: []string{"a.example"}})}
	f := func(h2 bool, offered []string, want string, ok bool) {
		t.Helper()
		_, addr := serve(t, MuxOptions{HTTP2: h2, TLS: newStore(t, Options{Certificates: pairs})}, describe)
		got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example", NextProtos: offered})
		if (got.err == nil) != ok || ok && !strings.Contains(got.text, "protocol="+want+" ") {
			t.Errorf("offered %q: %q %v", offered, got.text, got.err)
		}
	}
	f(false, nil, "", true)
	f(false, []string{"http/1.1"}, "http/1.1", true)
	f(false, []string{"h2", "http/1.1"}, "http/1.1", true)
	f(false, []string{"h2"}, "", false)
	f(false, []string{"acme-tls/1"}, "", false)
	f(true, []string{"http/1.1", "h2"}, "h2", true)
}

func TestClientCertificates(t *testing.T) {
	c, clients, strangers := newCA(t, "root"), newCA(t, "clients"), newCA(t, "strangers")
	pairs := []Pair{c.files("a", ask{names: []string{"a.example"}})}
	f := func(mode ClientAuth, certs []stdtls.Certificate, want string, ok bool) {
		t.Helper()
		for _, version := range []uint16{stdtls.VersionTLS12, stdtls.VersionTLS13} {
			_, addr := serve(t, MuxOptions{TLS: newStore(t, Options{Certificates: pairs, ClientAuth: mode, ClientCA: clients.file})}, describe)
			got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example", MaxVersion: version,
				GetClientCertificate: func(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) {
					if len(certs) == 0 {
						return &stdtls.Certificate{}, nil
					}
					return &certs[0], nil // also if the server would not have it
				}})
			if (got.err == nil) != ok || ok && !strings.Contains(got.text, "client="+want+" ") {
				t.Errorf("mode %d, %s: %q, error %v", mode, stdtls.VersionName(version), got.text, got.err)
			}
		}
	}
	alice, mallory := []stdtls.Certificate{clients.client("alice")}, []stdtls.Certificate{strangers.client("mallory")}
	f(None, nil, "-", true)
	f(None, alice, "-", true)
	f(Request, nil, "-", true)
	f(Request, alice, "alice", true)
	f(Request, mallory, "", false)
	f(Require, nil, "", false)
	f(Require, alice, "alice", true)
	f(Require, mallory, "", false)
}

func TestReloadIsAllOrNothing(t *testing.T) {
	c := newCA(t, "root")
	good := Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}}
	store := newStore(t, good)
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	before := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"})
	bad := Options{Certificates: []Pair{c.files("new", ask{names: []string{"new.example"}}), {"absent.pem", "absent.key"}}}
	if err := store.Reload(bad); err == nil || !strings.Contains(err.Error(), "absent.pem does not exist") {
		t.Errorf("Reload: %v", err)
	}
	if got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "new.example"}); alert(got.err) != unrecognized {
		t.Errorf("half of a bad reload is in force: %v", got.err)
	}
	if got := visit(t, addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"}); got.err != nil || got.serial() != before.serial() {
		t.Errorf("the former certificate is gone: %v", got.err)
	}
}

func TestOpenConnectionsOutliveReload(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	_, addr := serve(t, MuxOptions{TLS: store}, func(c *Conn) {
		defer c.Close()
		var b [1]byte
		for {
			if _, err := c.Read(b[:]); err != nil {
				return
			}
			c.Write(b[:])
		}
	})
	nc, err := stdtls.Dial("tcp", addr, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"})
	must(t, err)
	defer nc.Close()
	must(t, store.Reload(Options{Certificates: []Pair{c.files("b", ask{names: []string{"b.example"}})}, ClientAuth: Require, ClientCA: c.file}))
	if _, err := nc.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := nc.Read(b[:]); err != nil || b[0] != 'x' {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestErrorsOfOptions(t *testing.T) {
	c := newCA(t, "root")
	a, b := c.files("a", ask{names: []string{"a.example"}}), c.files("b", ask{names: []string{"b.example"}})
	cn := c.files("cn", ask{cn: "cn.example"})
	ip := c.files("ip", ask{ips: []net.IP{net.IPv4(127, 0, 0, 1)}})
	junk := filepath.Join(c.dir, "junk.pem")
	must(t, os.WriteFile(junk, []byte("junk"), 0o600))
	on := func(o ACMEOptions) Options { o.Enabled = true; return Options{ACME: o} }
	f := func(o Options, parts ...string) {
		t.Helper()
		_, err := NewStore(o)
		if err == nil {
			t.Errorf("%+v: no error, want %q", o, parts)
			return
		}
		for _, p := range parts {
			if !strings.Contains(err.Error(), p) {
				t.Errorf("error %q lacks %q", err, p)
			}
		}
	}
	f(Options{}, "no certificates", "acme")
	f(Options{Certificates: []Pair{a}, MinVersion: stdtls.VersionTLS11}, "TLS 1.1", "1.2 or 1.3")
	f(Options{Certificates: []Pair{{"", a.Key}}}, "certificate file is not named")
	f(Options{Certificates: []Pair{{a.Cert, "no.key"}}}, "key file no.key does not exist")
	f(Options{Certificates: []Pair{{a.Cert, b.Key}}}, a.Cert, b.Key, "belong together")
	f(Options{Certificates: []Pair{{junk, a.Key}}}, junk, "PEM")
	f(Options{Certificates: []Pair{cn}}, cn.Cert, "no subject alternative names")
	f(Options{Certificates: []Pair{a, ip}}, ip.Cert, "no DNS name")
	f(Options{Certificates: []Pair{a}, ClientAuth: Require}, "needs a CA file")
	f(Options{Certificates: []Pair{a}, ClientAuth: 9, ClientCA: c.file}, "mode 9")
	f(Options{Certificates: []Pair{a}, ClientAuth: Request, ClientCA: junk}, junk, "no PEM certificate")
	f(Options{Certificates: []Pair{a}, ClientAuth: Request, ClientCA: "gone.pem"}, "client CA file gone.pem does not exist")
	f(on(ACMEOptions{}), "no domains")
	f(on(ACMEOptions{Domains: []string{"*.example.org"}}), `"*.example.org"`, "DNS-01")
	f(on(ACMEOptions{Domains: []string{"localhost"}}), `"localhost"`, "public host name")
	f(on(ACMEOptions{Domains: []string{"a.example"}, Directory: "http://ca.example"}), "http://ca.example", "https URL")
	f(on(ACMEOptions{Domains: []string{"a.example"}, CAFile: "gone.pem"}), "acme CA file gone.pem does not exist")
	f(on(ACMEOptions{Domains: []string{"a.example"}, CacheDir: filepath.Join(junk, "x")}), "cache directory", junk)
}

func TestCertificatesAreListed(t *testing.T) {
	c := newCA(t, "root")
	a := c.files("a", ask{names: []string{"b.example", "a.example"}})
	b := c.files("rsa", ask{names: []string{"a.example"}, rsa: true})
	got := newStore(t, Options{Certificates: []Pair{a, b}}).Certificates()
	if len(got) != 2 || !slices.Equal(got[0].Names, []string{"a.example", "b.example"}) || got[0].Source != "file" ||
		got[0].File != a.Cert || time.Until(got[0].NotAfter) < time.Minute || got[1].File != b.Cert {
		t.Errorf("%+v", got)
	}
}
