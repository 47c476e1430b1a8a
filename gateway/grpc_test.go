package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestGRPCMessage(t *testing.T) {
	f := func(s, want string) {
		t.Helper()
		if got := string(appendGRPCMessage(nil, s)); got != want {
			t.Errorf("%q: %q, want %q", s, got, want)
		}
	}
	f("", "")
	f("Quota exceeded: 5 per 1s", "Quota exceeded: 5 per 1s")
	f("100%", "100%25")
	f("a\r\nb", "a%0D%0Ab")
	f("é", "%C3%A9")
}

func TestIsGRPC(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		if isGRPC(s) != want {
			t.Errorf("%q", s)
		}
	}
	f("application/grpc", true)
	f("application/grpc+proto", true)
	f("application/grpc;x=y", true)
	f("application/grpc-web", false)
	f("application/json", false)
	f("", false)
}

// TestGRPCRefusals: a gRPC client gets a status of its own protocol, in trailers alone; others do not.
func TestGRPCRefusals(t *testing.T) {
	ill := "  - {name: ill, health: {panic: 0%}, endpoints: [{address: 'nowhere.invalid:80'}]}\n"
	g := newGateway(t, "pools:\n"+ill+`routes:
  - {name: limited, match: {path: /limited}, respond: {body: x}}
  - {name: ill, match: {path: /ill}, pool: ill}
policies: [{name: none, limit: 1, window: 1h, cost: 2, routes: [limited]}]
`)
	p := pair{&http.Client{Transport: &http.Transport{Protocols: protocols("h2c"), DisableCompression: true}}, "http://" + front(t, g)}
	t.Cleanup(p.client.CloseIdleConnections)
	f := func(path, contentType string, status int, code, message string) {
		t.Helper()
		req, _ := http.NewRequest("POST", p.url+path, strings.NewReader("\x00\x00\x00\x00\x00"))
		req.Header.Set("Content-Type", contentType)
		resp, err := p.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != status || resp.Header.Get("Grpc-Status") != code || !strings.HasPrefix(resp.Header.Get("Grpc-Message"), message) || err != nil || (code != "") != (len(b) == 0) {
			t.Errorf("%s: %d %v %q %v", path, resp.StatusCode, resp.Header, b, err)
		}
	}
	f("/limited", "application/grpc", 200, "8", "Quota exceeded: policy none allows")
	f("/limited", "application/json", 429, "", "")
	f("/ill", "application/grpc+proto", 200, "14", "No endpoint is available")
	f("/nowhere", "application/grpc", 200, "12", "No route matches")
}
