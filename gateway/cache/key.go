package cache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/url"
	"strings"
)

// A Key is what a stored response is found by (RFC 9111, section 2): the target URI, and the values of the dimensions by which
// a route tells its callers apart. The method is not part of it: only GET is stored. The zero value is ready; set it anew for each request:
// its memory stays, so that this costs no allocation in steady state. Not safe for concurrent use.
type Key struct {
	b      []byte // the URL, then for each dimension its length and value
	url    int    // length of the URL
	origin int    // length of scheme and authority
}

// SetURL makes k the key of a URL with no dimensions. Authority is Host as it came: case and a default port change nothing. path is
// normalised by the caller, and begins with a slash; query is as it came, with its question mark if there is one.
func (k *Key) SetURL(scheme, authority, path, query string) {
	b := append(k.b[:0], scheme...)
	b = append(b, "://"...)
	for i := range len(authority) {
		c := authority[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		b = append(b, c)
	}
	b = withoutPort(b, scheme)
	k.origin = len(b)
	b = append(b, path...)
	b = append(b, query...)
	k.url, k.b = len(b), b
}

// withoutPort removes a port from the end that is empty or the scheme's own, and a dot before it.
func withoutPort(b []byte, scheme string) []byte {
	for _, port := range [...]string{":80", ":443", ":"} {
		if !bytes.HasSuffix(b, []byte(port)) || port == ":80" && scheme != "http" || port == ":443" && scheme != "https" {
			continue
		}
		b = b[:len(b)-len(port)]
		break
	}
	if n := len(b); n > 0 && b[n-1] == '.' {
		b = b[:n-1]
	}
	return b
}

// Add adds the value of a dimension; ok is false if the request has none, which is another key than an empty value.
func (k *Key) Add(value string, ok bool) {
	n := uint64(0)
	if ok {
		n = uint64(len(value)) + 1
	}
	k.b = binary.AppendUvarint(k.b, n)
	k.b = append(k.b, value...)
}

// Authority returns the authority of the URL, as a view.
func (k *Key) Authority() []byte {
	b := k.b[:k.origin]
	return b[bytes.Index(b, []byte("//"))+2:]
}

// URL returns the URL, as a view.
func (k *Key) URL() []byte { return k.b[:k.url] }

var errURL = errors.New("not a URL with scheme http or https, host and path")

// setText makes k the key of a URL in one piece. Its path is taken as it is.
func (k *Key) setText(s string) error {
	scheme, rest, ok := strings.Cut(s, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "http" && scheme != "https" {
		return errURL
	}
	rest, _, _ = strings.Cut(rest, "#")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	if end == 0 || strings.Contains(rest[:end], "@") {
		return errURL
	}
	path := rest[end:]
	if path == "" || path[0] == '?' {
		path = "/" + path
	}
	k.SetURL(scheme, rest[:end], path, "")
	return nil
}

// related makes to the key of a URL that a response to k names, if that is of the same origin (RFC 9111, section 4.4).
func (k *Key) related(to *Key, reference string) bool {
	base, err := url.Parse(string(k.URL()))
	if err != nil {
		return false
	}
	u, err := base.Parse(reference)
	if err != nil || to.setText(u.String()) != nil {
		return false
	}
	return string(to.b[:to.origin]) == string(k.b[:k.origin])
}
