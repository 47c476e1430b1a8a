package jwt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// issuer is an http.RoundTripper that answers as told, in the bubble's time. Network I/O would stop that.
type issuer struct {
	mu    sync.Mutex
	text  []byte // nil: refuses
	slow  time.Duration
	asked []time.Time
}

func (i *issuer) set(text []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.text = text
}

func (i *issuer) times() int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return len(i.asked)
}

func (i *issuer) RoundTrip(r *http.Request) (*http.Response, error) {
	i.mu.Lock()
	i.asked = append(i.asked, time.Now())
	text, slow := i.text, i.slow
	i.mu.Unlock()
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(slow):
	}
	if text == nil {
		return nil, errors.New("connection refused")
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(bytes.NewReader(text)), Request: r}, nil
}

// logged counts log lines, by a part of their text.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
	line func(string) // if not nil, told each
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.line != nil {
		l.line(string(p))
	}
	return l.text.Write(p)
}

func (l *logged) count(part string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.text.String(), part)
}

func (l *logged) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// running starts Run in a bubble and returns what ends it.
func running(v *Verifier) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { v.Run(ctx) })
	synctest.Wait()
	return func() { cancel(); wg.Wait() }
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func expect(t *testing.T, v *Verifier, token string, want fault) {
	t.Helper()
	_, err := v.Verify(token)
	if want == "" && err != nil || want != "" && err != want {
		t.Errorf("%v, want %q", err, want)
	}
}

const failed, again = "no new keys for tokens", "can be read again"

func TestURL(t *testing.T) {
	one, two := newEd(), newEd()
	first, second := sign(ed, one, named("1"), object{}), sign(ed, two, named("2"), object{})
	synctest.Test(t, func(t *testing.T) {
		var l logged
		i := &issuer{}
		v := must(New(Options{JWKSURL: "https://me:hunter2@issuer/keys?key=hunter2", Client: &http.Client{Transport: i}, Log: l.logger(), Refresh: time.Minute}))
		expect(t, v, first, noKeys)
		stop := running(v)
		defer stop()
		pass(10 * time.Second) // dead at the start: 1, 2, 4 s and less
		if n := i.times(); n < 4 || n > 6 || l.count(failed) != 1 {
			t.Errorf("%d attempts, %d lines", n, l.count(failed))
		}
		i.set(set(jwk(one, "1")))
		pass(20 * time.Second) // past the next attempt, which is 16 s later at most
		expect(t, v, first, "")
		expect(t, v, first, "")
		if l.count(again) != 1 || v.Stats().RefreshFailures < 3 {
			t.Errorf("%d lines, %+v", l.count(again), v.Stats())
		}

		for _, bad := range []string{"<html>", "{}", string(set()), strings.Repeat(" ", maxSet+1)} {
			i.set([]byte(bad))
			pass(2 * time.Minute)
			expect(t, v, first, "") // the last good keys stay
		}
		if l.count(failed) != 2 {
			t.Errorf("%d lines", l.count(failed))
		}
		i.set(set(jwk(one, "1"), jwk(two, "2")))
		pass(time.Minute)
		expect(t, v, first, "")
		expect(t, v, second, "")
		i.set(set(jwk(two, "2")))
		pass(time.Minute)
		expect(t, v, first, unknownKey) // though it is remembered
		expect(t, v, second, "")
		if l.count("hunter2") > 0 {
			t.Errorf("a secret in the log: %s", &l.text)
		}
		if l.count(failed) != 2 || l.count(again) != 2 || l.count("picked up") != 3 {
			t.Errorf("log: %s", &l.text)
		}
	})
}

func TestSlowURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{text: set(jwk(edKey(), "d")), slow: time.Hour}
		v := must(New(Options{JWKSURL: "https://issuer/keys", Client: &http.Client{Transport: i}}))
		stop := running(v)
		pass(fetchTimeout + time.Millisecond)
		if s := v.Stats(); s.RefreshFailures != 1 {
			t.Errorf("%+v", s)
		}
		pass(time.Second) // in the next attempt
		stop()            // which ends it
		if s := v.Stats(); s.RefreshFailures != 1 {
			t.Errorf("stopping counts as failure: %+v", s)
		}
	})
}

func TestUnknownKeyRefreshes(t *testing.T) {
	two := newEd()
	known, unknown := sign(ed, edKey(), named("d"), object{}), sign(ed, two, named("2"), object{})
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{text: set(jwk(edKey(), "d"))}
		v := must(New(Options{JWKSURL: "https://issuer/keys", Client: &http.Client{Transport: i}, Refresh: time.Hour}))
		expect(t, v, unknown, noKeys) // before Run: the first fetch is for it
		stop := running(v)
		defer stop()
		f := func(after time.Duration, want int) {
			t.Helper()
			pass(after)
			if n := i.times(); n != want {
				t.Errorf("%d fetches, want %d", n, want)
			}
		}
		f(30*time.Second, 1)
		expect(t, v, known, "")
		f(time.Second, 1)
		for range 100 {
			expect(t, v, unknown, unknownKey)
		}
		f(0, 2) // one for all of them
		for range 100 {
			expect(t, v, unknown, unknownKey)
		}
		f(9*time.Second, 2)
		i.set(set(jwk(edKey(), "d"), jwk(two, "2")))
		f(time.Second, 3) // 10 s after the one before
		expect(t, v, unknown, "")
		f(30*time.Minute, 3)
		f(30*time.Minute, 4) // and then as always
	})
}

