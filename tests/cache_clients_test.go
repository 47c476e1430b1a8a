package tests

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// TestCachePurgeOfPeers: what one gateway is told to forget, the others forget.
func TestCachePurgeOfPeers(t *testing.T) {
	o := &origin{}
	s := serve(t, o.ServeHTTP)
	addrs := []string{freeAddr(t), freeAddr(t)}
	var nodes []*weir
	for i := range addrs {
		nodes = append(nodes, startWeir(t, strings.Replace(cacheConfig, "name: test", "name: node"+fmt.Sprint(i), 1)+`
cluster: {enabled: true, bind: "@cluster", join: [@seeds]}
`, map[string]string{"up": s.addr, "cluster": addrs[i], "seeds": fmt.Sprintf("%q, %q", addrs[0], addrs[1])}))
	}
	eventually(t, 15*time.Second, "both know each other", func() bool {
		_, a := nodes[0].admin("GET", "/api/v1/cluster", "")
		_, b := nodes[1].admin("GET", "/api/v1/cluster", "")
		return strings.Contains(a, `"heard": 2`) && strings.Contains(b, `"heard": 2`)
	})
	ask := func(n int) string {
		_, body := fetch(t, "GET", nodes[n].url("/a"+minute+"&surrogate-key=red"), "")
		return body
	}
	if a, b := ask(0)+ask(1), ask(0)+ask(1); a != b || o.count() != 2 {
		t.Fatalf("%q, then %q", a, b)
	}
	if status, answer := nodes[0].admin("DELETE", "/api/v1/cache?tag=red", ""); status != 200 || !strings.Contains(answer, `"purged": 1`) {
		t.Errorf("%d %s", status, answer)
	}
	eventually(t, 5*time.Second, "the other forgets", func() bool { return ask(1) != "answer 2" })
}

// TestCacheSlowReader: a client that does not read what others want too is not waited for.
func TestCacheSlowReader(t *testing.T) {
	c := newCacheTest(t)
	conn, err := net.Dial("tcp", c.addr("web"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.(*net.TCPConn).SetReadBuffer(4 << 10)
	fmt.Fprintf(conn, "GET /h%s&h HTTP/1.1\r\nHost: %s\r\n\r\n", minute, c.addr("web"))
	eventually(t, 5*time.Second, "the origin is asked", func() bool { return c.o.count() == 1 })
	begun := time.Now()
	resp, body := fetch(t, "GET", c.url("/h"+minute+"&h"), "")
	if resp.StatusCode != 200 || len(body) != 7<<20+len("answer 2") || c.o.count() != 2 {
		t.Errorf("%d, %d bytes, asked %d times", resp.StatusCode, len(body), c.o.count())
	}
	if d := time.Since(begun); d > 4*time.Second { // after 5 s the slow one is cut
		t.Errorf("it took %v", d)
	}
	c.o.set(func() { c.o.down = true })
	if _, again := fetch(t, "GET", c.url("/h"+minute+"&h"), ""); again != body {
		t.Errorf("%d bytes from the cache", len(again))
	}
}

// TestCacheOldClients: connections go on after hits, pipelined or not, and HTTP/1.0 gets what it asked for.
func TestCacheOldClients(t *testing.T) {
	c := newCacheTest(t)
	c.ask("/a"+minute, "answer 1", 1)
	f := func(request string, hits int) {
		t.Helper()
		conn, err := net.Dial("tcp", c.addr("web"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conn.SetDeadline(time.Now().Add(5 * time.Second))
		io.WriteString(conn, request)
		b, err := io.ReadAll(conn)
		if err != nil || strings.Count(string(b), "\r\n\r\nanswer 1") != hits {
			t.Errorf("%q: %v, %q", request, err, b)
		}
	}
	line, host := "GET /a"+minute+" HTTP/1.", "Host: "+c.addr("web")+"\r\n"
	f(line+"0\r\n"+host+"\r\n", 1)
	f(line+"1\r\n"+host+"Connection: close\r\n\r\n", 1)
	f(strings.Repeat(line+"1\r\n"+host+"\r\n", 3)+line+"1\r\n"+host+"Connection: close\r\n\r\n", 4)
	if n := c.o.count(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}
