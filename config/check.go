package config

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// checker looks at a decoded Config for what needs more than one value to see.
type checker struct {
	c      *Config
	root   *yaml.Node
	faults *faultList
	over   bool // root is a section that is laid over one that is right: what it does not give need not be checked

	pools nameSet
	known *known // filled by checkDimensions and before; nil: the names are not known
}

// check records every fault of c that decoding could not see. It is silent about paths that have a fault already.
func check(c *Config, root *yaml.Node, faults *faultList) {
	k := &checker{c: c, root: root, faults: faults, known: &known{}}
	c.known = k.known
	k.pools = namesOf(c.Pools, func(p *Pool) string { return p.Name })
	k.known.routes = namesOf(c.Routes, func(r *Route) string { return r.Name })
	k.checkDimensions()
	k.checkJWT()
	k.checkAdmin()
	k.checkCluster()
	k.checkListeners()
	k.checkTLS()
	k.checkBackpressure()
	for i := range c.Pools {
		k.checkPool(&c.Pools[i], fmt.Sprintf("pools[%d]", i))
	}
	k.checkNames("pools", len(c.Pools), func(i int) string { return c.Pools[i].Name })
	for i := range c.Routes {
		k.checkRoute(&c.Routes[i], fmt.Sprintf("routes[%d]", i))
	}
	k.checkNames("routes", len(c.Routes), func(i int) string { return c.Routes[i].Name })
	k.checkShaping()
	k.checkPolicies()
}

// fault records a fault of the value at path, or of its nearest ancestor in the file.
func (k *checker) fault(path, format string, args ...any) {
	if k.faults.paths[path] {
		return
	}
	n, _ := locate(k.root, path)
	k.faults.add(placeOf(n), path, format, args...)
}

// given says whether the file gives a value for path, right or wrong.
func (k *checker) given(path string) bool {
	_, given := locate(k.root, path)
	return given || k.faults.paths[path]
}

// faultyBelow says whether a value inside the one at path has a fault.
func (k *checker) faultyBelow(path string) bool {
	for p := range k.faults.paths {
		if strings.HasPrefix(p, path) {
			return true
		}
	}
	return false
}

// line returns the line on which the value at path stands.
func (k *checker) line(path string) int {
	n, _ := locate(k.root, path)
	return placeOf(n).line
}

var nameForm = regexp.MustCompile(`^([A-Za-z0-9_.-]{3,128}|[A-Za-z0-9_-][A-Za-z0-9_.-]?|\.[A-Za-z0-9_-])$`) // but not . and .., which URLs swallow

// checkNames checks the names of a list: their form, and that no two are the same.
func (k *checker) checkNames(list string, n int, name func(int) string) {
	first := make(map[string]int, n)
	for i := range n {
		path, s := fmt.Sprintf("%s[%d].name", list, i), name(i)
		if s == "" {
			continue // recorded as missing
		}
		if !nameForm.MatchString(s) {
			k.fault(path, "%s is no name: write up to 128 letters, digits, _ . -", quote(s))
		}
		if j, twice := first[s]; twice {
			k.fault(path, "the name %s is taken: %s[%d] has it in line %d: choose another", quote(s), list, j, k.line(fmt.Sprintf("%s[%d].name", list, j)))
			continue
		}
		first[s] = i
	}
}

// checkReference checks that something defines a name. what is pool, route, or dimension.
func (k *checker) checkReference(path, what, name string, known *nameSet) {
	if !known.has(name) {
		k.fault(path, "%s", undefined(what, name, known.list))
	}
}

// address is a host and port to listen on or to dial.
type address struct {
	host string // "" is every address
	port int
}

// parseAddress reads host:port. It returns what is wrong, or "".
func parseAddress(text string, needHost bool) (address, string) {
	example := ":8000 or 127.0.0.1:8000"
	if needHost {
		example = "10.0.0.5:8080 or api.internal:8080"
	}
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		rest = strings.TrimRight(rest, "/")
		if scheme == "https" && needHost {
			return address{}, fmt.Sprintf("%s is a URL: write host:port, for example %s, and tls: {enabled: true} in the pool", quote(text), withPort(rest, "443"))
		}
		return address{}, fmt.Sprintf("%s is a URL: write host:port, for example %s", quote(text), withPort(rest, "80"))
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		switch {
		case isDigits(text):
			return address{}, fmt.Sprintf("%s is not an address: write %s", quote(text), strconv.Quote(":"+text))
		case strings.Count(text, ":") > 1 && !strings.Contains(text, "["):
			return address{}, fmt.Sprintf("%s is not an address: write IPv6 in brackets: [::1]:8000", quote(text))
		case !strings.Contains(text, ":") && text != "":
			return address{}, fmt.Sprintf("%s has no port: write %s", quote(text), quote(text+":80"))
		}
		return address{}, fmt.Sprintf("%s is not an address: write %s", quote(text), example)
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 0 || n > 65535 || !isDigits(port) || (needHost && n == 0) {
		return address{}, fmt.Sprintf("%s has no valid port: write a number from 1 to 65535", quote(text))
	}
	if host == "" && needHost {
		return address{}, fmt.Sprintf("%s has no host: write for example 127.0.0.1:%d", quote(text), n)
	}
	if host != "" && !isHost(host) {
		return address{}, fmt.Sprintf("%s is neither an IP address nor a host name: write %s", quote(host), example)
	}
	return address{host, n}, ""
}

func withPort(host, port string) string {
	host, _, _ = strings.Cut(host, "/")
	if strings.Contains(host, ":") || host == "" {
		return host
	}
	return host + ":" + port
}

// isHost says whether s is an IP address or has the form of a host name.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > 253 || strings.Trim(s, "0123456789.") == "" {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		for i := range len(label) {
			c := label[i]
			if c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}

// isLoopback says whether only this machine reaches a.
func (a address) isLoopback() bool {
	if strings.EqualFold(a.host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(a.host)
	return err == nil && ip.Unmap().IsLoopback()
}

// collides says whether a and b cannot both be listened on.
func (a address) collides(b address) bool {
	return a.port == b.port && a.port != 0 && (a.ip() == b.ip() || a.isWildcard() || b.isWildcard())
}

func (a address) isWildcard() bool {
	ip, err := netip.ParseAddr(a.host)
	return a.host == "" || (err == nil && ip.IsUnspecified())
}

func (a address) ip() string {
	if strings.EqualFold(a.host, "localhost") {
		return "127.0.0.1"
	}
	if ip, err := netip.ParseAddr(a.host); err == nil {
		return ip.Unmap().String()
	}
	return strings.ToLower(a.host)
}
