package tests

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// signer signs tokens with one key.
type signer struct {
	alg, kid string
	jwk      map[string]string // nil: the key is shared
	sign     func(text []byte) []byte
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func signerHS(secret string) *signer {
	return &signer{alg: "HS256", sign: func(text []byte) []byte {
		h := hmac.New(sha256.New, []byte(secret))
		h.Write(text)
		return h.Sum(nil)
	}}
}

func signerRS(t testing.TB, kid string) *signer {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	noError(t, err)
	return &signer{"RS256", kid, map[string]string{"kty": "RSA", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}, func(text []byte) []byte {
		sum := sha256.Sum256(text)
		sig, err := rsa.SignPKCS1v15(rand.Reader, k, crypto.SHA256, sum[:])
		noError(t, err)
		return sig
	}}
}

func signerES(t testing.TB, kid string) *signer {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	noError(t, err)
	point, err := k.PublicKey.Bytes() // 4, x, y
	noError(t, err)
	return &signer{"ES256", kid, map[string]string{"kty": "EC", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])}, func(text []byte) []byte {
		sum := sha256.Sum256(text)
		r, s, err := ecdsa.Sign(rand.Reader, k, sum[:])
		noError(t, err)
		return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	}}
}

func signerEd(t testing.TB, kid string) *signer {
	pub, k, err := ed25519.GenerateKey(rand.Reader)
	noError(t, err)
	return &signer{"EdDSA", kid, map[string]string{"kty": "OKP", "crv": "Ed25519", "x": b64(pub)}, func(text []byte) []byte {
		return ed25519.Sign(k, text)
	}}
}

// token is a JSON Web Token with those claims, good for a minute unless they say otherwise.
func (s *signer) token(t testing.TB, claims map[string]any) string {
	t.Helper()
	all := map[string]any{"exp": time.Now().Add(time.Minute).Unix()}
	for k, v := range claims {
		all[k] = v
	}
	body, err := json.Marshal(all)
	noError(t, err)
	head, err := json.Marshal(map[string]string{"alg": s.alg, "kid": s.kid, "typ": "JWT"})
	noError(t, err)
	text := b64(head) + "." + b64(body)
	return text + "." + b64(s.sign([]byte(text)))
}

// keySet is the public keys of signers.
func keySet(t testing.TB, signers ...*signer) string {
	t.Helper()
	keys := []map[string]string{}
	for _, s := range signers {
		k := map[string]string{"kid": s.kid, "alg": s.alg, "use": "sig"}
		for name, v := range s.jwk {
			k[name] = v
		}
		keys = append(keys, k)
	}
	text, err := json.Marshal(map[string]any{"keys": keys})
	noError(t, err)
	return string(text)
}

const tokenSecret = "an-hs256-secret-of-more-than-32-bytes"

// tokenConfig has a route that depends on a token, one that takes another dimension if there is none, and one that does not care.
func tokenConfig(keys string) string {
	return answers("mine", "default", "free") + `
jwt: {secret: "` + tokenSecret + `", issuer: weir-test, ` + keys + `}
dimensions:
  - {name: account, from: "jwt:account.id"}
  - {name: plan, from: "jwt:plan", default: none}
policies:
  - {name: mine, algorithm: fixed_window, dimensions: [account], limit: 3, window: 8760h, routes: [mine], overrides: [{when: "plan == 'gold'", limit: 5}]}
  - {name: default, algorithm: fixed_window, dimensions: [plan], limit: 2, window: 8760h, routes: [default]}
  - {name: all, algorithm: fixed_window, limit: 1000, window: 8760h, routes: [free]}
`
}

// bearer sends a request with a token.
func bearer(t testing.TB, w *weir, path, token string) *http.Response {
	t.Helper()
	var fields []string
	if token != "" {
		fields = []string{"Authorization: Bearer " + token}
	}
	resp, _ := fetch(t, "GET", w.url(path), "", fields...)
	return resp
}