func TestFile(t *testing.T) {
	one, two := newEd(), newEd()
	first, second := sign(ed, one, named("1"), object{}), sign(ed, two, named("2"), object{})
	path := setFile(t, jwk(one, "1"))
	synctest.Test(t, func(t *testing.T) {
		var l logged
		v := must(New(Options{JWKSFile: path, Log: l.logger()}))
		v.noEvents = true
		write(t, path, set(jwk(one, "1"), jwk(two, "2"))) // between New and Run
		stop := running(v)
		defer stop()
		pass(time.Millisecond)
		expect(t, v, first, "")
		expect(t, v, second, "")
		write(t, path, []byte(`{"keys":[{"kty"`)) // half-written
		pass(time.Minute)
		expect(t, v, first, "")
		write(t, path, set(jwk(two, "2")))
		pass(lookAgain)
		expect(t, v, first, unknownKey)
		expect(t, v, second, "")
		if l.count(failed) != 1 || l.count(again) != 1 || l.count("picked up") != 3 {
			t.Errorf("log: %s", &l.text)
		}
	})
}

// TestFileEvents is with real events, so in real time; it waits for log lines.
func TestFileEvents(t *testing.T) {
	lines := make(chan string, 100)
	l := &logged{line: func(s string) { lines <- s }}
	one, two := newEd(), newEd()
	path := setFile(t, jwk(one, "1"))
	v := must(New(Options{JWKSFile: path, Log: l.logger()}))
	ctx, cancel := context.WithTimeout(t.Context(), lookAgain-time.Second) // sooner than it looks by itself
	var wg sync.WaitGroup
	wg.Go(func() { v.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	await := func(part string) {
		t.Helper()
		for {
			select {
			case s := <-lines:
				if strings.Contains(s, part) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("no line with %q", part)
			}
		}
	}
	await("keys=1")
	for n, keys := range [][]object{{jwk(one, "1"), jwk(two, "2")}, {jwk(two, "2")}} {
		write(t, path, set(keys...))
		await([]string{"keys=2", "keys=1"}[n])
	}
	expect(t, v, sign(ed, one, named("1"), object{}), unknownKey)
	expect(t, v, sign(ed, two, named("2"), object{}), "")
}

// endless answers 64 MiB and tells how much of it was taken.
func endless(sent chan<- int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		n := 0
		for chunk := make([]byte, 1<<16); n < 64<<20; n += len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				break
			}
		}
		sent <- n
	}
}

// TestFetch is over the network, with the client that Options have if none is given.
func TestFetch(t *testing.T) {
	var handler atomic.Pointer[http.HandlerFunc] // a request whose client gave up may still come
	serve := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { (*handler.Load())(w, r) })
	server := httptest.NewServer(serve)
	defer server.Close()
	secure := httptest.NewTLSServer(serve)
	defer secure.Close()
	text := set(jwk(edKey(), "d"))
	good := func(w http.ResponseWriter, r *http.Request) { w.Write(text) }
	var l logged
	v := must(New(Options{JWKSURL: server.URL + "/keys", Log: l.logger()}))
	if l.count("clear text") != 1 {
		t.Errorf("no warning about http: %s", &l.text)
	}
	f := func(name, want string, h http.HandlerFunc) {
		t.Helper()
		handler.Store(&h)
		got, err := v.fetch(t.Context())
		if want == "" && (err != nil || !bytes.Equal(got, text)) || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %d bytes, %v; want %q", name, len(got), err, want)
		}
	}
	f("good", "", good)
	f("404", "answered 404", http.NotFound)
	f("204", "answered 204", func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) })
	sent := make(chan int, 1)
	f("huge", "more than", endless(sent))
	if n := <-sent; n >= 32<<20 { // what is on the way counts too
		t.Errorf("took %d bytes", n)
	}
	f("cut", "EOF", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.Write(text[:10])
	})
	f("redirect", "", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/keys" {
			http.Redirect(w, r, "/there", http.StatusFound)
			return
		}
		good(w, r)
	})
	f("redirects for ever", "more than 3 redirects", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
	})
	f("redirect to https", "another scheme", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, secure.URL, http.StatusFound)
	})
	f("redirect to a file", "another scheme", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
	})
	f("panics", "EOF", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	f("back again", "", good)
	v.o.Client.Timeout = time.Millisecond
	release := make(chan struct{})
	f("slow", "exceeded", func(http.ResponseWriter, *http.Request) { <-release })
	close(release)
	server.Close()
	v.o.Client.Timeout = fetchTimeout
	f("dead", "connect", good)
}
