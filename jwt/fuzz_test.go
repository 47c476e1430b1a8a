package jwt

import (
	"testing"
)

// FuzzVerify: no string panics, and none is accepted but those that were signed.
func FuzzVerify(f *testing.F) {
	v := all(f)
	good := map[string]bool{}
	for _, token := range goodTokens() {
		good[token] = true
		f.Add(token, uint16(0), byte(0), byte(0))
		f.Add(token, uint16(len(token)-1), byte(1), byte('A'))
		f.Add(token, uint16(len(token)/2), byte(2), byte('\n'))
		f.Add(token, uint16(5), byte(3), byte('.'))
	}
	for _, s := range []string{"", ".", "..", "...", "e30.e30.", plainHeader, part(plainHeader) + "." + part(`{"exp":1e999}`) + ".AAAA"} {
		f.Add(s, uint16(0), byte(0), byte(0))
	}
	// What the engine finds by itself has no valid signature, so each input also mutates a valid token.
	f.Fuzz(func(t *testing.T, text string, at uint16, how, b byte) {
		check := func(token string) {
			got, err := v.Verify(token)
			if (err == nil) != (got != nil) || got != nil && !good[token] {
				t.Fatalf("%q: %v, %v", token, got, err)
			}
		}
		check(text)
		for token := range good {
			i := int(at) % len(token)
			mutated := []byte(token)
			switch how % 4 {
			case 1:
				mutated[i] = b
			case 2:
				mutated = append(mutated[:i:i], append([]byte{b}, token[i:]...)...)
			case 3:
				mutated = append(mutated[:i:i], token[i+1:]...)
			}
			check(string(mutated))
			check(token[:i] + text)
			check(text + token[i:])
		}
	})
}

// FuzzParseSet: no set panics, and each key that is taken is for one algorithm.
func FuzzParseSet(f *testing.F) {
	f.Add(set(jwk(rsaKey(), "r"), jwk(ecKey(), "e"), jwk(edKey(), "d")))
	f.Add(set(rawJWK(ecKey(), "e", true)))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"RSA","n":"AA","e":"AA"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, _, err := parseSet(text)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if alg, err := algorithm(k.public); err != nil || alg != k.alg {
				t.Fatalf("%+v: %v", k, err)
			}
		}
	})
}