// unauthenticated checks a refusal for a token: 401, or 503 if it may be good.
func unauthenticated(t *testing.T, what string, resp *http.Response, status int) {
	t.Helper()
	if resp.StatusCode != status || reasonOf(resp) != "unauthenticated" {
		t.Errorf("%s: %d, Weir-Reason %q, want %d unauthenticated", what, resp.StatusCode, resp.Header.Get("Weir-Reason"), status)
	}
	if got := resp.Header.Get("WWW-Authenticate"); (status == 401) != strings.HasPrefix(got, "Bearer") {
		t.Errorf("%s: WWW-Authenticate %q", what, got)
	}
	if got := resp.Header.Get("Retry-After"); (status == 503) != (got != "") {
		t.Errorf("%s: Retry-After %q", what, got)
	}
}

// TestJWT limits by claims of tokens of each algorithm, and refuses bad tokens where they matter.
func TestJWT(t *testing.T) {
	t.Parallel()
	rs, es, ed, hs := signerRS(t, "rsa"), signerES(t, "ec"), signerEd(t, "ed"), signerHS(tokenSecret)
	path := filepath.Join(t.TempDir(), "keys.json")
	noError(t, os.WriteFile(path, []byte(keySet(t, rs, es, ed)), 0o644))
	w := startWeir(t, tokenConfig("jwks_file: "+path), nil)
	of := func(account string, more ...any) map[string]any {
		c := map[string]any{"iss": "weir-test", "account": map[string]any{"id": account}}
		for i := 0; i < len(more); i += 2 {
			c[more[i].(string)] = more[i+1]
		}
		return c
	}
	for _, s := range []*signer{rs, es, ed, hs} {
		for i := range 4 { // of one account, whoever signed and whatever the token's bytes
			resp := bearer(t, w, "/mine", s.token(t, of(s.alg, "n", i)))
			if want := 200 + 229*(i/3); resp.StatusCode != want || left(resp, "mine") != max(0, 2-i) {
				t.Errorf("%s, request %d: %d, %d left, want %d", s.alg, i, resp.StatusCode, left(resp, "mine"), want)
			}
		}
	}
	for i := range 6 {
		if resp := bearer(t, w, "/mine", rs.token(t, of("rich", "plan", "gold"))); (resp.StatusCode == 200) != (i < 5) {
			t.Errorf("by the override, request %d: %d", i, resp.StatusCode)
		}
	}
	good := es.token(t, of("x"))
	parts := strings.Split(good, ".")
	other := signerES(t, "ec")
	none := &signer{alg: "none", sign: func([]byte) []byte { return nil }}
	confused := signerHS(keySet(t, rs))
	confused.kid = "rsa"
	for what, token := range map[string]string{
		"another key's signature": other.token(t, of("x")), "no signature": none.token(t, of("x")), "an unknown key": signerEd(t, "new").token(t, of("x")),
		"a public key as secret": confused.token(t, of("x")), "expired": es.token(t, of("x", "exp", time.Now().Add(-time.Minute).Unix())),
		"not yet": es.token(t, of("x", "nbf", time.Now().Add(time.Minute).Unix())), "another issuer": es.token(t, of("x", "iss", "evil")),
		"altered claims": parts[0] + "." + b64([]byte(`{"iss":"weir-test","account":{"id":"y"}}`)) + "." + parts[2],
		"no token":       "nonsense", "two parts": parts[0] + "." + parts[1],
	} {
		unauthenticated(t, what, bearer(t, w, "/mine", token), 401)
		unauthenticated(t, what+", default", bearer(t, w, "/default", token), 401) // it is never taken for nobody
		if resp := bearer(t, w, "/free", token); resp.StatusCode != 200 {
			t.Errorf("%s, where nothing depends on it: %d", what, resp.StatusCode)
		}
	}
	for range 5 { // without a token, or one of another scheme: the policy does not apply
		if resp := bearer(t, w, "/mine", ""); resp.StatusCode != 200 || resp.Header.Get("RateLimit") != "" {
			t.Errorf("no token: %d %v", resp.StatusCode, resp.Header)
		}
		if resp, _ := fetch(t, "GET", w.url("/mine"), "", "Authorization: Basic eDp5"); resp.StatusCode != 200 {
			t.Errorf("Basic: %d", resp.StatusCode)
		}
		if resp := bearer(t, w, "/mine", es.token(t, map[string]any{"iss": "weir-test"})); resp.StatusCode != 200 || resp.Header.Get("RateLimit") != "" {
			t.Errorf("without the claim: %d %v", resp.StatusCode, resp.Header)
		}
	}
	for i, token := range []string{"", es.token(t, of("x")), ""} { // the default's bucket
		if resp := bearer(t, w, "/default", token); (resp.StatusCode == 200) != (i < 2) {
			t.Errorf("default, request %d: %d", i, resp.StatusCode)
		}
	}
	if strings.Contains(w.log.String(), parts[1]) {
		t.Error("the log holds a token")
	}
}

