package tests

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// answering is a config whose only route says text.
func answering(text string) string {
	return base + `
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - {name: text, match: {path: /text}, respond: {body: "` + text + `"}}
  - {name: all, pool: up}
`
}

// TestReload changes the file under load, in each way there is; a bad file changes nothing and says why.
func TestReload(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, answering("one"), map[string]string{"up": up.addr})
	l := startLoad(w.url("/"), 4, 300)
	says := func(want string) func() bool {
		return func() bool { _, text := fetch(t, "GET", w.url("/text"), ""); return text == want }
	}
	eventually(t, time.Second, "one", says("one"))

	w.writeConfig(answering("two"))
	eventually(t, 5*time.Second, "a changed file is picked up", says("two"))

	if err := os.WriteFile(w.config, []byte(w.expand(answering("three"))), 0o644); err != nil { // in place, no rename
		t.Fatal(err)
	}
	eventually(t, 5*time.Second, "a file changed in place is picked up", says("three"))

	w.writeConfig(answering("four"))
	w.signal(syscall.SIGHUP)
	eventually(t, 2*time.Second, "SIGHUP reloads", says("four"))

	w.writeConfig(answering("five"))
	if status, body := w.admin("POST", "/api/v1/config/reload", ""); status != 200 {
		t.Errorf("reload: %d %s", status, body)
	}
	if !says("five")() {
		t.Error("a reload by API has taken effect when it answers")
	}

	w.writeConfig(strings.Replace(answering("six"), "pool: up", "pool: upp", 1))
	status, body := w.admin("POST", "/api/v1/config/reload", "")
	if status < 400 || status >= 500 || !strings.Contains(body, "upp") || !strings.Contains(body, "config.yaml") {
		t.Errorf("a bad file by API: %d %s", status, body)
	}
	eventually(t, 5*time.Second, "the metric says so", func() bool { return w.metric("weir_config_reload_success") == 0 })
	if !says("five")() {
		t.Error("a bad file has changed something")
	}
	if !strings.Contains(w.log.String(), "upp") {
		t.Error("the log does not say what is wrong")
	}
	w.writeConfig("listeners: [")
	w.signal(syscall.SIGHUP)
	time.Sleep(300 * time.Millisecond)
	if !says("five")() {
		t.Error("a file that is no YAML has changed something")
	}
	w.writeConfig(answering("seven"))
	eventually(t, 5*time.Second, "a good file after a bad one", says("seven"))
	eventually(t, 5*time.Second, "the metric says so too", func() bool { return w.metric("weir_config_reload_success") == 1 })
	if total, failed, seen := l.stop(); failed > 0 || total < 100 {
		t.Errorf("%d of %d requests failed: %s", failed, total, seen)
	}
}

// TestReloadUnderLoad reloads again and again, a big file in between and bad ones, while requests go on.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	up := serve(t, say("ok"))
	w := startWeir(t, answering("x"), map[string]string{"up": up.addr})
	l := startLoad(w.url("/"), 8, 300)
	big := new(strings.Builder)
	big.WriteString(strings.TrimSuffix(answering("big"), "  - {name: all, pool: up}\n"))
	routes := 10000
	if raced {
		routes = 1000
	}
	for i := range routes {
		fmt.Fprintf(big, "  - {name: r%d, match: {path: \"/r%d/*\"}, pool: up}\n", i, i)
	}
	big.WriteString("  - {name: all, pool: up}\n")
	reload := func(text string, good bool) {
		t.Helper()
		w.writeConfig(text)
		start := time.Now()
		req, _ := http.NewRequest("POST", w.adminURL("/api/v1/config/reload"), nil)
		resp, err := (&http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if (resp.StatusCode == 200) != good {
			t.Errorf("reload: %d, good %v", resp.StatusCode, good)
		}
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("a reload took %v", took)
		}
	}
	for i := 0; ; i++ { // 20 times at least, and until there were requests meanwhile
		reload(answering(fmt.Sprint(i)), true)
		reload(strings.Replace(answering("x"), "respond", "respnd", 1), false)
		if total, _, _ := l.sofar(); i >= 19 && total >= 50 {
			break
		}
	}
	start := time.Now()
	reload(big.String(), true)
	t.Logf("a reload of %d routes took %v", routes, time.Since(start))
	if _, text := fetch(t, "GET", w.url("/text"), ""); text != "big" {
		t.Errorf("the big file says %q", text)
	}
	if resp, text := fetch(t, "GET", w.url(fmt.Sprintf("/r%d/x", routes-1)), ""); resp.StatusCode != 200 || text != "ok" {
		t.Errorf("its last route: %d %q", resp.StatusCode, text)
	}
	reload(answering("end"), true)
	if total, failed, seen := l.stop(); failed > 0 || total < 50 {
		t.Errorf("%d of %d requests failed: %s", failed, total, seen)
	}
}

// TestReloadKeepsState checks that what a client has spent and a connection in use outlive a reload, and what is in flight
// ends under the config it began with.
func TestReloadKeepsState(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	up := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/wait" {
			<-release
		}
		say("ok")(w, r)
	})
	config := func(more string) string {
		return base + `
listeners: [{name: web, address: "@web"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes: [{name: all, pool: up}` + more + `]
policies: [{name: few, limit: 3, window: 1h, routes: [all]}]
`
	}
	w := startWeir(t, config(""), map[string]string{"up": up.addr})
	c := dial(t, w.addr("web"))
	c.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
	waiting := dial(t, w.addr("web"))
	waiting.send("GET /wait HTTP/1.1\r\nHost: a.test\r\n\r\n")
	eventually(t, 2*time.Second, "it waits", func() bool { return up.hits.Load() == 2 })
	w.writeConfig(config(", {name: more, pool: up}"))
	if status, body := w.admin("POST", "/api/v1/config/reload", ""); status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	if r := c.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); r.status != 200 {
		t.Errorf("the third: %s", r.line)
	}
	if r := c.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"); r.status != 429 {
		t.Errorf("the fourth: %s: a reload gave the bucket back", r.line)
	}
	close(release)
	if r := waiting.read(3*time.Second, false); r.status != 200 {
		t.Errorf("in flight: %s, %v", r.line, r.err)
	}
}

// TestReloadListeners adds and removes a listener.
func TestReloadListeners(t *testing.T) {
	t.Parallel()
	config := func(listeners string) string { return base + "listeners: [" + listeners + "]" + fixedRoute }
	w := startWeir(t, config(`{name: web, address: "@web"}`), nil)
	w.writeConfig(config(`{name: web, address: "@web"}, {name: two, address: "@two"}`))
	status, body := w.admin("POST", "/api/v1/config/reload", "")
	if status == 409 || status == 422 || status == 400 { // refusing is fine if it says so
		if !strings.Contains(body, "listener") {
			t.Errorf("%d %s", status, body)
		}
		return
	}
	if resp, text := fetch(t, "GET", "http://"+w.addr("two")+"/", ""); resp.StatusCode != 200 || text != "fixed" {
		t.Errorf("the new listener: %d %q", resp.StatusCode, text)
	}
	w.writeConfig(config(`{name: web, address: "@web"}`))
	w.admin("POST", "/api/v1/config/reload", "")
	eventually(t, 3*time.Second, "the removed listener is closed", func() bool {
		_, _, err := tryFetch(plainClient, "GET", "http://"+w.addr("two")+"/", "")
		return err != nil
	})
	if resp, _ := fetch(t, "GET", w.url("/"), ""); resp.StatusCode != 200 {
		t.Errorf("the one that stays: %d", resp.StatusCode)
	}
}
