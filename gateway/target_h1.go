package gateway

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"

	"weir/gateway/route"
	"weir/internal/http1"
)

// parseTarget splits the request target (RFC 9112, section 3.2), checks Host, and normalises the path. What it leaves
// behind is what is matched, logged, and sent on.
func (x *h1) parseTarget() Verdict {
	target, method := x.req.Target(), x.Method()
	if method == "CONNECT" || method == "TRACE" {
		return Verdict{Reason: BadRequest, Status: 405, Detail: method + " is not served"}
	}
	if miscased(method) {
		return Verdict{Reason: BadRequest, Detail: methodCase}
	}
	if hv, ok := x.req.Get(http1.Host); ok {
		if v := x.setHost(hv); v.Reason != Pass {
			return v
		}
	}
	switch {
	case target[0] == '/':
	case len(target) == 1 && target[0] == '*' && method == "OPTIONS":
		x.path = "*"
		return Verdict{}
	default:
		var v Verdict
		if target, v = x.absolute(target); v.Reason != Pass {
			return v
		}
	}
	if i := bytes.IndexByte(target, '?'); i >= 0 {
		x.query, x.hasQuery = view(target[i+1:]), true
		target = target[:i]
	}
	p, err := route.Normalize(x.scratch[len(x.scratch):], target)
	if err != nil {
		return Verdict{Reason: BadRequest, Detail: err.Error()}
	}
	x.path = view(p)
	return Verdict{}
}

// absolute takes an absolute-form target apart. Its authority must be the Host.
func (x *h1) absolute(target []byte) ([]byte, Verdict) {
	rest := target
	switch {
	case len(rest) > 7 && http1.EqualFold(rest[:7], "http://"):
		rest = rest[7:]
	case len(rest) > 8 && http1.EqualFold(rest[:8], "https://"):
		rest = rest[8:]
	default:
		return nil, Verdict{Reason: BadRequest, Detail: "the request target is neither a path nor a http URL"}
	}
	i := bytes.IndexAny(rest, "/?")
	authority, path := rest, []byte("/")
	if i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	if path[0] == '?' {
		path = append([]byte("/"), path...)
	}
	if _, ok := x.req.Get(http1.Host); !ok {
		return path, x.setHost(authority)
	}
	if !strings.EqualFold(x.authority, view(authority)) {
		return nil, Verdict{Reason: BadRequest, Detail: "the request target names another host than Host"}
	}
	return path, Verdict{}
}

// setHost checks an authority and takes it apart.
func (x *h1) setHost(b []byte) Verdict {
	host, ok := splitHost(b)
	if !ok {
		return Verdict{Reason: BadRequest, Detail: http1.BadHost.Error()}
	}
	host = withoutDot(host)
	x.authority, x.host = view(b), view(host)
	for _, c := range host {
		if 'A' <= c && c <= 'Z' {
			if x.scratch == nil {
				x.scratch = make([]byte, 0, 512)
			}
			n := len(x.scratch)
			x.scratch = append(x.scratch, host...)
			lower := x.scratch[n:]
			for i, c := range lower {
				if 'A' <= c && c <= 'Z' {
					lower[i] = c | 0x20
				}
			}
			x.host = view(lower)
			break
		}
	}
	return Verdict{}
}

// withoutDot removes the dot that a host may end in, which changes nothing.
func withoutDot(host []byte) []byte {
	if n := len(host) - 1; n > 0 && host[n] == '.' {
		return host[:n]
	}
	return host
}

const methodCase = "methods are case-sensitive: write them in capitals"

// splitHost checks an authority (RFC 3986, section 3.2, without user info) and returns it without its port.
func splitHost(b []byte) (host []byte, ok bool) {
	if len(b) == 0 || len(b) > 255+6 {
		return nil, false
	}
	host, port := b, []byte(nil)
	if b[0] == '[' {
		i := bytes.IndexByte(b, ']')
		if i < 0 {
			return nil, false
		}
		a, err := netip.ParseAddr(string(b[1:i]))
		if err != nil || !a.Is6() || a.Zone() != "" {
			return nil, false
		}
		host, port = b[:i+1], b[i+1:]
	} else {
		if i := bytes.IndexByte(b, ':'); i >= 0 {
			host, port = b[:i], b[i:]
		}
		if !http1.HostName(host) {
			return nil, false
		}
	}
	if len(port) == 0 {
		return host, true
	}
	n, err := strconv.ParseUint(string(port[1:]), 10, 16)
	return host, port[0] == ':' && (len(port) == 1 || err == nil && n > 0)
}