// TestJWTRotation replaces the keys in the file.
func TestJWTRotation(t *testing.T) {
	t.Parallel()
	old, next := signerES(t, "2025"), signerEd(t, "2026")
	path := filepath.Join(t.TempDir(), "keys.json")
	put := func(text string) {
		t.Helper()
		noError(t, os.WriteFile(path+".new", []byte(text), 0o644))
		noError(t, os.Rename(path+".new", path))
	}
	put(keySet(t, old))
	w := startWeir(t, tokenConfig("jwks_file: "+path), nil)
	n := 0
	status := func(s *signer) int {
		n++
		return bearer(t, w, "/mine", s.token(t, map[string]any{"iss": "weir-test", "account": map[string]any{"id": fmt.Sprint("u", n)}})).StatusCode
	}
	if a, b := status(old), status(next); a != 200 || b != 401 {
		t.Errorf("before: %d and %d", a, b)
	}
	put(keySet(t, old, next))
	eventually(t, 15*time.Second, "the new key is known", func() bool { return status(next) == 200 })
	if a := status(old); a != 200 {
		t.Errorf("the old one, still in the file: %d", a)
	}
	put("{") // while somebody edits it
	time.Sleep(300 * time.Millisecond)
	if a := status(next); a != 200 {
		t.Errorf("with a broken file: %d", a)
	}
	put(keySet(t, next))
	eventually(t, 15*time.Second, "the old key is gone", func() bool { return status(old) == 401 })
	if a := status(next); a != 200 {
		t.Errorf("the new one: %d", a)
	}
}

// TestJWTFromURL begins with the server of the keys dead.
func TestJWTFromURL(t *testing.T) {
	t.Parallel()
	s := signerRS(t, "k")
	var broken atomic.Bool
	keys := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(500)
			return
		}
		io.WriteString(w, keySet(t, s))
	})
	keys.kill()
	w := startWeir(t, strings.Replace(tokenConfig(`jwks_url: "http://`+keys.addr+`/keys"`), `secret: "`+tokenSecret+`", `, "", 1), nil)
	ask := func(path string) *http.Response {
		return bearer(t, w, path, s.token(t, map[string]any{"iss": "weir-test", "account": map[string]any{"id": fmt.Sprint(time.Now().UnixNano())}}))
	}
	unauthenticated(t, "no keys yet", ask("/mine"), 503)
	unauthenticated(t, "no keys yet, and no token", bearer(t, w, "/mine", "nonsense"), 401)
	if resp := ask("/free"); resp.StatusCode != 200 {
		t.Errorf("where nothing depends on it: %d", resp.StatusCode)
	}
	if resp := bearer(t, w, "/mine", ""); resp.StatusCode != 200 {
		t.Errorf("without a token: %d", resp.StatusCode)
	}
	keys.start()
	eventually(t, 15*time.Second, "the keys are there", func() bool { return ask("/mine").StatusCode == 200 })
	broken.Store(true) // an outage of the issuer is not ours
	keys.kill()
	time.Sleep(100 * time.Millisecond)
	if resp := ask("/mine"); resp.StatusCode != 200 {
		t.Errorf("with the issuer down again: %d", resp.StatusCode)
	}
}
