package jwt

import (
	"crypto/ecdh"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"maps"
	"strings"
	"testing"
)

func b64(n []byte) string { return base64.RawURLEncoding.EncodeToString(n) }

// modulus returns an odd number of that many bits.
func modulus(bits int) string {
	b := make([]byte, bits/8)
	b[0], b[len(b)-1] = 0x80, 1
	return b64(b)
}

// with returns k with other fields.
func with(k, overrides object) object {
	out := maps.Clone(k)
	maps.Copy(out, overrides)
	return out
}

func TestGoodKeys(t *testing.T) {
	good := func(name string, k object, alg string) {
		t.Helper()
		keys, skipped, err := parseSet(set(k))
		if err != nil || len(keys) != 1 || len(skipped) > 0 || keys[0].alg != alg {
			t.Errorf("%s: %v, %v, %v", name, keys, skipped, err)
		}
	}
	r, e, d := jwk(rsaKey(), "k"), jwk(ecKey(), "k"), jwk(edKey(), "k")
	good("RSA", r, rs256)
	good("P-256", e, es256)
	good("Ed25519", d, eddsa)
	good("RSA for RS256", with(r, object{"alg": "RS256", "use": "sig", "key_ops": []string{"verify"}}), rs256)
	good("unknown members", with(e, object{"x-exp": []int{1}}), es256)
	good("RSA of 2048", with(r, object{"n": modulus(2048)}), rs256)
	good("x5u is not fetched", with(r, object{"x5u": "http://127.0.0.1:1/cert"}), rs256)
	good("x5c is not read", with(r, object{"x5c": []string{"!"}, "x5t": "!"}), rs256)
}

func TestBadKeysOfSets(t *testing.T) {
	bad := func(name string, k object, want string) {
		t.Helper()
		keys, skipped, err := parseSet(set(k, jwk(edKey(), "fine")))
		if err != nil || len(keys) != 1 || keys[0].kid != "fine" || len(skipped) != 1 || !strings.Contains(skipped[0].Error(), want) {
			t.Errorf("%s: %v, %v, %v; want %q", name, keys, skipped, err, want)
		}
	}
	r, e, d := jwk(rsaKey(), "k"), jwk(ecKey(), "k"), jwk(edKey(), "k")
	bad("RSA of 2040", with(r, object{"n": modulus(2040)}), "2040 bits")
	bad("RSA of 1024", jwk(must(rsa.GenerateKey(rand.Reader, 1024)), "k"), "1024 bits")
	bad("RSA of 16384", with(r, object{"n": modulus(16384)}), "16384 bits")
	bad("exponent 1", with(r, object{"e": b64([]byte{1})}), "out of range")
	bad("exponent even", with(r, object{"e": b64([]byte{4})}), "odd")
	bad("exponent beyond 64 bits", with(r, object{"e": "AQAAAAAAAAAAAQAB"}), "not match")
	bad("RSA without modulus", with(r, object{"n": ""}), "requires")
	bad("RSA for PS256", with(r, object{"alg": "PS256"}), "alg")
	bad("RSA for HS256", with(r, object{"alg": "HS256"}), "alg")
	bad("RSA for encryption", with(r, object{"alg": "RSA-OAEP", "use": "enc"}), "use")
	bad("signing only", with(r, object{"key_ops": []string{"sign"}}), "key_ops")
	bad("P-256 for ES384", with(e, object{"alg": "ES384"}), "alg")
	bad("P-384", jwk(newEC(elliptic.P384()), "k"), "P-256")
	bad("P-256 said to be P-384", with(e, object{"crv": "P-384"}), "curve")
	bad("secp256k1", with(e, object{"crv": "secp256k1"}), "curve")
	bad("not on the curve", with(e, object{"y": e["x"]}), "curve")
	bad("EC said to be OKP", with(e, object{"kty": "OKP"}), "curve")
	bad("Ed25519, short", with(d, object{"x": "AAAA"}), "32 bytes")
	bad("X25519", rawJWK(must(ecdh.X25519().GenerateKey(rand.Reader)).PublicKey(), "k", false), "check no signature")
	bad("unknown kty", object{"kty": "AKP", "kid": "k"}, "AKP")
	bad("no kty", object{"kid": "k"}, "kty")
	bad("kid is a number", with(d, object{"kid": 1}), "not a JWK")
	bad("oct", object{"kty": "oct", "k": b64([]byte(secret))}, "private")
	bad("RSA with a shared key beside", with(r, object{"k": "AAAA"}), "private")
	bad("private RSA", rawJWK(rsaKey(), "k", true), "private")
	bad("private P-256", rawJWK(ecKey(), "k", true), "private")
	bad("private Ed25519", rawJWK(edKey(), "k", true), "private")
}

func TestParseSet(t *testing.T) {
	f := func(text, want string) {
		t.Helper()
		if keys, _, err := parseSet([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, %v; want %q", text, keys, err, want)
		}
	}
	f("", "not a JWK Set")
	f("<html>", "not a JWK Set")
	f("[]", "not a JWK Set")
	f("{}", `no "keys"`)
	f("null", `no "keys"`)
	f(`{"keys":null}`, `no "keys"`)
	f(`{"keys":{}}`, "not a JWK Set")
	f(`{"keys":[]}`, "no usable key")
	f(`{"keys":[1,"x",null,[]]}`, "no usable key")
	var many []object
	one := jwk(edKey(), "")
	for range maxKeys + 1 {
		x := newEd().Public().(ed25519.PublicKey)
		many = append(many, object{"kty": "OKP", "crv": "Ed25519", "x": b64(x)})
	}
	f(string(set(many...)), "more than")
	if keys, _, err := parseSet(set(one, one)); err != nil || len(keys) != 1 {
		t.Errorf("the same key twice: %v, %v", keys, err)
	}
}
