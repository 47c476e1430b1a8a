package tls

import (
	"bytes"
	"context"
	"crypto/sha256"
	stdtls "crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"
)

const (
	challengePath = "/.well-known/acme-challenge/"
	maxAnswer     = 1 << 20          // bytes of an ACME answer
	maxPoll       = 5 * time.Second  // between two looks at an order; an authority may ask for more
	callTimeout   = 30 * time.Second // of one call to the authority
)

// authority obtains and renews the certificates of its domains. Methods that only read are fine on nil: no ACME.
//
// It drives autocert.Manager, which keeps the account, orders, challenges and renewal timers, but never from a handshake:
// the Manager would hold the handshake for as long as an order takes. keep asks it ahead of time and publishes what it gets.
// The Manager cannot be stopped, so all it does over the network ends when life does.
type authority struct {
	o       ACMEOptions
	ca      digest // of the CA file's text
	log     *slog.Logger
	manager *autocert.Manager
	handler http.Handler
	net     *lifeTransport
	end     context.CancelFunc
	certs   map[string]*atomic.Pointer[stdtls.Certificate] // by domain; the map never changes
}

// openAuthority returns former if the options and the CA file stand, or else a new authority with the certificates that
// its cache holds. It makes no call over the network.
func openAuthority(o ACMEOptions, log *slog.Logger, former *authority) (*authority, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSHandshakeTimeout: callTimeout, IdleConnTimeout: time.Minute}
	var sum digest
	if o.CAFile != "" {
		text, err := readFile("acme CA", o.CAFile)
		if err != nil {
			return nil, err
		}
		roots, err := parseRoots("acme CA", o.CAFile, text)
		if err != nil {
			return nil, err
		}
		sum = sha256.Sum256(text)
		transport.TLSClientConfig = &stdtls.Config{MinVersion: stdtls.VersionTLS12, RootCAs: roots}
	}
	if former != nil && former.o.equal(o) && former.ca == sum {
		return former, nil
	}
	life, end := context.WithCancel(context.Background())
	a := &authority{o: o, ca: sum, log: log, net: &lifeTransport{base: transport, life: life}, end: end}
	client := &acme.Client{
		DirectoryURL: o.Directory,
		HTTPClient:   &http.Client{Transport: a.net, Timeout: callTimeout},
		UserAgent:    "weir",
		RetryBackoff: a.backoff,
	}
	if client.DirectoryURL == "" {
		client.DirectoryURL = autocert.DefaultACMEDirectory
	}
	a.manager = &autocert.Manager{Prompt: autocert.AcceptTOS, Email: o.Email, HostPolicy: autocert.HostWhitelist(o.Domains...), Client: client}
	if o.CacheDir != "" {
		if err := checkCacheDir(o.CacheDir); err != nil {
			end()
			return nil, err
		}
		a.manager.Cache = autocert.DirCache(o.CacheDir)
	}
	a.handler = a.manager.HTTPHandler(http.NotFoundHandler()) // from here on HTTP-01 is tried as well
	a.certs = make(map[string]*atomic.Pointer[stdtls.Certificate], len(o.Domains))
	for _, d := range o.Domains {
		a.certs[d] = new(atomic.Pointer[stdtls.Certificate])
		a.certs[d].Store(a.cached(d))
	}
	return a, nil
}

// checkCacheDir makes the directory and shows that it can be written: autocert ignores it when it cannot keep a
// certificate, and a gateway that orders anew at every start soon meets the authority's limits.
func checkCacheDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("acme: cache directory: %w: give this user the right to make it", err)
	}
	f, err := os.CreateTemp(dir, ".write-check-*")
	if err != nil {
		return fmt.Errorf("acme: cache directory %s cannot be written: %w", dir, err)
	}
	f.Close()
	return os.Remove(f.Name())
}

// cached returns the domain's certificate from the cache if it is there and good, or nil.
func (a *authority) cached(domain string) *stdtls.Certificate {
	if a.manager.Cache == nil {
		return nil
	}
	text, err := a.manager.Cache.Get(context.Background(), domain)
	if err != nil {
		return nil
	}
	cert, err := stdtls.X509KeyPair(text, text)
	if err != nil || expired(&cert, time.Now()) || cert.Leaf.VerifyHostname(domain) != nil {
		return nil
	}
	return &cert
}

func (a *authority) has(name string) bool { return a != nil && a.certs[name] != nil }

// only returns the one domain, or "" if there are none or several.
func (a *authority) only() string {
	if a == nil || len(a.o.Domains) != 1 {
		return ""
	}
	return a.o.Domains[0]
}

// certificate returns what is in force for the domain, or nil.
func (a *authority) certificate(domain string) *stdtls.Certificate {
	if !a.has(domain) {
		return nil
	}
	return a.certs[domain].Load()
}

