package jwt

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	minSecret      = 32 // bytes; RFC 7518, 3.2: as long as the hash
	defaultRefresh = 5 * time.Minute
	minRefresh     = time.Second
)

// Options say whose tokens are accepted. One of Secret, JWKSFile and JWKSURL is needed; all may be given.
type Options struct {
	Secret   string        // key of HS256, 32 bytes or more; if empty, HS256 is not accepted
	JWKSFile string        // file of public keys (JWK Set), 1 MiB at most
	JWKSURL  string        // https (or http) URL of public keys
	Refresh  time.Duration // between two fetches of JWKSURL, 1 s or more; 0: 5 min. Shorter: revoked keys go sooner, the issuer is asked more

	Issuer   string // if not empty, iss must be this
	Audience string // if not empty, aud must be this or hold it

	Log    *slog.Logger     // nil: none
	Client *http.Client     // nil: one with time-outs that follows 3 redirects at most and none to another scheme
	Now    func() time.Time // wall clock that exp, nbf and iat are compared with; nil: time.Now
}

// prepare checks o and fills in what was left out.
func (o *Options) prepare() error {
	if o.Secret == "" && o.JWKSFile == "" && o.JWKSURL == "" {
		return errors.New("no key to check tokens with: give a secret, a JWKS file or a JWKS URL")
	}
	if o.Secret != "" {
		if err := checkSecret(o.Secret); err != nil {
			return err
		}
	}
	if o.Refresh == 0 {
		o.Refresh = defaultRefresh
	}
	if o.Refresh < minRefresh {
		return fmt.Errorf("refresh every %v: must be %v or more", o.Refresh, minRefresh)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Client == nil {
		o.Client = newClient()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o.checkURL()
}

func checkSecret(s string) error {
	if strings.Contains(s, "-----BEGIN") {
		return errors.New("the secret is a PEM key or certificate: HS256 needs random bytes; public keys belong into a JWKS file")
	}
	if len(s) < minSecret {
		return fmt.Errorf("the secret is %d bytes long, HS256 needs %d or more: make one with `openssl rand -base64 48`", len(s), minSecret)
	}
	return nil
}

func (o *Options) checkURL() error {
	if o.JWKSURL == "" {
		return nil
	}
	u, err := url.Parse(o.JWKSURL)
	if err != nil {
		return errors.New("the JWKS URL is malformed") // not err: it quotes the URL, which may hold a password
	}
	if u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		return fmt.Errorf("JWKS URL %s: must be https://HOST/PATH (or http)", shown(u))
	}
	if u.Scheme == "http" {
		o.Log.Warn("public keys are fetched in clear text: who can alter them on the way can forge tokens", "url", shown(u))
	}
	return nil
}

// shown is u for people: without user, password, query and fragment, any of which may be a secret.
func shown(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
