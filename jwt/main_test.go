package jwt

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/MicahParks/jwkset"
	gojwt "github.com/golang-jwt/jwt/v5"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const secret = "0123456789abcdef0123456789abcdef"

// now is when tests take place, unless they let time pass.
var now = time.Unix(1_800_000_000, 0)

func frozen() time.Time { return now }

type object = map[string]any

// must returns v if there was no error.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

var (
	rsaKey   = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rsaOther = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	ecKey    = sync.OnceValue(func() *ecdsa.PrivateKey { return newEC(elliptic.P256()) })
	edKey    = sync.OnceValue(newEd)
)

func newEC(c elliptic.Curve) *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(c, rand.Reader)) }

func newEd() ed25519.PrivateKey {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	return must(private, err)
}

// jwk returns the public JWK of a private key; with overrides fields, of which nil removes.
func jwk(private any, kid string, overrides ...object) object {
	var public any
	switch k := private.(type) {
	case *rsa.PrivateKey:
		public = &k.PublicKey
	case *ecdsa.PrivateKey:
		public = &k.PublicKey
	case ed25519.PrivateKey:
		public = k.Public()
	}
	return rawJWK(public, kid, false, overrides...)
}

func rawJWK(k any, kid string, private bool, overrides ...object) object {
	j := must(jwkset.NewJWKFromKey(k, jwkset.JWKOptions{Marshal: jwkset.JWKMarshalOptions{Private: private}, Metadata: jwkset.JWKMetadataOptions{KID: kid}}))
	var m object
	if err := json.Unmarshal(must(json.Marshal(j.Marshal())), &m); err != nil {
		panic(err)
	}
	for _, o := range overrides {
		maps.Copy(m, o)
	}
	maps.DeleteFunc(m, func(_ string, v any) bool { return v == nil })
	return m
}

func set(keys ...object) []byte {
	if keys == nil {
		keys = []object{}
	}
	return must(json.Marshal(object{"keys": keys}))
}

func setFile(t testing.TB, keys ...object) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "jwks.json")
	write(t, path, set(keys...))
	return path
}

// write replaces a file as most writers do.
func write(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// sign returns a token; header fields that are nil are left out.
func sign(m gojwt.SigningMethod, key any, header object, claims object) string {
	t := gojwt.NewWithClaims(m, gojwt.MapClaims(claims))
	maps.Copy(t.Header, header)
	maps.DeleteFunc(t.Header, func(_ string, v any) bool { return v == nil })
	return must(t.SignedString(key))
}

var hs, rs, es, ed = gojwt.SigningMethodHS256, gojwt.SigningMethodRS256, gojwt.SigningMethodES256, gojwt.SigningMethodEdDSA

func named(kid string) object { return object{"kid": kid} }

// all returns a verifier with one key of each kind and the secret.
func all(t testing.TB, change ...func(*Options)) *Verifier {
	t.Helper()
	o := Options{Secret: secret, JWKSFile: setFile(t, jwk(rsaKey(), "r"), jwk(ecKey(), "e"), jwk(edKey(), "d")), Now: frozen}
	for _, f := range change {
		f(&o)
	}
	v, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// goodTokens returns a token of each algorithm.
func goodTokens() map[string]string {
	c := object{"sub": "alice", "exp": now.Unix() + 60, "realm": object{"tenant": "acme"}}
	return map[string]string{
		"HS256": sign(hs, []byte(secret), nil, c),
		"RS256": sign(rs, rsaKey(), named("r"), c),
		"ES256": sign(es, ecKey(), named("e"), c),
		"EdDSA": sign(ed, edKey(), named("d"), c),
	}
}
