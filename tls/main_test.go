package tls

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	stdtls "crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// ca issues certificates into files of a test's directory.
type ca struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

var serial atomic.Int64

func newCA(t testing.TB, name string) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: name}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	c := &ca{t: t, dir: t.TempDir(), cert: cert, key: key}
	c.file = filepath.Join(c.dir, name+"-ca.pem")
	must(t, os.WriteFile(c.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	return c
}

func (c *ca) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(c.cert)
	return p
}

type ask struct {
	names    []string
	ips      []net.IP
	cn       string
	rsa      bool
	notAfter time.Time // zero: in an hour
}

// pem issues a certificate and returns both texts.
func (c *ca) pem(a ask) (certPEM, keyPEM []byte) {
	c.t.Helper()
	var key crypto.Signer
	var err error
	if a.rsa {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	must(c.t, err)
	if a.notAfter.IsZero() {
		a.notAfter = time.Now().Add(time.Hour)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial.Add(1)), Subject: pkix.Name{CommonName: a.cn}, DNSNames: a.names, IPAddresses: a.ips,
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: a.notAfter, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, key.Public(), c.key)
	must(c.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	must(c.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
}

// files issues a certificate into two files called after name.
func (c *ca) files(name string, a ask) Pair {
	c.t.Helper()
	p := Pair{filepath.Join(c.dir, name+".pem"), filepath.Join(c.dir, name+".key")}
	certPEM, keyPEM := c.pem(a)
	writePair(c.t, p, certPEM, keyPEM)
	return p
}

func writePair(t testing.TB, p Pair, certPEM, keyPEM []byte) {
	t.Helper()
	must(t, os.WriteFile(p.Cert, certPEM, 0o600))
	must(t, os.WriteFile(p.Key, keyPEM, 0o600))
}

// client issues a client certificate.
func (c *ca) client(cn string) stdtls.Certificate {
	c.t.Helper()
	certPEM, keyPEM := c.pem(ask{cn: cn})
	cert, err := stdtls.X509KeyPair(certPEM, keyPEM)
	must(c.t, err)
	return cert
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newStore(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := NewStore(o)
	must(t, err)
	return s
}

// serve runs a Mux on loopback until the test ends and returns it with its address.
func serve(t testing.TB, o MuxOptions, handle func(*Conn)) (*Mux, string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	return serveOn(t, ln, o, handle), ln.Addr().String()
}

func serveOn(t testing.TB, ln net.Listener, o MuxOptions, handle func(*Conn)) *Mux {
	t.Helper()
	m := NewMux(ln, o)
	done := make(chan error, 1)
	go func() { done <- m.Serve(handle) }()
	t.Cleanup(func() {
		m.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := m.Wait(ctx); err != nil {
			t.Errorf("handlers still run: %v", err)
		}
	})
	return m
}

// describe answers with what the Conn says, and closes.
func describe(c *Conn) {
	defer c.Close()
	who := "-"
	if c.ClientCert != nil {
		who = c.ClientCert.Subject.CommonName
	}
	fmt.Fprintf(c, "secure=%v protocol=%s sni=%s client=%s remote=%v", c.Secure, c.Protocol, c.ServerName, who, c.Remote.Addr())
}

// answered is what a client saw of a handshake.
type answered struct {
	state stdtls.ConnectionState
	text  string
	err   error
}

func (a answered) serial() string { return a.state.PeerCertificates[0].SerialNumber.String() }

// visit makes a handshake and reads what describe says. A server's refusal of a client certificate comes with the read.
func visit(t testing.TB, addr string, cfg *stdtls.Config) answered {
	t.Helper()
	d := stdtls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: cfg}
	nc, err := d.Dial("tcp", addr)
	if err != nil {
		return answered{err: err}
	}
	defer nc.Close()
	must(t, nc.SetDeadline(time.Now().Add(10*time.Second)))
	text, err := io.ReadAll(nc)
	return answered{nc.(*stdtls.Conn).ConnectionState(), string(text), err}
}

// journal hands log lines to a test that waits for them.
type journal struct{ lines chan string }

func newJournal() *journal { return &journal{make(chan string, 1000)} }

func (j *journal) Write(b []byte) (int, error) {
	select {
	case j.lines <- string(b):
	default:
	}
	return len(b), nil
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// wait returns the first line that holds all of parts.
func (j *journal) wait(t testing.TB, parts ...string) string {
	t.Helper()
	timeout := time.After(30 * time.Second)
	var seen []string
next:
	for {
		select {
		case line := <-j.lines:
			seen = append(seen, line)
			for _, p := range parts {
				if !strings.Contains(line, p) {
					continue next
				}
			}
			return line
		case <-timeout:
			t.Fatalf("no log line with %q; seen:\n%s", parts, strings.Join(seen, ""))
		}
	}
}

// run runs the Store until the test ends.
func run(t testing.TB, s *Store) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	return stop
}
