package jwt

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"time"
)

const (
	fetchTimeout = 10 * time.Second
	firstRetry   = time.Second      // after a failed fetch; doubles
	lastRetry    = time.Minute      // up to this, or the refresh interval if that is shorter
	earlyGap     = 10 * time.Second // between two fetches, if tokens name unknown keys
	maxRedirects = 3
)

// source is where public keys come from. One goroutine at a time refreshes it.
type source struct {
	name    string // in logs
	read    func(context.Context) ([]byte, error)
	sum     digest // of the text in force
	failing bool
	keys    []key // guarded by Verifier.mu
}

// Run keeps the keys up to date until ctx ends; it leaves no goroutine behind. Start it once.
func (v *Verifier) Run(ctx context.Context) {
	var wg sync.WaitGroup
	if v.o.JWKSFile != "" {
		wg.Go(func() { v.followFile(ctx) })
	}
	if v.o.JWKSURL != "" {
		wg.Go(func() { v.followURL(ctx) })
	}
	<-ctx.Done()
	wg.Wait()
}

// followURL fetches the URL at once, then every refresh interval, after a failure sooner, and when an unknown key was named.
func (v *Verifier) followURL(ctx context.Context) {
	due := time.Now()
	var last time.Time
	retry := firstRetry
	asked := v.unknown // nil once asked for the next fetch, so that a flood of such tokens costs nothing here
	for {
		select {
		case <-ctx.Done():
			return
		case <-asked:
			asked = nil
			if early := last.Add(earlyGap); early.Before(due) {
				due = early
			}
			continue
		case <-time.After(time.Until(due)):
		}
		select {
		case <-v.unknown: // this fetch is for it
		default:
		}
		last, asked = time.Now(), v.unknown
		if v.refresh(ctx, &v.url) {
			due, retry = last.Add(v.o.Refresh), firstRetry
			continue
		}
		wait := min(retry, v.o.Refresh)
		due = time.Now().Add(wait/2 + rand.N(wait/2)) // so that a fleet does not come all at once
		retry = min(2*retry, lastRetry)
	}
}

// refresh reads a source and puts its keys in force if they are good and changed; otherwise all stays as it is. It logs what
// changed: the keys, or that the source began or ceased to fail.
func (v *Verifier) refresh(ctx context.Context, s *source) (ok bool) {
	err := v.reload(ctx, s)
	switch {
	case err != nil && ctx.Err() != nil:
		return false // shutting down
	case err != nil:
		v.failures.Add(1)
		if !s.failing {
			s.failing = true
			v.o.Log.Error("no new keys for tokens, the former ones stay", "source", s.name, "error", err)
		}
		return false
	case s.failing:
		s.failing = false
		v.o.Log.Info("keys for tokens can be read again", "source", s.name)
	}
	return true
}

// reload reads a source and puts its keys in force if they changed.
func (v *Verifier) reload(ctx context.Context, s *source) error {
	text, err := s.read(ctx)
	if err != nil {
		return err
	}
	sum := digest(sha256.Sum256(text))
	if sum != s.sum {
		keys, skipped, err := parseSet(text)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		s.sum = sum
		if v.install(s, keys) {
			v.logKeys(s.name, len(keys), skipped)
		}
	}
	v.refreshed.Store(v.o.Now().UnixNano())
	return nil
}

// install puts the keys of a source in force. If they differ from those before, whatever is remembered of tokens ends.
func (v *Verifier) install(s *source, keys []key) (changed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if slices.EqualFunc(s.keys, keys, func(a, b key) bool { return a.print == b.print }) {
		return false
	}
	s.keys = keys
	old := v.ring.Load()
	v.ring.Store(&keyring{generation: old.generation + 1, secret: old.secret, keys: slices.Concat(v.file.keys, v.url.keys)})
	return true
}

func (v *Verifier) logKeys(source string, keys int, skipped []error) {
	v.o.Log.Info("keys for tokens picked up", "source", source, "keys", keys)
	for _, why := range skipped {
		level := slog.LevelInfo // sets often hold keys for other ends
		if errors.Is(why, errPrivate) {
			level = slog.LevelWarn
		}
		v.o.Log.Log(context.Background(), level, "a key is not used for tokens", "source", source, "error", why)
	}
}

// fetch gets the JWK Set at the URL.
func (v *Verifier) fetch(ctx context.Context) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, v.o.JWKSURL, nil)
	if err != nil {
		return nil, errors.New("the JWKS URL is malformed")
	}
	at := shown(req.URL)
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	resp, err := v.o.Client.Do(req)
	if err != nil {
		var e *url.Error
		if errors.As(err, &e) {
			err = e.Err // without the URL, which may hold a secret
		}
		return nil, fmt.Errorf("fetch %s: %w", at, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: answered %d", at, resp.StatusCode)
	}
	return readSet(resp.Body, "fetch "+at)
}

// newClient returns the client that fetches keys if the options have none. It keeps no connection: minutes pass in between.
func newClient() *http.Client {
	return &http.Client{
		Timeout: fetchTimeout,
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: fetchTimeout / 2, ResponseHeaderTimeout: fetchTimeout, MaxResponseHeaderBytes: 64 << 10,
		},
		CheckRedirect: checkRedirect,
	}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	if req.URL.Scheme != via[0].URL.Scheme {
		return errors.New("redirect to another scheme refused")
	}
	return nil
}

func (v *Verifier) readFile(context.Context) ([]byte, error) {
	path := v.o.JWKSFile
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("JWKS file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("JWKS file %s: not a regular file", path) // reading a pipe may wait for ever
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("JWKS file: %w", err)
	}
	defer f.Close()
	return readSet(f, "JWKS file "+path)
}

// readSet reads no more than a JWK Set may have.
func readSet(r io.Reader, what string) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSet+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if len(text) > maxSet {
		return nil, fmt.Errorf("%s: more than %d bytes", what, maxSet)
	}
	return text, nil
}
