package admin

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"weir/config"
)

// role is what somebody may do. A higher one includes the lower.
type role uint8

const (
	nobody role = iota // /livez and /readyz
	viewer
	checker // may spend by POST /api/v1/check too
	administrator
)

// credential is a token as it is kept: its hash.
type credential struct {
	name string
	hash [sha256.Size]byte
	role role
}

// credentials hashes tokens. An empty token, which no config file can hold, lets nobody in.
func credentials(tokens []config.Token) []credential {
	var all []credential
	for _, t := range tokens {
		c := credential{name: t.Name, hash: sha256.Sum256([]byte(t.Token)), role: viewer}
		switch t.Role {
		case "admin":
			c.role = administrator
		case "checker":
			c.role = checker
		}
		if t.Token == "" {
			c.role = nobody
		}
		all = append(all, c)
	}
	return all
}

// principal is who asks.
type principal struct {
	name string
	role role
}

// authenticate returns who sent r; ok is false if tokens are required and r has none that is known. The time it takes
// depends on neither the tokens nor which one matches.
func (n *settings) authenticate(r *http.Request) (p principal, ok bool) {
	if len(n.tokens) == 0 {
		return principal{"local", administrator}, true
	}
	hash := sha256.Sum256([]byte(bearer(r)))
	for _, c := range n.tokens {
		if subtle.ConstantTimeCompare(hash[:], c.hash[:]) == 1 {
			p = principal{c.name, c.role}
		}
	}
	return p, p.role > nobody
}

// bearer returns r's bearer token, or "".
func bearer(r *http.Request) string {
	fields := r.Header.Values("Authorization")
	if len(fields) != 1 {
		return ""
	}
	scheme, token, _ := strings.Cut(fields[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// challenge answers 401.
func challenge(w http.ResponseWriter, r *http.Request) {
	say, detail := `Bearer realm="weir admin"`, "This address needs a token: Authorization: Bearer TOKEN, with one of admin.tokens."
	if r.Header.Get("Authorization") != "" {
		say, detail = say+`, error="invalid_token"`, "The token is not one of admin.tokens."
	}
	w.Header().Set("WWW-Authenticate", say)
	answerProblem(w, problem{Status: http.StatusUnauthorized, Detail: detail})
}

type principalKey struct{}

func withPrincipal(r *http.Request, p principal) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), principalKey{}, p))
}

// who returns who sent r. Without authenticate it is nobody.
func who(r *http.Request) principal {
	p, _ := r.Context().Value(principalKey{}).(principal)
	return p
}
