package tls

import (
	stdtls "crypto/tls"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestClientConfig(t *testing.T) {
	c, clients := newCA(t, "root"), newCA(t, "clients")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}, ClientAuth: Request, ClientCA: clients.file})
	_, addr := serve(t, MuxOptions{TLS: store}, describe)
	own := clients.files("weir", ask{cn: "weir"})
	f := func(o ClientOptions, want string) {
		t.Helper()
		cfg, err := ClientConfig(o)
		must(t, err)
		got := visit(t, addr, cfg)
		if want == "" && got.err == nil || want != "" && !strings.Contains(got.text, want) {
			t.Errorf("%+v: %q, %v; want %q", o, got.text, got.err, want)
		}
	}
	f(ClientOptions{CA: c.file, ServerName: "a.example"}, "protocol=http/1.1 sni=a.example client=- ")
	f(ClientOptions{CA: c.file, ServerName: "a.example", Cert: own.Cert, Key: own.Key}, "client=weir ")
	f(ClientOptions{CA: clients.file, ServerName: "a.example"}, "")
	f(ClientOptions{ServerName: "a.example"}, "")
	f(ClientOptions{ServerName: "a.example", Insecure: true}, "sni=a.example")
	f(ClientOptions{CA: c.file, ServerName: "b.example"}, "")

	cfg, err := ClientConfig(ClientOptions{CA: c.file})
	must(t, err)
	clone := cfg.Clone()
	clone.ServerName = "a.example"
	if got := visit(t, addr, clone); got.err != nil || got.state.DidResume {
		t.Errorf("first: %v", got.err)
	}
	if got := visit(t, addr, clone); got.err != nil || !got.state.DidResume {
		t.Errorf("second: resumed %v, %v", got.state.DidResume, got.err)
	}
}

func TestClientConfigErrors(t *testing.T) {
	c := newCA(t, "root")
	a, b := c.files("a", ask{cn: "a"}), c.files("b", ask{cn: "b"})
	junk := filepath.Join(c.dir, "junk.pem")
	must(t, os.WriteFile(junk, []byte("junk"), 0o600))
	f := func(o ClientOptions, want string) {
		t.Helper()
		if _, err := ClientConfig(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(ClientOptions{CA: "gone.pem"}, "CA file gone.pem does not exist")
	f(ClientOptions{CA: junk}, "holds no PEM certificate")
	f(ClientOptions{Cert: a.Cert}, "both the certificate and the key")
	f(ClientOptions{Key: a.Key}, "both the certificate and the key")
	f(ClientOptions{Cert: a.Cert, Key: b.Key}, "belong together")
	f(ClientOptions{Cert: a.Cert, Key: "gone.key"}, "key file gone.key does not exist")
}

func TestClientCertificateFollowsItsFiles(t *testing.T) {
	c, log := newCA(t, "clients"), newJournal()
	files := c.files("weir", ask{cn: "first"})
	k := &keeper{files: files, log: log.logger()}
	must(t, k.load())
	current := func() string {
		k.checked = time.Time{} // as if the last look were long ago
		cert, err := k.certificate(nil)
		must(t, err)
		return cert.Leaf.Subject.CommonName
	}
	replace := func(certPEM, keyPEM []byte, at time.Time) {
		writePair(t, files, certPEM, keyPEM)
		must(t, os.Chtimes(files.Cert, at, at)) // clocks of file systems may be coarse
	}
	certPEM, keyPEM := c.pem(ask{cn: "second"})
	replace(certPEM, keyPEM, time.Now().Add(time.Minute))
	if got := current(); got != "second" {
		t.Errorf("got %s, want second", got)
	}
	replace(certPEM[:40], keyPEM, time.Now().Add(2*time.Minute))
	for range 3 {
		if got := current(); got != "second" {
			t.Errorf("a broken file: got %s, want second", got)
		}
	}
	if n := len(log.lines); n != 1 {
		t.Errorf("%d log lines for one broken file", n)
	}
	certPEM, keyPEM = c.pem(ask{cn: "third"})
	replace(certPEM, keyPEM, time.Now().Add(3*time.Minute))
	if got := current(); got != "third" {
		t.Errorf("got %s, want third", got)
	}
	if cert, _ := k.certificate(&stdtls.CertificateRequestInfo{}); cert.Leaf.Subject.CommonName != "third" {
		t.Error("lost between two looks")
	}
}
