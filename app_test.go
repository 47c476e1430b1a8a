package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/admin"
	"weir/config"
	"weir/gateway"
	"weir/telemetry"
)

func mustAddr(t *testing.T, s string) netip.Addr {
	t.Helper()
	a, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// startApp starts a gateway from a file, without what waits for signals and watches files. It ends with the test.
func startApp(t *testing.T, file string) *app {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	a := &app{path: file, hub: telemetry.NewHub(), sockets: map[string]*socket{}, ctx: ctx, log: slog.New(slog.DiscardHandler), level: new(slog.LevelVar)}
	a.gw = gateway.New(gateway.Options{Hub: a.hub, Log: a.log, HTTP01: a.http01})
	a.hub.SetSources(a.sources())
	a.admin.server = admin.New(controller{a}, admin.Options{})
	conf, err := config.Load(file, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.apply(conf, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.stop(5 * time.Second); err != nil {
			t.Error(err)
		}
		cancel()
		a.tasks.Wait()
	})
	return a
}

// free returns an address that nobody listens on; taken returns one that somebody does, until the test ends.
func free(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

func taken(t *testing.T) string {
	t.Helper()
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// get asks for a path at an address, over a connection of its own.
func get(t *testing.T, addr, path string) (status int, body string) {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	defer tr.CloseIdleConnections()
	resp, err := (&http.Client{Transport: tr}).Get("http://" + addr + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func file(web, admin, rest string) string {
	return "node: {data_dir: ''}\nadmin: {address: '" + admin + "'}\nlisteners: [{name: web, address: '" + web + "'}" + rest
}

const hello = "]\nroutes: [{name: hello, respond: {body: hello}}]\ntelemetry: {access_log: {output: 'off'}}\n"

// TestReloadIsATransaction: at whatever step a reload fails, everything that was in force stays, and whatever it had begun
// is undone.
func TestReloadIsATransaction(t *testing.T) {
	web, adm := free(t), free(t)
	path := write(t, file(web, adm, hello))
	a := startApp(t, path)
	conf, snap := a.conf.Load(), a.gw.Snapshot()
	f := func(name, want, content string, unbound ...string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := a.reload("test"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
		if a.conf.Load() != conf || a.gw.Snapshot() != snap || len(a.sockets) != 1 || a.admin.address != adm {
			t.Errorf("%s: something changed", name)
		}
		if status, body := get(t, web, "/"); status != 200 || body != "hello" {
			t.Errorf("%s: status %d, %q", name, status, body)
		}
		if status, _ := get(t, adm, "/livez"); status != 200 {
			t.Errorf("%s: the admin address answers %d", name, status)
		}
		if info := a.reloaded.Load(); info.ReloadOK || info.Hash != conf.Hash() {
			t.Errorf("%s: metrics say %+v", name, info)
		}
		for _, addr := range unbound {
			if ln, err := net.Listen("tcp", addr); err != nil {
				t.Errorf("%s: %v", name, err)
			} else {
				ln.Close()
			}
		}
	}
	other := strings.Replace(hello, "body: hello", "body: other", 1)
	extra, busy, cert := free(t), taken(t), filepath.Join(t.TempDir(), "cert.pem")
	second := ", {name: second, address: '" + extra + "'}"
	f("a fault", "bogus", file(web, adm, other)+"bogus: 1\n")
	f("a listener's address is taken", "listener third", file(web, adm, second+", {name: third, address: '"+busy+"'}"+other), extra)
	f("the admin address is taken", "admin", file(web, busy, second+other), extra)
	adm2 := free(t)
	f("a log cannot be opened", "access log", file(web, adm2, second+strings.Replace(other, "'off'", "'/nonexistent/dir/log'", 1)), extra, adm2)
	f("a certificate cannot be read", "cert.pem", file(web, free(t), ", {name: second, address: '"+extra+"', tls: true}"+other)+"tls: {certificates: [{cert: "+cert+", key: "+cert+"}]}\n", extra)

	if err := os.WriteFile(path, []byte(file(extra, adm, other)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.reload("test"); err != nil {
		t.Fatal(err)
	}
	if status, body := get(t, extra, "/"); status != 200 || body != "other" {
		t.Errorf("after a good reload: %d, %q", status, body)
	}
	if status, _ := get(t, web, "/"); status != 0 {
		t.Errorf("an address that is gone from the file still answers %d", status)
	}
	if !a.reloaded.Load().ReloadOK {
		t.Error("metrics say that the last reload failed")
	}
}

// TestAdminMoves: the admin address changes with a reload, and the old one closes.
func TestAdminMoves(t *testing.T) {
	web, from, to := free(t), free(t), free(t)
	path := write(t, file(web, from, hello))
	a := startApp(t, path)
	if err := os.WriteFile(path, []byte(file(web, to, hello)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := a.reload("test"); err != nil {
		t.Fatal(err)
	}
	if status, _ := get(t, to, "/readyz"); status != 200 {
		t.Errorf("the new address answers %d", status)
	}
	if status, _ := get(t, from, "/readyz"); status != 0 {
		t.Errorf("the old address answers %d", status)
	}
}

// TestNothingIsAppliedAfterTheEnd: a reload that comes when the gateway stops opens nothing.
func TestNothingIsAppliedAfterTheEnd(t *testing.T) {
	path := write(t, file(free(t), free(t), hello))
	a := startApp(t, path)
	if err := a.stop(time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := a.reload("test"); err == nil {
		t.Error("reloaded")
	}
}

// TestRunStopsWithItsContext is the whole life of a gateway in short.
func TestRunStopsWithItsContext(t *testing.T) {
	web := free(t)
	path := write(t, file(web, free(t), hello))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, path) }()
	for { // until it listens
		if status, _ := get(t, web, "/"); status == 200 {
			break
		}
		select {
		case err := <-done:
			t.Fatal(err)
		default:
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if status, _ := get(t, web, "/"); status != 0 {
		t.Errorf("it still answers %d", status)
	}
}
