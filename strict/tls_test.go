package strict

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTLS: a server that speaks TLS alone, with a password; one whose certificate nobody signed is refused, and says why.
func TestTLS(t *testing.T) {
	binary(t, "redis-server")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	must(t, err)
	pkcs, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	cert, key1 := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	writeFile(t, cert, string(text))
	writeFile(t, key1, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs})))
	s := &server{t: t, dir: dir, port: freePort(t)}
	s.args = []string{"--port", "0", "--tls-port", strconv.Itoa(s.port), "--tls-cert-file", cert, "--tls-key-file", key1,
		"--tls-auth-clients", "no", "--requirepass", "sesame"}
	s.start()
	t.Cleanup(s.kill)

	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	c := Config{Addresses: []string{s.addr()}, Password: "sesame", TLS: &tls.Config{RootCAs: roots}}
	take(t, opened(t, c, nil), Ask{Policy: policy(t, 1, bucketOf(1, time.Second, 1)), Key: key(1), N: 1})

	c.TLS = &tls.Config{RootCAs: x509.NewCertPool()}
	stranger := started(t, c, nil)
	until(t, 5*time.Second, "the certificate is refused", func() bool { return strings.Contains(stranger.Trouble(), "certificate") })
}
