package config

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// minSecret is the least length of a key shared with who issues tokens, in bytes: that of a SHA-256.
const minSecret = 32

// maxKeys bounds a file of public keys.
const maxKeys = 1 << 20

// hasKeys says whether j has anything to tell a good token by.
func (j *JWT) hasKeys() bool { return j.Secret != "" || j.JWKSFile != "" || j.JWKSURL != "" }

func (k *checker) checkJWT() {
	j := &k.c.JWT
	if !isToken(j.Header) {
		k.fault("jwt.header", "%s is no name of a header field: letters, digits and !#$%%&'*+-.^_`|~", quote(j.Header))
	}
	if n := len(j.Secret); n > 0 && n < minSecret {
		k.fault("jwt.secret", "the secret has %d characters: at least %d are needed, for example from openssl rand -hex 32", n, minSecret)
	}
	if j.JWKSFile != "" {
		if problem := keySetProblem(j.JWKSFile); problem != "" {
			k.fault("jwt.jwks_file", "%s", problem)
		}
	}
	if j.JWKSURL != "" {
		if problem := keyURLProblem(j.JWKSURL); problem != "" {
			k.fault("jwt.jwks_url", "%s", problem)
		}
	}
}

// keySetProblem returns what is wrong with a file of public keys, as far as can be seen without using them, or "".
func keySetProblem(path string) string {
	data, problem := readBounded(path, maxKeys)
	if problem != "" {
		return problem
	}
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(data, &set); err != nil || len(set.Keys) == 0 {
		return fmt.Sprintf("the file %s holds no keys: it must be a JSON Web Key Set, {\"keys\": […]}", path)
	}
	return ""
}

func keyURLProblem(text string) string {
	const example = "write for example https://login.example.com/.well-known/jwks.json"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http"):
		return fmt.Sprintf("%s is no URL: %s", quote(text), example)
	case u.User != nil:
		return "the URL has a user or password in it, which is shown where secrets are not: give the keys a URL without"
	case u.Scheme == "http" && !(address{host: u.Hostname()}).isLoopback():
		return fmt.Sprintf("%s is in clear text, so others could put their keys in: write https, or an address on 127.0.0.1", quote(text))
	}
	return ""
}

// ClientIPPrefix reads the V4,V6 of client_ip:V4,V6: how many bits of an address count as one client. Without V6 it is 64.
func ClientIPPrefix(arg string) (v4, v6 int, ok bool) {
	first, second, both := strings.Cut(arg, ",")
	v4, ok4 := prefixLength(first, 32)
	v6, ok6 := 64, true
	if both {
		v6, ok6 = prefixLength(second, 128)
	}
	if !ok4 || !ok6 {
		return 0, 0, false
	}
	return v4, v6, true
}

func prefixLength(text string, most int) (int, bool) {
	text = strings.TrimSpace(text)
	n, err := strconv.Atoi(text)
	return n, err == nil && isDigits(text) && n <= most
}
