package jwt

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	gojwt "github.com/golang-jwt/jwt/v5"
)

func TestGood(t *testing.T) {
	v := all(t)
	for alg, token := range goodTokens() {
		for range 2 { // the second is remembered
			got, err := v.Verify(token)
			if err != nil {
				t.Fatalf("%s: %v", alg, err)
			}
			if s, ok := got.Claim("realm.tenant"); s != "acme" || !ok {
				t.Errorf("%s: tenant %q, %v", alg, s, ok)
			}
		}
	}
	if s := v.Stats(); s.Hits != 4 || s.Misses != 4 || s.Entries != 4 || s.Keys != 4 || s.Bytes <= 0 || !s.LastRefresh.Equal(now) {
		t.Errorf("stats: %+v", s)
	}
}

// part encodes a segment of a token.
func part(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// raw signs any header and payload with HS256.
func raw(header, payload string) string {
	text := part(header) + "." + part(payload)
	return text + "." + part(string(must(hs.Sign(text, []byte(secret)))))
}

const plainHeader = `{"alg":"HS256"}`

// refuses returns a check that a token is refused for a reason, twice, without a word of the token.
func refuses(t *testing.T, v *Verifier) func(name, token string, want fault) {
	return func(name, token string, want fault) {
		t.Helper()
		for range 2 {
			got, err := v.Verify(token)
			if got != nil || err != want {
				t.Errorf("%s: %v, %v; want %q", name, got, err, want)
			}
			if err != nil && token != "" && (strings.Contains(err.Error(), token) || strings.ContainsAny(err.Error(), "\r\n\"\\")) {
				t.Errorf("%s: error text %q", name, err)
			}
		}
	}
}

func TestBadForm(t *testing.T) {
	f := refuses(t, all(t))
	good := goodTokens()
	h, p, s := split(good["HS256"])
	f("empty", "", notCompact)
	f("one part", "abc", notCompact)
	f("four parts", good["HS256"]+".x", notCompact)
	f("JWE", good["HS256"]+".x.y", encrypted)
	f("enc header", raw(`{"alg":"HS256","enc":"A128GCM"}`, `{}`), encrypted)
	f("zip header", raw(`{"alg":"HS256","zip":"DEF"}`, `{}`), encrypted)
	f("too long", raw(plainHeader, `{"x":"`+strings.Repeat("x", 8<<10)+`"}`), tooLong)
	f("JSON serialization", `{"payload":"e30","signatures":[]}`, notCompact)
	f("Bearer left on", "Bearer "+good["HS256"], notCompact)

	f("crit", raw(`{"alg":"HS256","crit":["x"],"x":1}`, `{}`), critical)
	f("crit of b64", raw(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{}`), critical)
	f("empty crit", raw(`{"alg":"HS256","crit":[]}`, `{}`), critical)
	f("b64 alone", raw(`{"alg":"HS256","b64":false}`, `{}`), critical)
	f("nested", raw(`{"alg":"HS256","cty":"JWT"}`, `{}`), nested)
	f("nested, long form", raw(`{"alg":"HS256","cty":"application/jwt"}`, `{}`), nested)
	f("nested payload", raw(plainHeader, good["HS256"]), notCompact)

	f("no signature", h+"."+p+".", badSignature)
	f("signature cut", h+"."+p+"."+s[:20], badSignature)
	f("padding", good["HS256"]+"=", notCompact)
	f("trailing bits", h+"."+p+"."+s[:42]+next(s[42]), notCompact)
	f("line end in signature", h+"."+p+"."+s[:10]+"\n"+s[10:], notCompact)
	f("line end at end", good["HS256"]+"\r\n", notCompact)
	f("standard base64", strings.ReplaceAll(good["HS256"], "-", "+")+"+", notCompact)
	f("payload of another", h+"."+part(`{"sub":"root"}`)+"."+s, badSignature)
	f("header is no JSON", raw(`{"alg":`, `{}`), notCompact)
	f("more after header", raw(plainHeader+"{}", `{}`), notCompact)
	f("payload null", raw(plainHeader, `null`), notCompact)
	f("payload array", raw(plainHeader, `[]`), notCompact)
	f("payload string", raw(plainHeader, `"x"`), notCompact)
	f("more after payload", raw(plainHeader, `{}{"sub":"x"}`), notCompact)
	f("junk after payload", raw(plainHeader, `{}x`), notCompact)
	f("too many claims", raw(plainHeader, `{"`+strings.Repeat("n", 3000)+`":{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1}}`), tooManyClaim)
}

func TestBadKeys(t *testing.T) {
	f := refuses(t, all(t))
	der := must(x509.MarshalPKIXPublicKey(&rsaKey().PublicKey))
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	c := object{"sub": "eve"}
	mallory, p384 := newEd(), newEC(elliptic.P384())
	_, p, _ := split(goodTokens()["HS256"])
	f("none", sign(gojwt.SigningMethodNone, gojwt.UnsafeAllowNoneSignatureType, nil, c), badAlgorithm)
	f("None", part(`{"alg":"None"}`)+"."+p+".", badAlgorithm)
	f("no alg", raw(`{}`, `{}`), badAlgorithm)
	f("alg is no string", raw(`{"alg":1}`, `{}`), badAlgorithm)
	f("null header", raw(`null`, `{}`), badAlgorithm)
	f("hs256 in lower case", raw(`{"alg":"hs256"}`, `{}`), badAlgorithm)
	f("HS512", sign(gojwt.SigningMethodHS512, []byte(secret), nil, c), badAlgorithm)
	f("RS512", sign(gojwt.SigningMethodRS512, rsaKey(), named("r"), c), badAlgorithm)
	f("PS256", sign(gojwt.SigningMethodPS256, rsaKey(), named("r"), c), badAlgorithm)
	f("ES384", sign(gojwt.SigningMethodES384, p384, named("e"), c), badAlgorithm)

	f("confusion: PEM as secret", sign(hs, public, nil, c), badSignature)
	f("confusion: DER as secret", sign(hs, der, named("r"), c), badSignature)
	f("confusion: modulus as secret", sign(hs, rsaKey().N.Bytes(), named("r"), c), badSignature)
	f("confusion: ES256 with kid of RSA", sign(es, ecKey(), named("r"), c), unknownKey)
	f("confusion: EdDSA with kid of P-256", sign(ed, mallory, named("e"), c), unknownKey)
	f("another secret", sign(hs, []byte(secret+"!"), nil, c), badSignature)
	f("another RSA key", sign(rs, rsaOther(), named("r"), c), badSignature)
	f("another P-256 key", sign(es, newEC(elliptic.P256()), named("e"), c), badSignature)
	f("another Ed25519 key", sign(ed, mallory, named("d"), c), badSignature)
	f("another Ed25519 key, no kid", sign(ed, mallory, nil, c), badSignature)
	f("own key in jwk", sign(ed, mallory, object{"kid": "d", "jwk": jwk(mallory, "d")}, c), badSignature)
	f("own key by jku", sign(ed, mallory, object{"kid": "d", "jku": "http://127.0.0.1:1/"}, c), badSignature)
	f("unknown kid", sign(ed, edKey(), named("x"), c), unknownKey)
	f("kid as path", sign(ed, edKey(), named("../../dev/null"), c), unknownKey)
	f("kid is a number", sign(ed, edKey(), object{"kid": 1}, c), badKeyName)
	f("kid is empty", sign(ed, edKey(), named(""), c), badKeyName)
}

func split(token string) (header, payload, signature string) {
	parts := strings.Split(token, ".")
	return parts[0], parts[1], parts[2]
}

// next returns a digit of base64url with the same upper bits, for the last of 43: it means the same bytes to a lax decoder.
func next(digit byte) string {
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return digits[strings.IndexByte(digits, digit)|1:][:1]
}

func TestSecretAlone(t *testing.T) {
	v := must(New(Options{Secret: secret, Now: frozen}))
	if _, err := v.Verify(goodTokens()["RS256"]); err != badAlgorithm {
		t.Errorf("RS256 without public keys: %v", err)
	}
	v = must(New(Options{JWKSFile: setFile(t, jwk(rsaKey(), "r")), Now: frozen}))
	for _, key := range []string{secret, "", "\x00"} {
		if _, err := v.Verify(sign(hs, []byte(key), nil, object{})); err != badAlgorithm {
			t.Errorf("HS256 without a secret, signed with %q: %v", key, err)
		}
	}
	v = must(New(Options{JWKSURL: "https://issuer.invalid/keys", Now: frozen}))
	if _, err := v.Verify(goodTokens()["ES256"]); !errors.Is(err, ErrNoKeys) {
		t.Errorf("nothing fetched: %v", err)
	}
}

// TestTimes is a table of seconds relative to now, with the 30 s of leeway.
func TestTimes(t *testing.T) {
	v := all(t)
	f := func(claims string, want fault) {
		t.Helper()
		_, err := v.Verify(raw(plainHeader, claims))
		if want == "" && err != nil || want != "" && err != want {
			t.Errorf("%s: %v, want %q", claims, err, want)
		}
	}
	at := func(name string, d time.Duration) string {
		return fmt.Sprintf(`{"%s":%d}`, name, now.Add(d).Unix())
	}
	f(at("exp", time.Second), "")
	f(at("exp", -29*time.Second), "")
	f(at("exp", -30*time.Second), expired)
	f(at("nbf", 30*time.Second), "")
	f(at("nbf", 31*time.Second), notYet)
	f(at("iat", 30*time.Second), "")
	f(at("iat", 31*time.Second), notYet)
	f(`{}`, "")
	f(`{"exp":0}`, expired)
	f(`{"exp":1.8e9}`, "")
	f(`{"exp":"1800000060"}`, badClaim)
	f(`{"exp":null}`, badClaim)
	f(`{"exp":true}`, badClaim)
	f(`{"exp":-1}`, badClaim)
	f(`{"exp":1e400}`, badClaim)
	f(`{"exp":1e300}`, badClaim)
	f(`{"nbf":9223372036854775807}`, badClaim) // in seconds it wraps to long ago
	f(`{"nbf":9223372036000000000}`, badClaim)
	f(`{"iat":[1]}`, badClaim)
}

func TestIssuerAndAudience(t *testing.T) {
	v := all(t, func(o *Options) { o.Issuer, o.Audience = "https://issuer", "weir" })
	f := func(claims string, want fault) {
		t.Helper()
		_, err := v.Verify(raw(plainHeader, claims))
		if want == "" && err != nil || want != "" && err != want {
			t.Errorf("%s: %v, want %q", claims, err, want)
		}
	}
	f(`{"iss":"https://issuer","aud":"weir"}`, "")
	f(`{"iss":"https://issuer","aud":["x","weir"]}`, "")
	f(`{"iss":"https://issuer","aud":["x","weir",1]}`, badClaim)
	f(`{"iss":"https://issuer","aud":"weir2"}`, badAudience)
	f(`{"iss":"https://issuer/","aud":"weir"}`, badIssuer)
	f(`{"iss":["https://issuer"],"aud":"weir"}`, badClaim)
	f(`{"iss":"https://issuer"}`, missing)
	f(`{"aud":"weir"}`, missing)
	f(`{"iss":"https://issuer","aud":{"weir":1}}`, missing)
}

func TestWhichKey(t *testing.T) {
	one, two, three := newEd(), newEd(), newEd()
	f := func(keys []object, private any, header object, want fault) {
		t.Helper()
		v := must(New(Options{JWKSFile: setFile(t, keys...), Now: frozen}))
		_, err := v.Verify(sign(ed, private, header, object{}))
		if want == "" && err != nil || want != "" && err != want {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f([]object{jwk(one, ""), jwk(ecKey(), "")}, one, named("any"), "") // the only one that fits has no name
	f([]object{jwk(one, ""), jwk(two, "")}, one, named("any"), unknownKey)
	f([]object{jwk(one, "one")}, one, named("any"), unknownKey)
	f([]object{jwk(one, "one"), jwk(two, "two")}, two, nil, "")
	f([]object{jwk(one, "one"), jwk(two, "two")}, three, nil, badSignature)
	f([]object{jwk(one, "one"), jwk(two, "two")}, two, named("one"), badSignature)
	f([]object{jwk(one, "same"), jwk(two, "same")}, two, named("same"), "")
	f([]object{jwk(ecKey(), "e")}, one, nil, unknownKey)

	var many []object
	for range maxTries {
		many = append(many, jwk(newEd(), "some"))
	}
	f(many, one, nil, badSignature)
	many = append(many, jwk(one, "one"))
	f(many, one, nil, ambiguous)
	f(many, one, named("one"), "")
}

func TestOptions(t *testing.T) {
	f := func(o Options, want string) {
		t.Helper()
		if _, err := New(o); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	f(Options{}, "no key")
	f(Options{Secret: secret[1:]}, "32 or more")
	f(Options{Secret: "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A"}, "PEM")
	f(Options{JWKSURL: "ftp://issuer/keys"}, "https://")
	f(Options{JWKSURL: "/keys"}, "https://")
	f(Options{JWKSURL: "https://me:hunter2@issuer/%zz"}, "malformed")
	f(Options{JWKSURL: "gopher://me:hunter2@issuer/?key=hunter2"}, "gopher://issuer/:")
	f(Options{JWKSURL: "https://issuer/keys", Refresh: time.Millisecond}, "1s")
	f(Options{Secret: secret, Refresh: -1}, "1s")
	f(Options{JWKSFile: t.TempDir()}, "regular")
	f(Options{JWKSFile: "/nowhere/jwks.json"}, "/nowhere/jwks.json")
	f(Options{JWKSFile: setFile(t)}, "no usable key")
	f(Options{JWKSFile: setFile(t, rawJWK(edKey(), "d", true))}, "private")
	huge := setFile(t)
	write(t, huge, make([]byte, maxSet+1))
	f(Options{JWKSFile: huge}, "more than")
}

func TestConcurrent(t *testing.T) {
	v := all(t)
	good := goodTokens()
	rings := [][]key{v.file.keys, v.file.keys[:2]}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				for _, token := range good {
					if got, err := v.Verify(token); err == nil {
						got.Claim("sub")
					}
					v.Verify(token + "A")
				}
			}
		})
	}
	for i := range 50 {
		v.install(&v.file, rings[i%2])
		v.Stats()
	}
	wg.Wait()
	if !json.Valid(must(json.Marshal(v.Stats()))) {
		t.Error("stats")
	}
}
