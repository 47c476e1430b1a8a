package gateway

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/config"
)

func TestQueryRewrite(t *testing.T) {
	c := config.QueryRewrite{
		Set:    []config.QueryValue{{Name: "tenant", Value: "${tenant}"}},
		Add:    []config.QueryValue{{Name: "a b", Value: "from ${query}"}},
		Remove: []string{"debug", "x.y"},
	}
	f := func(query, want string) {
		t.Helper()
		r := request("GET", "/")
		r.query = query
		x := dimExchange(r, "a&b=é")
		if got := string(compileQuery(&c, dimNames("tenant")).append([]byte("/"), x)); got != "/?"+want {
			t.Errorf("%q became %q, want %q", query, got, want)
		}
	}
	const tenant = "tenant=a%26b%3D%C3%A9&a%20b=from%20"
	f("", tenant)
	f("q=1&r", "q=1&r&"+tenant+"q%3D1%26r")
	f("tenant=x&q=1&tenant", "q=1&"+tenant+"tenant%3Dx%26q%3D1%26tenant")
	f("tenant[]=x", tenant+"tenant%5B%5D%3Dx")
	f("ten%61nt=x", tenant+"ten%2561nt%3Dx")
	f("+tenant=x", tenant+"%2Btenant%3Dx")
	f("q=1;tenant=x", tenant+"q%3D1%3Btenant%3Dx")
	f("debug&x_y=1&&xy=1", "xy=1&"+tenant+"debug%26x_y%3D1%26%26xy%3D1")
	none := compileQuery(&config.QueryRewrite{Remove: []string{"q"}}, dimNames())
	r := request("GET", "/")
	if r.query = "q=1"; len(none.append(nil, dimExchange(r))) != 0 {
		t.Error("a query with nothing in it has a question mark")
	}
	if compileQuery(&config.QueryRewrite{}, nil) != nil {
		t.Error("nothing to change is something")
	}
}

// checkQuery holds a rewriting to what it promises: whatever comes, nobody reads another value than the one that is set, and what it adds is
// one parameter.
func checkQuery(t interface{ Fatalf(string, ...any) }, query, value string) {
	q := compileQuery(&config.QueryRewrite{Set: []config.QueryValue{{Name: "k", Value: "${v}"}}, Remove: []string{"gone"}}, dimNames("v"))
	r := request("GET", "/")
	r.query = query
	got := string(q.append(nil, dimExchange(r, value)))
	clean := string(appendClean(nil, value))
	if v, ok := queryParam(strings.TrimPrefix(got, "?"), "k"); !ok || v != clean {
		t.Fatalf("%q became %q: k is %q, want %q", query, got, v, clean)
	}
	if why := paramFault(got[1:], "k", false); why != "" {
		t.Fatalf("%q became %q: k %s", query, got, why)
	}
	if _, ok := queryParam(got[1:], "gone"); ok {
		t.Fatalf("%q became %q", query, got)
	}
}

func TestQueryRewriteIsWhatIsRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		query := rapid.StringOf(rapid.SampledFrom([]rune("kgone%6bB[]=&;+. _"))).Draw(t, "query")
		checkQuery(t, query, string(rapid.SliceOfN(rapid.Byte(), 1, 8).Draw(t, "value")))
	})
}

func FuzzQueryRewrite(f *testing.F) {
	f.Add("k=1&gone=2&k[]=3;k=4", "v")
	f.Add("%6b=1&+k=2", "a&k=b")
	f.Fuzz(func(t *testing.T, query, value string) {
		if value != "" {
			checkQuery(t, query, value)
		}
	})
}

// TestSentMethod: what endpoints get, and what of it counts.
func TestSentMethod(t *testing.T) {
	h := func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Length", r.Header.Get("Content-Length"))
		w.Header().Set("Got", r.Method+" "+r.RequestURI+":"+string(b))
		io.WriteString(w, strings.Repeat("answer ", 100))
	}
	eachPair(t, "", ", rewrite: {method: POST, query: {set: [{name: q, value: '${method}'}]}}", h, func(t *testing.T, p pair) {
		f := func(method, body, want string, length int) {
			t.Helper()
			resp := p.do(t, t.Context(), method, "/a?q=0", strings.NewReader(body))
			got, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if err != nil || resp.Header.Get("Got") != want || len(got) != length {
				t.Errorf("%s: %q, %d bytes, %v", method, resp.Header.Get("Got"), len(got), err)
			}
		}
		f("GET", "", "POST /a?q=GET:", 700)
		f("HEAD", "", "POST /a?q=HEAD:", 0)
		f("PUT", "body", "POST /a?q=PUT:body", 700)
		f("GET", "", "POST /a?q=GET:", 700)
	})
}

// TestSentMethodOfNoUpgrade: what has a body asks for no tunnel, not even once the body was read, and so its method is not its own.
func TestSentMethodOfNoUpgrade(t *testing.T) {
	f := func(json, fields, body string) {
		t.Helper()
		up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body) //nolint:errcheck // the method is what counts
			w.Header().Set("Got", r.Method)
		})
		g := newGateway(t, poolYAML("", up)+"routes: [{name: all, pool: api, rewrite: {method: POST}"+json+"}]\n")
		got := dial(t, g).roundTrip([]byte("DELETE / HTTP/1.1\r\nHost: a.example\r\nConnection: upgrade\r\nUpgrade: x\r\n"+fields+"\r\n"+body), []byte("\r\n\r\n"))
		if !strings.Contains(string(got), "Got: POST\r\n") {
			t.Errorf("%s: %s", fields, got)
		}
	}
	f("", "Content-Length: 2\r\n", "{}")
	f("", "Transfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n")
	f(changeYAML, asJSON+"\r\nContent-Length: 2\r\n", "{}")
	f(changeYAML, asJSON+"\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n")
}

