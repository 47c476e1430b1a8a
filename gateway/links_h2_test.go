package gateway

import (
	"bufio"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestProtocols: a pool speaks what it is told, or what its endpoint chooses.
func TestProtocols(t *testing.T) {
	f := func(protocol string, h2 bool, want string) {
		t.Helper()
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Proto) })) //nolint:errcheck // the client tells
		s.EnableHTTP2 = h2
		s.Config.ErrorLog = log.New(io.Discard, "", 0)
		s.StartTLS()
		defer s.Close()
		g := newGateway(t, poolYAML("    protocol: "+protocol+"\n    tls: {enabled: true, insecure_skip_verify: true}\n    retry: {attempts: 1}\n", s.Listener.Addr().String())+
			"routes: [{name: all, match: {path: /*}, pool: api}]\n")
		k := dial(t, g)
		defer k.c.Close()
		answers := bufio.NewReader(k.c)
		for range 3 {
			io.WriteString(k.c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n") //nolint:errcheck // the read tells
			resp, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if got := resp.Status + string(b); got != want && !strings.HasPrefix(got, want) {
				t.Errorf("%s to an endpoint with HTTP/2 %v: %q, want %s", protocol, h2, got, want)
			}
		}
	}
	f("http1", true, "200 OKHTTP/1.1")
	f("h2", true, "200 OKHTTP/2.0")
	f("h2", false, "502 Bad Gateway")
	f("auto", true, "200 OKHTTP/2.0")
	f("auto", false, "200 OKHTTP/1.1")
}

// TestLinks: requests share a link as long as it has streams, and have another one then; a link is made once for all that wait.
func TestLinks(t *testing.T) {
	var mu sync.Mutex
	remotes := map[string]int{}
	hold := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		remotes[r.RemoteAddr]++
		mu.Unlock()
		<-hold
	}))
	s.EnableHTTP2 = true
	s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 10}
	s.StartTLS()
	defer s.Close()
	g := newGateway(t, poolYAML("    protocol: h2\n    tls: {enabled: true, insecure_skip_verify: true}\n", s.Listener.Addr().String())+
		"routes: [{name: all, match: {path: /*}, pool: api}]\n")
	p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c"), DisableCompression: true}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	ask := func(n int) (asked *sync.WaitGroup) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(func() {
				resp := p.do(t, t.Context(), "POST", "/", strings.NewReader("a body"))
				resp.Body.Close()
				if resp.StatusCode != 200 {
					t.Errorf("%d %s", resp.StatusCode, resp.Header.Get("Weir-Reason"))
				}
			})
		}
		return &wg
	}
	inFlight := func(n int) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; {
			mu.Lock()
			sum := 0
			for _, k := range remotes {
				sum += k
			}
			mu.Unlock()
			if sum == n {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%d requests have arrived, want %d", sum, n)
			}
			time.Sleep(time.Millisecond)
		}
	}
	first := ask(1)
	inFlight(1)
	second := ask(29)
	inFlight(30)
	close(hold)
	first.Wait()
	second.Wait()
	if n := len(remotes); n < 3 || n > 6 {
		t.Errorf("30 requests took %d links of 10 streams", n)
	}
}

// TestProtocolReload: a pool may change its protocol; what is under way ends as it began, and nothing is left of the links.
func TestProtocolReload(t *testing.T) {
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	hold := make(chan struct{})
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/held" {
			w.WriteHeader(200)
			http.NewResponseController(w).Flush() //nolint:errcheck // the client tells
			<-hold
		}
		io.WriteString(w, r.Proto) //nolint:errcheck // as above
	}))
	s.Config.Protocols = &both
	s.Start()
	defer s.Close()
	yaml := func(protocol string) string {
		return poolYAML("    protocol: "+protocol+"\n", s.Listener.Addr().String()) + "routes: [{name: all, match: {path: /*}, pool: api}]\n"
	}
	g := newGateway(t, yaml("h2c"))
	p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c"), DisableCompression: true}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	held := p.do(t, t.Context(), "GET", "/held", nil)
	defer held.Body.Close()
	for _, step := range [][2]string{{"h2c", "HTTP/2.0"}, {"http1", "HTTP/1.1"}, {"h2c", "HTTP/2.0"}, {"auto", "HTTP/1.1"}} {
		reload(t, g, yaml(step[0]))
		resp := p.do(t, t.Context(), "GET", "/", nil)
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(b) != step[1] {
			t.Errorf("%s: %s", step[0], b)
		}
	}
	close(hold)
	if b, err := io.ReadAll(held.Body); string(b) != "HTTP/2.0" || err != nil {
		t.Errorf("what was under way: %q %v", b, err)
	}
}
