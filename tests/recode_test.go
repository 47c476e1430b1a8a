package tests

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

const recodeConfig = base + `
listeners: [{name: web, address: "@web"}]
dimensions: [{name: tenant, from: "header:x-tenant"}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - {name: sent, match: {path: "/sent/*"}, pool: up, rewrite: {method: POST, query: {set: [{name: tenant, value: "${tenant}"}], remove: [debug]}}}
  - name: json
    match: {path: "/json/*"}
    pool: up
    request: {json: {rename: [{path: user.id, to: uid}], set: [{path: by.tenant, value: "${tenant}"}], remove: [debug]}}
    response: {json: {remove: [secret], set: [{path: for, value: "${tenant}"}]}}
    cache: {enabled: true}
    compress: {enabled: true, min_size: 1}
  - {name: all, pool: up, compress: {enabled: true}}
`

// recodeUpstream says in JSON what it got, beside a secret, and as much more as asked for.
func recodeUpstream(w http.ResponseWriter, r *http.Request) {
	b, _ := io.ReadAll(r.Body)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("ETag", `"1"`)
	w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
	switch r.URL.Query().Get("as") {
	case "broken":
		io.WriteString(w, `{"secret":"hush"`)
		return
	case "long":
		fmt.Fprintf(w, `{"secret":"hush","more":"%s"}`, strings.Repeat("x", 2<<20))
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"secret": "hush", "line": r.Method + " " + r.RequestURI, "body": string(b), "more": strings.Repeat("more ", 1000)})
}

// curl runs it and returns what it prints: the head, and the body without its coding.
func curl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := exec.Command("curl", append([]string{"-sSi", "--max-time", "10"}, args...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("curl %q: %v\n%s", args, err, out)
	}
	return string(out)
}

// TestRecodeWithCurl: method, query, JSON and compression as a client of everyday sees them, over both protocols.
func TestRecodeWithCurl(t *testing.T) {
	version, err := exec.Command("curl", "--version").Output()
	for _, part := range []string{"HTTP2", "brotli", "zstd", "libz"} {
		if err != nil || !strings.Contains(string(version), part) {
			t.Skip("no curl with " + part)
		}
	}
	s := serve(t, recodeUpstream)
	w := startWeir(t, recodeConfig, map[string]string{"up": s.addr})
	for _, protocol := range []string{"--http1.1", "--http2-prior-knowledge"} {
		f := func(path string, want, not []string, args ...string) {
			t.Helper()
			got := curl(t, append(args, protocol, w.url(path))...)
			low := strings.ToLower(got)
			for _, s := range want {
				if !strings.Contains(low, strings.ToLower(s)) {
					t.Errorf("%s %s %q has no %s:\n%.1500s", protocol, path, args, s, got)
				}
			}
			for _, s := range not {
				if strings.Contains(low, strings.ToLower(s)) {
					t.Errorf("%s %s %q has %s:\n%.1500s", protocol, path, args, s, got)
				}
			}
		}
		f("/sent/a?debug=1&q=2&tenant=evil", []string{`"POST /sent/a?q=2\u0026tenant=a%26b"`}, nil, "-H", "x-tenant: a&b")
		f("/json/a", []string{`"body":"{\"user\":{\"uid\":1},\"by\":{\"tenant\":\"acme\"}}"`, `"for":"acme"`, `etag: w/"1"`}, []string{"hush"},
			"-H", "content-type: application/json", "-H", "x-tenant: acme", "-d", `{"debug":1,"user":{"id":1}}`)
		f("/json/a", []string{" 400", "not a JSON document"}, nil, "-H", "content-type: application/json", "-d", `{"debug":1`)
		f("/json/a?as=broken", []string{" 502", "weir-reason: upstream_error", "not a JSON document"}, []string{"hush"})
		f("/json/a?as=long", []string{" 502", "1048576 bytes"}, []string{"hush"})
		for _, tenant := range []string{"ann", "bob"} {
			f("/json/cached?cc=max-age=60", []string{"content-encoding: ", "vary: accept-encoding", `"for":"` + tenant + `"`}, []string{"hush"}, "--compressed", "-H", "x-tenant: "+tenant)
		}
		for _, coding := range []string{"gzip", "br", "zstd"} {
			f("/a", []string{"content-encoding: " + coding, `etag: w/"1"`, `"line":"GET /a"`}, []string{"accept-ranges"}, "--compressed", "-H", "accept-encoding: "+coding)
		}
		f("/a", []string{"vary: accept-encoding", `etag: "1"`}, []string{"content-encoding"})
		f("/a", []string{"content-encoding: gzip", `etag: w/"1"`}, []string{"more more"}, "-I", "-H", "accept-encoding: gzip")
	}
	if n := s.hits.Load(); n != 10+9 { // what is cached once
		t.Errorf("the endpoint was asked %d times", n)
	}
	_, metrics := fetch(t, "GET", w.adminURL("/metrics"), "")
	if !strings.Contains(metrics, `weir_compress_bytes_total{direction="out",route="all"} `) {
		t.Error("no weir_compress_bytes_total")
	}
}