// TestSentMethodSaysItHasNoBody: a server may refuse a POST without a length.
func TestSentMethodSaysItHasNoBody(t *testing.T) {
	f := func(method, want string) {
		t.Helper()
		var got []string
		up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) { got = r.Header["Content-Length"] })
		g := newGateway(t, poolYAML("", up)+"routes: [{name: all, pool: api, rewrite: {method: "+method+"}}]\n")
		get(t, g, "/")
		if strings.Join(got, ",") != want {
			t.Errorf("%s: Content-Length %q", method, got)
		}
	}
	f("POST", "0")
	f("DELETE", "")
}

// TestSentMethodIsWhatIsRetried: a request that endpoints get as POST is sent once, whatever the client's method is.
func TestSentMethodIsWhatIsRetried(t *testing.T) {
	f := func(method, sent string, tries int) {
		t.Helper()
		g := newGateway(t, poolYAML("    retry: {budget: 100%}\n", "127.0.0.1:1", "127.0.0.1:2")+"routes: [{name: all, pool: api, rewrite: {method: "+sent+"}}]\n")
		c := request(method, "/a")
		c.script = []Result{{Fault: FaultReset, Sent: true}, {Status: 200, Sent: true}}
		x := g.exchange(c)
		if g.serve(x); len(c.picked) != tries {
			t.Errorf("%s sent as %s: %d attempts, want %d", method, sent, len(c.picked), tries)
		}
	}
	f("GET", "POST", 1)
	f("POST", "PUT", 2)
	f("POST", "GET", 2)
	f("POST", "\"\"", 1)
}

// TestSentMethodOfTheStar: what only makes sense in its own method stays.
func TestSentMethodOfTheStar(t *testing.T) {
	f := func(c *fakeCarrier, want string) {
		t.Helper()
		x := &Exchange{car: c, route: &entry{rewrite: rewrite{method: "POST"}}}
		if got := x.sentMethod(); got != want {
			t.Errorf("%s %s is sent as %s", c.method, c.path, got)
		}
	}
	f(request("OPTIONS", "*"), "OPTIONS")
	f(request("OPTIONS", "/"), "POST")
	up := request("GET", "/")
	up.header = http.Header{"Upgrade": {"websocket"}}
	f(up, "GET")
}

// TestSentMethodAndTheCache: a POST that endpoints get as GET neither fills the cache nor empties it; a GET that they get as POST empties it.
func TestSentMethodAndTheCache(t *testing.T) {
	n := 0
	up := endpoint(t, "http1", func(w http.ResponseWriter, r *http.Request) {
		n++
		w.Header().Set("Cache-Control", "max-age=60")
		io.WriteString(w, r.Method+" "+strings.Repeat("x", n))
	})
	g := newGateway(t, poolYAML("", up)+`routes:
  - {name: posts, pool: api, match: {headers: [{name: x-as, value: post}]}, rewrite: {method: POST}}
  - {name: gets, pool: api, rewrite: {method: GET}, cache: {enabled: true}}
`)
	p := pair{&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://" + front(t, g)}
	f := func(method, as, want string) {
		t.Helper()
		req, _ := http.NewRequest(method, p.url+"/a", nil)
		req.Header.Set("X-As", as)
		resp, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if got, _ := io.ReadAll(resp.Body); string(got) != want {
			t.Errorf("%s as %q: %s, want %s", method, as, got, want)
		}
	}
	f("POST", "", "GET x")
	f("GET", "", "GET xx") // nothing was kept
	f("GET", "", "GET xx")
	f("POST", "", "GET xxx")
	f("GET", "", "GET xx") // still
	f("GET", "post", "POST xxxx")
	f("GET", "", "GET xxxxx")
}

// TestSentMethodOverAnOldConnection: one that endpoints get as POST is not sent again when a kept connection ends under it.
func TestSentMethodOverAnOldConnection(t *testing.T) {
	f := func(sent string, status, asked int64) {
		t.Helper()
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var n atomic.Int64
		var all sync.WaitGroup
		t.Cleanup(func() { // once the gateway has closed its connections
			ln.Close()
			all.Wait()
		})
		all.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				all.Go(func() { // answers the first request, and no other
					defer c.Close()
					c.SetDeadline(time.Now().Add(10 * time.Second)) //nolint:errcheck // the reads meet it
					in := bufio.NewReader(c)
					for i := range 2 {
						if _, err := http.ReadRequest(in); err != nil {
							return
						}
						if n.Add(1); i == 0 {
							io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n") //nolint:errcheck // as above
						}
					}
				})
			}
		})
		g := newGateway(t, poolYAML("    retry: {attempts: 1}\n", ln.Addr().String())+"routes: [{name: all, pool: api, rewrite: {method: "+sent+"}}]\n")
		get(t, g, "/")
		resp, _ := get(t, g, "/")
		if int64(resp.StatusCode) != status || n.Load() != asked {
			t.Errorf("as %s: %d, asked %d times", sent, resp.StatusCode, n.Load())
		}
	}
	f("POST", 502, 2)
	f("PUT", 200, 3)
}