// run obtains and keeps the certificates of all domains until ctx is done, and leaves no goroutine behind. An order in
// progress is given up; that takes maxPoll at most. An authority that ran does not run again.
func (a *authority) run(ctx context.Context, t timing) {
	stop := context.AfterFunc(ctx, a.end)
	defer stop()
	places := make(chan struct{}, 4) // orders at once
	var wg sync.WaitGroup
	for _, d := range a.o.Domains {
		wg.Go(func() { a.keep(ctx, d, places, t) })
	}
	wg.Wait()
	a.net.base.CloseIdleConnections()
}

// keep publishes the domain's certificate, now and whenever autocert has renewed it.
func (a *authority) keep(ctx context.Context, domain string, places chan struct{}, t timing) {
	wait := t.acmeRetry
	for ctx.Err() == nil {
		places <- struct{}{}
		cert, err := a.obtain(domain)
		<-places
		pause := t.acmePoll
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.Error("no certificate from the acme authority: check that the domain's DNS leads here and ports 80 or 443 are reachable",
				"domain", domain, "error", err, "retry", wait)
			pause, wait = wait, min(2*wait, time.Hour)
		default:
			wait = t.acmeRetry
			a.publish(domain, cert)
		}
		sleep(ctx, pause)
	}
}

// obtain asks the Manager, which answers from memory or cache or orders a certificate.
func (a *authority) obtain(domain string) (*stdtls.Certificate, error) {
	return a.manager.GetCertificate(&stdtls.ClientHelloInfo{
		ServerName:       domain,
		CipherSuites:     []uint16{stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, // asks for an ECDSA certificate
		SignatureSchemes: []stdtls.SignatureScheme{stdtls.ECDSAWithP256AndSHA256},
		SupportedCurves:  []stdtls.CurveID{stdtls.CurveP256},
	})
}

func (a *authority) publish(domain string, cert *stdtls.Certificate) {
	old := a.certs[domain].Load()
	if old != nil && bytes.Equal(old.Certificate[0], cert.Certificate[0]) {
		life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore)
		if time.Until(cert.Leaf.NotAfter) < life/6 { // autocert renews with a third left
			a.log.Warn("acme certificate is overdue for renewal", "domain", domain, "not_after", cert.Leaf.NotAfter)
			return
		}
		a.log.Debug("acme certificate is current", "domain", domain, "not_after", cert.Leaf.NotAfter)
		return
	}
	a.certs[domain].Store(cert)
	a.log.Info("certificate from the acme authority", "domain", domain, "not_after", cert.Leaf.NotAfter)
}

// http01 adapts autocert's handler, which wants net/http's types and a host without a port.
func (a *authority) http01(path, host string) ([]byte, bool) {
	token, ok := strings.CutPrefix(path, challengePath)
	if a == nil || !ok || !isToken(token) {
		return nil, false
	}
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	r, err := http.NewRequest(http.MethodGet, "http://challenge.invalid"+path, nil)
	if err != nil {
		return nil, false
	}
	r.Host = strings.ToLower(host)
	w := answer{header: http.Header{}, status: http.StatusOK}
	a.handler.ServeHTTP(&w, r)
	return w.body.Bytes(), w.status == http.StatusOK
}

// isToken reports whether s may be a challenge token: base64url (RFC 8555, section 8.3), and so harmless as a file name.
func isToken(s string) bool {
	for _, c := range []byte(s) {
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 128
}

// answer collects what a handler writes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (w *answer) Header() http.Header         { return w.header }
func (w *answer) WriteHeader(status int)      { w.status = status }
func (w *answer) Write(b []byte) (int, error) { return w.body.Write(b) }

// lifeTransport makes calls until life ends; then calls in flight are cut and further ones fail.
type lifeTransport struct {
	base *http.Transport
	life context.Context
}

// RoundTrip reads the whole answer, so that no body outlives the call, and bounds how long its reader is told to wait.
func (t *lifeTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.life.Err(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(t.life, cancel)()
	res, err := t.base.RoundTrip(r.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer))
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	res.Body = io.NopCloser(bytes.NewReader(body))
	if s := res.Header.Get("Retry-After"); s != "" {
		if n, err := strconv.Atoi(s); err != nil || n > int(maxPoll/time.Second) {
			res.Header.Set("Retry-After", strconv.Itoa(int(maxPoll/time.Second)))
		}
	}
	return res, nil
}

// backoff says how long the client waits before it repeats a call that the authority could not answer; negative gives up,
// and keep tries again later.
func (a *authority) backoff(n int, _ *http.Request, _ *http.Response) time.Duration {
	if n > 4 || a.net.life.Err() != nil {
		return -1
	}
	return min(time.Duration(n)*time.Second, maxPoll)
}
