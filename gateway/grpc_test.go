package gateway

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/mono"
	"weir/limiter"
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
	f := func(path, contentType string, status int, code, message string, soonest, latest int) {
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
		if ms, err := strconv.Atoi(resp.Header.Get("Grpc-Retry-Pushback-Ms")); (err == nil) != (code != "") || ms < soonest || ms > latest {
			t.Errorf("%s: pushback %q", path, resp.Header.Get("Grpc-Retry-Pushback-Ms"))
		}
	}
	f("/limited", "application/grpc", 200, "8", "Quota exceeded: policy none allows", -1, -1)
	f("/limited", "application/json", 429, "", "", 0, 0)
	f("/ill", "application/grpc+proto", 200, "14", "No endpoint is available", 1000, 3000)
	f("/nowhere", "application/grpc", 200, "12", "No route matches", -1, -1)
	counted := g.hub.Route("limited")
	for end := time.Now().Add(5 * time.Second); counted.GRPC(8) != 1 || g.snap.Load().noRoute.GRPC(12) != 1; time.Sleep(time.Millisecond) {
		if time.Now().After(end) { // a request is counted when its client has the answer already
			t.Fatalf("%d and %d are counted", counted.GRPC(8), g.snap.Load().noRoute.GRPC(12))
		}
	}
}

// TestPushback: a client is told when it may try again, never sooner than that can work, and to leave it where it cannot, or not in the time
// that the client has.
func TestPushback(t *testing.T) {
	limited := func(retry time.Duration) Verdict {
		return Verdict{Reason: Limited, Decision: limiter.Decision{Retry: retry}}
	}
	f := func(name string, v Verdict, timeout string, soonest, latest int64, ok bool) {
		t.Helper()
		c := request("POST", "/")
		c.fields = map[string]string{"grpc-timeout": timeout}
		x := &Exchange{car: c, start: mono.Now()}
		var least, most int64 = 1 << 40, -2
		for range 2000 {
			ms, is := x.pushback(&v)
			if is != ok {
				t.Fatalf("%s: %v", name, is)
			}
			least, most = min(least, ms), max(most, ms)
		}
		if least < soonest || most > latest || latest-soonest > 1000 && most-least < (latest-soonest)*9/10 {
			t.Errorf("%s: %d to %d ms, want %d to %d", name, least, most, soonest, latest)
		}
	}
	f("a limit", limited(time.Second), "", 1000, 1150, true)
	f("less than a millisecond", limited(time.Microsecond), "", 1, 51, true)
	f("an hour", limited(time.Hour), "", 3_600_000, 3_960_050, true)
	f("never", limited(limiter.Never), "", -1, -1, true)
	f("longer than clients count", limited(100*24*time.Hour), "", -1, -1, true)
	f("when others are done", limited(limiter.Unknown), "", 1000, 3000, true)
	f("longer than the client waits", limited(10*time.Second), "5S", -1, -1, true)
	f("while the client waits", limited(10*time.Second), "1M", 10_000, 11_050, true)
	f("shed", Verdict{Reason: Shed, Retry: 2 * time.Second}, "", 2000, 5000, true)
	f("no room", Verdict{Reason: QueueFull}, "", 1000, 3000, true)
	f("nobody there", Verdict{Reason: NoEndpoint}, "", 1000, 3000, true)
	f("too large", Verdict{Reason: TooLarge}, "", -1, -1, true)
	f("a bad token", Verdict{Reason: Unauthenticated}, "", -1, -1, true)
	f("no keys yet", Verdict{Reason: Unauthenticated, Status: 503}, "", 1000, 3000, true)
	f("what an endpoint may have done", Verdict{Reason: UpstreamError}, "", 0, 0, false)
	f("what an endpoint may do still", Verdict{Reason: UpstreamTimeout}, "", 0, 0, false)
}

func TestParsePushback(t *testing.T) {
	f := func(v string, want time.Duration) {
		t.Helper()
		if got := parsePushback(v); got != want {
			t.Errorf("%q: %v, want %v", v, got, want)
		}
	}
	f("0", 0)
	f("25", 25*time.Millisecond)
	f("-1", never)
	f("", never)
	f("soon", never)
	f("99999999999", never)
}

func TestCodes(t *testing.T) {
	f := func(s string, number int, unwell, unserved, fails bool) {
		t.Helper()
		if c := parseCode(s); c.number() != number || c.unwell() != unwell || c.unserved() != unserved || c.fails() != fails {
			t.Errorf("%q: %d %v %v %v", s, c.number(), c.unwell(), c.unserved(), c.fails())
		}
	}
	f("0", 0, false, false, false)
	f("1", 1, false, true, false)
	f("2", 2, false, false, true)
	f("4", 4, true, true, true)
	f("5", 5, false, false, false)
	f("8", 8, false, true, false)
	f("12", 12, false, false, true)
	f("13", 13, false, false, true)
	f("14", 14, true, true, true)
	f("16", 16, false, false, false)
	for _, s := range []string{"17", "18", "255", "256", "70000", "-1", "", "OK"} {
		f(s, 2, false, false, true)
	}
	if noCode.known() || codeAwaited.known() || !codeOK.known() || !codeUnauthenticated.known() {
		t.Error("what is a status, is not")
	}
}
