package admin

import (
	"strings"
	"testing"
)

func TestPurge(t *testing.T) {
	f := func(query string, status int, want string) {
		t.Helper()
		g := open()
		w := ask(g.Handler(), "DELETE /api/v1/cache"+query, "")
		if status >= 400 {
			refused(t, query, w, status, want)
			return
		}
		if w.Code != status || !strings.Contains(w.Body.String(), `"purged": 3`) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
		if n := len(g.gateway.asked); n != 1 || !strings.HasSuffix(g.gateway.asked[0], want) {
			t.Errorf("%s: asked %q, want %q", query, g.gateway.asked, want)
		}
	}
	f("?url=http://h/a%3Fb", 200, ": url=http://h/a?b")
	f("?prefix=http://h/a", 200, ": prefix=http://h/a")
	f("?tag=t1", 200, ": tag=t1")
	f("?all=true", 200, ": all=true")
	f("", 400, "Name what to forget")
	f("?all=yes", 400, "all=true")
	f("?tag=", 400, "empty")
	f("?tag=a&url=http://h/", 400, "one thing")
	f("?tag=a&tag=b", 400, "one thing")
	f("?key=a", 400, "not \"key\"")
	f("?tag=bad", 400, "can't be understood")
}
