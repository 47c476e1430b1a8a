package tls

import (
	"bytes"
	stdtls "crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
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
