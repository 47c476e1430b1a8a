package jwt

import (
	"errors"

	gojwt "github.com/golang-jwt/jwt/v5"
)

// fault is why a token is refused: one fixed line for people, without anything the client sent.
type fault string

func (f fault) Error() string { return string(f) }

const (
	tooLong      fault = "the token is longer than 8 KiB"
	notCompact   fault = "the token is not a JWT in compact form: header.claims.signature, each in base64url"
	encrypted    fault = "the token is encrypted; only signed tokens are accepted"
	nested       fault = "the token holds another token; nested tokens are not accepted"
	critical     fault = "the token's header demands extensions (crit, b64) that are not supported"
	badKeyName   fault = "the token's kid is empty or not a string"
	badAlgorithm fault = "the token's algorithm is not accepted"
	badSignature fault = "the token's signature does not fit"
	badClaim     fault = "a claim of the token has the wrong type or is out of range"
	tooManyClaim fault = "the token's claims take too much room"
	missing      fault = "the token lacks a claim that is required: iss or aud"
	badIssuer    fault = "the token is of another issuer"
	badAudience  fault = "the token is for another audience"
	expired      fault = "the token has expired"
	notYet       fault = "the token is not valid yet"
	unknownKey   fault = "the token's key is not known"
	ambiguous    fault = "the token names no key and too many would fit: it needs a kid"
	noKeys       fault = "no keys to check tokens with have been obtained yet"
)

// ErrNoKeys is what Verify returns as long as no public key was ever obtained: the token may well be good.
var ErrNoKeys error = noKeys

// curable reports whether fetching the keys again may help.
func (f fault) curable() bool { return f == unknownKey || f == noKeys }

// lasts reports whether the same token will be refused for the same reason as long as the keys stay the same.
func (f fault) lasts() bool { return !f.curable() && f != notYet }

// explain turns an error of the library into a fault. looked says whether a key was looked for, which is after the library
// accepted the algorithm.
func explain(err error, looked bool) fault {
	var f fault
	is := func(target error) bool { return errors.Is(err, target) }
	switch {
	case errors.As(err, &f):
		return f
	case is(gojwt.ErrTokenMalformed):
		return notCompact
	case is(gojwt.ErrTokenUnverifiable), is(gojwt.ErrTokenSignatureInvalid) && !looked:
		return badAlgorithm
	case is(gojwt.ErrTokenSignatureInvalid):
		return badSignature
	case is(gojwt.ErrInvalidType):
		return badClaim
	case is(gojwt.ErrTokenExpired):
		return expired
	case is(gojwt.ErrTokenInvalidAudience):
		return badAudience
	case is(gojwt.ErrTokenInvalidIssuer):
		return badIssuer
	case is(gojwt.ErrTokenRequiredClaimMissing):
		return missing
	case is(gojwt.ErrTokenNotValidYet), is(gojwt.ErrTokenUsedBeforeIssued):
		return notYet
	}
	return badClaim
}
