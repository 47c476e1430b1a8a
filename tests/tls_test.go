package tests

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// dialTLS connects with a server name and gives the leaf that was presented.
func dialTLS(addr string, c *tls.Config) (*tls.Conn, *x509.Certificate, error) {
	d := &net.Dialer{Timeout: 5 * time.Second}
	conn, err := tls.DialWithDialer(d, "tcp", addr, c)
	if err != nil {
		return nil, nil, err
	}
	return conn, conn.ConnectionState().PeerCertificates[0], nil
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	aCert, aKey := ca.issue("a", "a.test")
	bCert, bKey := ca.issue("b", "b.test", "*.b.test")
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Forwarded-Proto"), " ", r.Host)
	})
	config := base + `
listeners: [{name: web, address: "@web", tls: true, limits: {header_timeout: 1s}}]
tls: {certificates: [{cert: "@acert", key: "@akey"}, {cert: "@bcert", key: "@bkey"}]}
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}]
`
	w := startWeir(t, config, map[string]string{"up": up.addr, "acert": aCert, "akey": aKey, "bcert": bCert, "bkey": bKey})
	serial := func(t *testing.T, name string) string {
		conn, leaf, err := dialTLS(w.addr("web"), &tls.Config{RootCAs: ca.pool, ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		return leaf.SerialNumber.String()
	}
	t.Run("sni", func(t *testing.T) {
		for _, name := range []string{"a.test", "b.test", "x.b.test"} {
			conn, _, err := dialTLS(w.addr("web"), &tls.Config{RootCAs: ca.pool, ServerName: name, NextProtos: []string{"http/1.1"}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			r := newRaw(t, conn).ask("GET / HTTP/1.1\r\nHost: " + name + "\r\n\r\n")
			if string(r.body) != "https "+name {
				t.Errorf("%s: %s %q", name, r.line, r.body)
			}
		}
		if conn, leaf, err := dialTLS(w.addr("web"), &tls.Config{InsecureSkipVerify: true, ServerName: "other.test"}); err == nil {
			conn.Close()
			t.Errorf("a name that is not ours gets the certificate of %v", leaf.DNSNames)
		}
	})
	t.Run("versions", func(t *testing.T) {
		for v, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
			conn, _, err := dialTLS(w.addr("web"), &tls.Config{RootCAs: ca.pool, ServerName: "a.test", MinVersion: v, MaxVersion: v})
			if (err == nil) != ok {
				t.Errorf("version %x: %v", v, err)
			}
			if err == nil {
				conn.Close()
			}
		}
	})
	t.Run("plain-text", func(t *testing.T) {
		c := dial(t, w.addr("web"))
		c.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if r := c.read(3*time.Second, false); r.status == 200 {
			t.Errorf("plain text is served on a TLS listener: %s", r.line)
		}
	})
	t.Run("slow-handshake", func(t *testing.T) {
		c := dial(t, w.addr("web"))
		c.send("\x16\x03\x01")
		c.c.SetReadDeadline(time.Now().Add(4 * time.Second))
		if _, err := io.ReadAll(c.br); isTimeout(err) {
			t.Error("a handshake that does not go on is not cut")
		}
	})
	t.Run("pipelined", func(t *testing.T) {
		conn, _, err := dialTLS(w.addr("web"), &tls.Config{RootCAs: ca.pool, ServerName: "a.test"})
		if err != nil {
			t.Fatal(err)
		}
		c := newRaw(t, conn)
		c.send(strings.Repeat("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 5))
		for range 5 {
			if r := c.read(3*time.Second, false); r.status != 200 {
				t.Fatalf("%s %v", r.line, r.err)
			}
		}
	})
	t.Run("swap", func(t *testing.T) { // last: it changes a.test's certificate
		conn, _, err := dialTLS(w.addr("web"), &tls.Config{RootCAs: ca.pool, ServerName: "a.test"})
		if err != nil {
			t.Fatal(err)
		}
		old := serial(t, "a.test")
		ca.issue("a", "a.test")
		eventually(t, 10*time.Second, "the new certificate is picked up", func() bool { return serial(t, "a.test") != old })
		if r := newRaw(t, conn).ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); r.status != 200 {
			t.Errorf("a connection from before: %s", r.line)
		}
	})
}

// TestClientCertificates checks mode require, with the name in a dimension, and mode request.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	cert, key := ca.issue("server", "a.test")
	up := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Header.Get("X-Cn")) })
	good, bad := ca.pair("client", "client-7"), stranger.pair("client", "client-8")
	f := func(mode string, certs []tls.Certificate, want string) {
		t.Run(fmt.Sprintf("%s-%d-%q", mode, len(certs), want), func(t *testing.T) {
			w := startWeir(t, base+`
listeners: [{name: web, address: "@web", tls: true}]
tls: {certificates: [{cert: "@cert", key: "@key"}], client_auth: {mode: `+mode+`, ca: "@ca"}}
dimensions: [{name: cn, from: "cert:cn", default: nobody}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up, request: {set: [{name: x-cn, value: "${cn}"}]}}]
`, map[string]string{"up": up.addr, "cert": cert, "key": key, "ca": ca.file})
			client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true,
				TLSClientConfig: &tls.Config{RootCAs: ca.pool, ServerName: "a.test", Certificates: certs}}}
			resp, body, err := tryFetch(client, "GET", "https://"+w.addr("web")+"/", "", "Host: a.test")
			if want == "" {
				if err == nil {
					t.Errorf("served: %d %q", resp.StatusCode, body)
				}
				return
			}
			if err != nil || resp.StatusCode != 200 || body != want {
				t.Errorf("%q, %v; want %q", body, err, want)
			}
		})
	}
	f("require", []tls.Certificate{good}, "client-7")
	f("require", []tls.Certificate{bad}, "")
	f("require", nil, "")
	f("request", nil, "nobody")
	f("request", []tls.Certificate{good}, "client-7")
}

