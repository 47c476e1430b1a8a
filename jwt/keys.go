package jwt

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/MicahParks/jwkset"
	gojwt "github.com/golang-jwt/jwt/v5"
)

const (
	maxSet     = 1 << 20 // bytes of a JWK Set
	maxKeys    = 256     // in a JWK Set, usable ones
	maxTries   = 8       // keys that one token is checked by
	minRSABits = 2048
	maxRSABits = 8192 // a check costs the square of it
)

var (
	rs256 = gojwt.SigningMethodRS256.Alg()
	es256 = gojwt.SigningMethodES256.Alg()
	eddsa = gojwt.SigningMethodEdDSA.Alg()
	hs256 = gojwt.SigningMethodHS256.Alg()
)

type digest [sha256.Size]byte

// key is a public key and what it may be used for.
type key struct {
	alg    string // the one algorithm it checks
	kid    string // may be empty
	public any    // *rsa.PublicKey, *ecdsa.PublicKey or ed25519.PublicKey
	print  digest // of all of the above
}

// keyring is what tokens are checked with. Immutable.
type keyring struct {
	generation uint64
	secret     []byte
	keys       []key
}

// choose returns the key or keys that may have signed a token with this header, or a fault.
func (r *keyring) choose(alg string, header map[string]any) (any, error) {
	if alg == hs256 {
		if len(r.secret) == 0 {
			return nil, badAlgorithm
		}
		return r.secret, nil
	}
	kid, _ := header["kid"].(string)
	if _, named := header["kid"]; named && kid == "" {
		return nil, badKeyName
	}
	if len(r.keys) == 0 {
		return nil, noKeys
	}
	var fit, match []gojwt.VerificationKey
	var nameless int
	for i := range r.keys {
		k := &r.keys[i]
		if k.alg != alg {
			continue
		}
		fit = append(fit, k.public)
		if k.kid == "" {
			nameless++
		}
		if k.kid == kid {
			match = append(match, k.public)
		}
	}
	if kid == "" || len(match) == 0 && len(fit) == 1 && nameless == 1 {
		match = fit
	}
	switch {
	case len(match) == 0:
		return nil, unknownKey
	case len(match) > maxTries:
		return nil, ambiguous
	}
	return gojwt.VerificationKeySet{Keys: match}, nil
}

// errPrivate is why a private or shared key is skipped, where people should hear of it.
var errPrivate = errors.New("it is private: whoever could read it can sign tokens; replace it")

// parseSet returns the usable keys of a JWK Set, sorted, and why each other one was left out. A set without usable keys is
// an error.
func parseSet(text []byte) (keys []key, skipped []error, err error) {
	var set struct{ Keys *[]json.RawMessage }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, nil, fmt.Errorf("not a JWK Set: %w", err)
	}
	if set.Keys == nil {
		return nil, nil, errors.New(`not a JWK Set: it has no "keys"`)
	}
	for i, raw := range *set.Keys {
		k, err := parseKey(raw)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i+1, err))
			continue
		}
		if !slices.ContainsFunc(keys, func(o key) bool { return o.print == k.print }) {
			keys = append(keys, k)
		}
		if len(keys) > maxKeys {
			return nil, nil, fmt.Errorf("the JWK Set has more than %d keys", maxKeys)
		}
	}
	if len(keys) == 0 {
		err := errors.New("the JWK Set has no usable key: it needs a public key for RS256 (2048 bits or more), ES256 or EdDSA (Ed25519)")
		if len(skipped) > 0 {
			err = fmt.Errorf("%w; %w", err, skipped[0])
		}
		return nil, nil, err
	}
	slices.SortFunc(keys, func(a, b key) int { return bytes.Compare(a.print[:], b.print[:]) })
	return keys, skipped, nil
}

// parseKey reads a JWK. Only the key itself, alg, use, key_ops and kid count; certificates are neither read nor fetched.
func parseKey(raw []byte) (key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return key{}, errors.New("not a JWK")
	}
	if m.D != "" || m.K != "" || m.P != "" || m.Q != "" || m.KTY == jwkset.KtyOct {
		return key{}, errPrivate
	}
	if m.USE != "" && m.USE != jwkset.UseSig {
		return key{}, errors.New("its use is not sig")
	}
	if len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify) {
		return key{}, errors.New("its key_ops are without verify")
	}
	m.X5U, m.X5C, m.X5T, m.X5TS256 = "", nil, "", ""
	m.KEYOPS = nil
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return key{}, fmt.Errorf("%.200s", err.Error())
	}
	k := key{kid: m.KID, public: jwk.Key()}
	if k.alg, err = algorithm(k.public); err != nil {
		return key{}, err
	}
	if m.ALG != "" && string(m.ALG) != k.alg {
		return key{}, fmt.Errorf("its alg is not %s, which it would be good for", k.alg)
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return key{}, err
	}
	k.print = sha256.Sum256(fmt.Appendf(der, " %s %q", k.alg, k.kid))
	return k, nil
}

// algorithm returns the one algorithm that a public key checks here.
func algorithm(public any) (string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n < minRSABits || n > maxRSABits {
			return "", fmt.Errorf("RSA of %d bits: only %d to %d are accepted", n, minRSABits, maxRSABits)
		}
		if k.N.Bit(0) == 0 || k.E < 3 || k.E&1 == 0 {
			return "", errors.New("not an RSA key: modulus and exponent must be odd")
		}
		return rs256, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return es256, nil
		}
		return "", errors.New("only the curve P-256 is accepted")
	case ed25519.PublicKey:
		return eddsa, nil
	}
	return "", errors.New("keys of this kind check no signature accepted here")
}
