package tests

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestNoSpellingDodgesALimit: whatever a client makes of the name of what limits go by, the endpoint never gets the real value more often
// than the limit allows.
func TestNoSpellingDodgesALimit(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	real := map[string]int{} // requests in which an endpoint could find the value, by test
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(fmt.Sprint(r.RequestURI, r.Header), "real") {
			mu.Lock()
			real[r.Header.Get("X-Case")]++
			mu.Unlock()
		}
	})
	w := startWeir(t, onePool+`
dimensions:
  - {name: q, from: "query:qk"}
  - {name: c, from: "cookie:sid"}
  - {name: h, from: "header:x-api-key"}
  - {name: e, from: 'expr: "x-other-key" in request.headers ? request.headers["x-other-key"] : request.query[?"ek"].orValue("")'}
policies:
  - {name: q, dimensions: [q], limit: 3, window: 24h, when: "q == 'real'"}
  - {name: c, dimensions: [c], limit: 3, window: 24h, when: "c == 'real'"}
  - {name: h, dimensions: [h], limit: 3, window: 24h, when: "h == 'real'"}
  - {name: e, dimensions: [e], limit: 3, window: 24h, when: "e == 'real'"}
`, map[string]string{"up": up.addr})
	f := func(name, target string, fields ...string) {
		t.Helper()
		for range 8 {
			head := "GET " + target + " HTTP/1.1\r\nHost: a.test\r\nX-Case: " + name + "\r\n"
			for _, line := range fields {
				head += line + "\r\n"
			}
			c := dial(t, w.addr("web"))
			c.ask(head + "\r\n")
		}
		mu.Lock()
		defer mu.Unlock()
		if n := real[name]; n > 3 {
			t.Errorf("%s: the endpoint could read the value %d times, the limit is 3", name, n)
		}
		w.admin("DELETE", "/api/v1/keys/real", "") // there may be nothing to forget
	}
	f("plain", "/?qk=real")
	f("many", "/?"+strings.Repeat("&", 10_500)+"qk=real")
	f("semicolon", "/?a=1;qk=real")
	f("semicolon-behind", "/?qk=real;x")
	f("broken", "/?qk=real%zz")
	f("first", "/?qk=fresh&qk=real")
	f("last", "/?qk=real&qk=fresh")
	f("escaped", "/?%71k=real")
	f("cookie", "/", "Cookie: sid=real")
	f("cookies", "/", "Cookie: a=1", "Cookie: sid=real")
	f("cookie-twice", "/", "Cookie: sid=fresh; sid=real")
	f("cookie-fields-twice", "/", "Cookie: sid=fresh", "Cookie: sid=real")
	f("header", "/", "X-Api-Key: real")
	f("underscore", "/", "X_Api_Key: real")
	f("underscore-beside", "/", "X-Api-Key: fresh", "X_Api-Key: real")
	f("header-twice", "/", "X-Api-Key: fresh", "x-api-KEY: real")
	f("cel-underscore", "/", "X_Other_Key: real")
	f("cel-twice", "/", "X-Other-Key: fresh", "X-Other-Key: real")
	f("cel-query", "/?ek=fresh&ek=real")
	for _, one := range []string{"plain", "cookie", "header", "escaped", "cookies"} { // and what is plain does get through
		if real[one] != 3 {
			t.Errorf("%s: %d got through", one, real[one])
		}
	}
}