// TestPoolTLS checks TLS to endpoints: the right name, a wrong one, an unknown authority, and our own certificate.
func TestPoolTLS(t *testing.T) {
	t.Parallel()
	ca, stranger := newAuthority(t), newAuthority(t)
	clientCert, clientKey := ca.issue("weir", "weir")
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			name = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		io.WriteString(w, name)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{ca.pair("up", "up.test", "127.0.0.1")}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool}
	srv.Config.ErrorLog = quiet
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f := func(name, settings, want string) {
		t.Run(name, func(t *testing.T) {
			w := startWeir(t, base+`
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}], tls: {enabled: true, `+settings+`}}]
routes: [{name: all, pool: up}]
`, map[string]string{"up": srv.Listener.Addr().String(), "ca": ca.file, "stranger": stranger.file, "cert": clientCert, "key": clientKey})
			resp, body := fetch(t, "GET", w.url("/"), "")
			if want == "" && (resp.StatusCode != 502 || reasonOf(resp) != "upstream_error") || want != "" && body != want {
				t.Errorf("%d %v %q, want %q", resp.StatusCode, resp.Header, body, want)
			}
		})
	}
	f("address", `ca: "@ca"`, "nobody")
	f("server-name", `ca: "@ca", server_name: up.test`, "nobody")
	f("wrong-name", `ca: "@ca", server_name: other.test`, "")
	f("unknown-authority", `ca: "@stranger"`, "")
	f("unverified", `insecure_skip_verify: true`, "nobody")
	f("own-certificate", `ca: "@ca", cert: "@cert", key: "@key"`, "weir")
}

func TestRedirectHTTPS(t *testing.T) {
	t.Parallel()
	w := startWeir(t, base+`
listeners: [{name: web, address: "@web", redirect_https: true}]
`+fixedRoute, nil)
	resp, _ := fetch(t, "GET", w.url("/a/b?c=d"), "", "Host: a.test")
	if got := resp.Header.Get("Location"); resp.StatusCode != 308 || got != "https://a.test/a/b?c=d" {
		t.Errorf("%d %q", resp.StatusCode, got)
	}
	resp, _ = fetch(t, "POST", w.url("/"), "body", "Host: a.test:8000")
	if got := resp.Header.Get("Location"); resp.StatusCode != 308 || !strings.HasPrefix(got, "https://a.test") {
		t.Errorf("%d %q", resp.StatusCode, got)
	}
	c := dial(t, w.addr("web"))
	for range 2 {
		r := c.ask("GET //evil.test/%2e%2e HTTP/1.1\r\nHost: a.test\r\n\r\n")
		if got := r.get("Location"); r.status != 308 || !strings.HasPrefix(got, "https://a.test/") {
			t.Errorf("%s %q", r.line, got)
		}
	}
}
