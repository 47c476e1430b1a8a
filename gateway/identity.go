package gateway

import (
	"errors"
	"net/http"
	"net/netip"
	"strings"

	"weir/config"
	"weir/internal/expr"
	"weir/jwt"
)

type source uint8

const (
	fromClientIP source = iota
	fromIP              // the built-in ip: IPv6 by /64
	fromHeader
	fromCookie
	fromQuery
	fromCertCN
	fromHost
	fromPath
	fromMethod
	fromRoute
	fromExpr
	fromKey // the caller's name in a check
	fromJWT
)

// dimension is a named property of a request.
type dimension struct {
	name   string
	from   source
	arg    string
	prog   *expr.Program
	bits   [2]int // fromClientIP: how long a prefix of IPv4 and IPv6 addresses counts
	def    string
	hasDef bool
	secret bool
}

// builtinKey is the caller's name in a check, unless the configuration defines a dimension of that name.
var builtinKey = dimension{name: "key", from: fromKey}

// builtins are the dimensions that need no definition.
var builtins = []dimension{
	{name: "ip", from: fromIP},
	{name: "host", from: fromHost},
	{name: "path", from: fromPath},
	{name: "method", from: fromMethod},
	{name: "route", from: fromRoute},
}

func compileDimension(c *config.Dimension, env *expr.Env) (dimension, error) {
	d := dimension{name: c.Name, def: c.Default, hasDef: c.Default != "", secret: c.Secret}
	kind, arg, _ := strings.Cut(c.From, ":")
	d.arg = strings.TrimSpace(arg)
	switch kind {
	case "client_ip":
		d.from, d.bits = fromClientIP, [2]int{32, 128}
		if v4, v6, ok := config.ClientIPPrefix(d.arg); d.arg != "" && ok {
			d.bits = [2]int{v4, v6}
		}
	case "jwt":
		d.from = fromJWT
	case "header":
		d.from, d.arg = fromHeader, strings.ToLower(d.arg)
	case "cookie":
		d.from = fromCookie
	case "query":
		d.from = fromQuery
	case "cert":
		d.from = fromCertCN
	case "host":
		d.from = fromHost
	case "path":
		d.from = fromPath
	case "method":
		d.from = fromMethod
	case "route":
		d.from = fromRoute
	case "expr":
		d.from = fromExpr
		var err error
		d.prog, err = env.Compile(d.arg, expr.String)
		return d, err
	}
	return d, nil
}

// value works out the dimension of x. An empty value counts as none: a client could otherwise leave its bucket by sending
// an empty header.
func (d *dimension) value(x *Exchange) (string, bool) {
	v := ""
	switch d.from {
	case fromClientIP:
		if v = x.peerText.of(x.peer).full; d.bits != [2]int{32, 128} {
			v = prefixText(x.peer, d.bits)
		}
	case fromIP:
		v = x.peerText.of(x.peer).prefix
	case fromHeader:
		v, _ = x.car.Field(d.arg)
	case fromCookie:
		v = cookie(x, d.arg)
	case fromQuery:
		v, _ = x.car.Query(d.arg)
	case fromCertCN:
		v = x.car.ClientCN()
	case fromHost:
		v = x.car.Host()
	case fromPath:
		v = x.car.Path()
	case fromMethod:
		v = x.car.Method()
	case fromRoute:
		if x.route != nil {
			v = x.route.name
		}
	case fromKey:
		v = x.key
	case fromJWT:
		if x.authentic() && x.token.claims != nil {
			v, _ = x.token.claims.Claim(d.arg)
		}
	case fromExpr:
		s, err := d.prog.String(x)
		if err != nil {
			x.gw.exprErrors.Inc()
		}
		v = s
	}
	if v == "" && d.hasDef {
		v = d.def
	}
	return v, v != ""
}

// prefixText is the network of an address, as 198.51.100.0/24.
func prefixText(a netip.Addr, bits [2]int) string {
	a = a.Unmap().WithZone("")
	n := bits[0]
	if a.Is6() {
		n = bits[1]
	}
	p, err := a.Prefix(n)
	if err != nil {
		return ""
	}
	return p.String()
}

// bearer is what a request's token says of it.
type bearer struct {
	checked bool
	claims  *jwt.Token // nil: the request has none
	fault   string     // what is wrong with the one it has
	unknown bool       // nothing is: there are no keys yet to check it with
}

// unauthenticated is the verdict on a token that authentic refused: 401, or 503 if it may be good.
func (x *Exchange) unauthenticated() Verdict {
	v := Verdict{Reason: Unauthenticated, Detail: x.token.fault}
	if x.token.unknown {
		v.Status = http.StatusServiceUnavailable
	}
	return v
}

// authentic reports whether the request has a good token, or none. It is looked at once.
func (x *Exchange) authentic() bool {
	t := &x.token
	if t.checked {
		return t.fault == ""
	}
	t.checked = true
	if x.snap.tokens == nil {
		return true
	}
	field := x.snap.tokenField
	v, ok := x.car.Field(field)
	if v = strings.TrimSpace(v); !ok || v == "" {
		return true
	}
	scheme, rest, spaced := strings.Cut(v, " ")
	switch {
	case spaced && strings.EqualFold(scheme, "bearer"):
		v = strings.TrimSpace(rest)
	case spaced && field == "authorization":
		return true // of another scheme
	}
	claims, err := x.snap.tokens.Verify(v)
	if err != nil {
		t.fault, t.unknown = err.Error(), errors.Is(err, jwt.ErrNoKeys)
		return false
	}
	t.claims = claims
	return true
}

// peerText is an address in words, worked out once per connection: for IPv6 also the /64 that counts as one client.
type peerText struct {
	addr         netip.Addr
	full, prefix string
}

func (t *peerText) of(a netip.Addr) *peerText {
	if !a.IsValid() {
		return &peerText{}
	}
	if t.addr != a || t.full == "" {
		a = a.Unmap()
		t.addr, t.full, t.prefix = a, a.String(), a.String()
		if p, err := a.Prefix(64); a.Is6() && err == nil {
			t.prefix = p.Addr().String()
		}
	}
	return t
}

// clientAddr walks the addresses that proxies reported from right to left and returns the first that is not trusted.
// Nobody's report is believed unless it comes over a trusted connection.
func (s *Snapshot) clientAddr(peer netip.Addr, forwardedFor func(yield func(list string) bool)) netip.Addr {
	addr := peer
	for list := range forwardedFor {
		for list != "" {
			var last string
			if i := strings.LastIndexByte(list, ','); i >= 0 {
				list, last = list[:i], list[i+1:]
			} else {
				list, last = "", list
			}
			a, ok := parseAddr(strings.TrimSpace(last))
			if !ok {
				return addr // what stands left of nonsense is worth nothing
			}
			addr = a
			if !s.isTrusted(a) {
				return addr
			}
		}
	}
	return addr
}

// parseAddr reads an address as proxies write it: with or without port, IPv6 in brackets or not.
func parseAddr(s string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(s); err == nil {
		return a.Unmap().WithZone(""), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), true
	}
	if len(s) > 2 && s[0] == '[' && s[len(s)-1] == ']' {
		if a, err := netip.ParseAddr(s[1 : len(s)-1]); err == nil {
			return a.Unmap().WithZone(""), true
		}
	}
	return netip.Addr{}, false
}

func (s *Snapshot) isTrusted(a netip.Addr) bool {
	for _, p := range s.trusted {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
