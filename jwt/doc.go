// Package jwt says whose a bearer token is.
//
// A [Verifier] checks a JSON Web Token (RFC 7519) in the compact form of RFC 7515: exactly one signature, by HS256 with the
// configured secret, or by RS256, ES256 (P-256) or EdDSA (Ed25519) with a public key from a JWK Set (RFC 7517) in a file or
// at a URL. The algorithm must be the one its key is for: a secret never checks RS256 and a public key is never a secret.
// exp, nbf and iat are checked with 30 s of leeway, iss and aud if the options ask for them. A token without exp is good
// until its key goes. A [Token] then answers what its claims say, to be the dimension of a rate limit.
//
// # Which key
//
// A token that names a kid is checked by the keys of that kid and no other. One that names none is checked by all keys that
// fit its algorithm, if they are 8 at most. If no key bears the kid, and the only key that fits bears none at all, that one
// is used: sets of one key often have no names. Keys named or carried by the token itself (jku, jwk, x5u, x5c) are ignored.
//
// # Refresh
//
// [Verifier.Run] reads the file when it changes and fetches the URL every [Options.Refresh], and at most once per 10 s when
// a token names a key that is not known. A request never waits for a fetch: the first tokens of a new key are refused until
// it is there, so publish a key before signing with it. A source that is unreachable, broken, or empty of usable keys changes
// nothing: an issuer's outage is not ours. Each set that is good replaces the one before as a whole, so a key that was taken
// out is refused from then on.
//
// # Cost
//
// A signature costs 30 to 150 µs, so verdicts are remembered under the SHA-256 of the token: good ones until exp and 5 min at
// most, in 16,384 entries and 64 MiB; bad ones for 10 s in 1,024 entries of their own, so a flood of bad tokens cannot
// push out good ones. Each of those sizes is a bound; when it is reached, arbitrary entries make room. A change of the keys
// ends all entries at once. A remembered token costs a SHA-256 of its bytes and no allocation.
//
// # Not done here
//
// The package does not look into HTTP and knows nothing of the Authorization header. It does not fetch keys on the request
// path, does not discover JWK Sets (OpenID configuration), does not ask whether a single token was revoked, does not decrypt
// (JWE), does not follow x5u or check x5c chains, does not look at jti, sub or typ, and knows no other algorithms: no PS256,
// no ES384, no HS512. An ECDSA signature has a twin by its mathematics, (r, n-s), which is accepted: a token's bytes are no
// identity, its claims are.
package jwt
