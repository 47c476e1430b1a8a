// Package h2spec runs the public conformance suite for HTTP/2, github.com/summerwind/h2spec, against the real binary. It is a module of its
// own, so that what the suite needs is none of the gateway's.
package h2spec

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/summerwind/h2spec/config"
	"github.com/summerwind/h2spec/generic"
	"github.com/summerwind/h2spec/hpack"
	"github.com/summerwind/h2spec/http2"
	"github.com/summerwind/h2spec/spec"
)

const gateway = `
node: {name: gateway, data_dir: ""}
admin: {address: "127.0.0.1:%[3]d"}
listeners:
  - {name: clear, address: "127.0.0.1:%[1]d"}
  - {name: secure, address: "127.0.0.1:%[2]d", tls: true}
tls: {certificates: [{cert: cert.pem, key: key.pem}]}
pools: [{name: echo, demo: {}}]
routes:
  - {name: fixed, match: {path: "/fixed"}, respond: {status: 200, body: "a body of its own"}}
  - {name: all, match: {path: "/*"}, pool: echo}
telemetry: {access_log: {output: "off"}}
`

func TestConformance(t *testing.T) {
	dir := t.TempDir()
	ports := freePorts(t, 3)
	writePair(t, dir)
	conf := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, gateway, ports[0], ports[1], ports[2]), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir, conf)
	for _, c := range []struct {
		name string
		port int
		tls  bool
	}{{"clear", ports[0], false}, {"secure", ports[1], true}} {
		await(t, c.port)
		for _, path := range []string{"/fixed", "/forwarded"} {
			t.Run(c.name+path, func(t *testing.T) {
				run(t, &config.Config{Host: "127.0.0.1", Port: c.port, Path: path, Timeout: 2 * time.Second, MaxHeaderLen: 4000,
					TLS: c.tls, Insecure: true, Strict: true})
			})
		}
	}
}

// run runs all sections. Every case that does not pass is an error by its own name.
func run(t *testing.T, c *config.Config) {
	passed, skipped := 0, 0
	for _, group := range []*spec.TestGroup{generic.Spec(), http2.Spec(), hpack.Spec()} {
		group.Test(c)
		failures(t, group)
		passed, skipped = passed+group.PassedCount, skipped+group.SkippedCount
	}
	t.Logf("%d passed, %d skipped", passed, skipped)
	if passed < 140 {
		t.Errorf("only %d cases have run", passed)
	}
}

func failures(t *testing.T, g *spec.TestGroup) {
	for _, test := range g.Tests {
		if r := test.Result; r != nil && r.Failed {
			t.Errorf("%s %s: %v", g.ID(), test.Desc, r.Error)
		}
	}
	for _, sub := range g.Groups {
		failures(t, sub)
	}
}

// start builds the gateway and runs it until the test ends.
func start(t *testing.T, dir, conf string) {
	binary := filepath.Join(dir, "weir")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	cmd := exec.Command(binary, "run", "-c", conf)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // Wait tells
		if err := cmd.Wait(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
}

func await(t *testing.T, port int) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			c.Close()
			return
		}
	}
	t.Fatal("the gateway does not listen")
}

// freePorts returns ports that nobody listens on, outside the range that outgoing connections use: one of them could take it meanwhile.
func freePorts(t *testing.T, n int) (ports []int) {
	for tries := 0; len(ports) < n; tries++ {
		port := 12000 + mathrand.IntN(20000)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			defer ln.Close()
			ports = append(ports, port)
		} else if tries > 1000 {
			t.Fatal(err)
		}
	}
	return ports
}

// writePair writes a certificate for 127.0.0.1 and its key.
func writePair(t *testing.T, dir string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: pkcs8}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
