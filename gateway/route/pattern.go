package route

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"regexp/syntax"
	"strings"
)

// A pattern is a compiled path pattern. Its segments are folded (see fold) and compare byte by byte; a segment that
// begins with ":" is a parameter, unless it is marked literal.
type pattern struct {
	segments []segment
	below    bool           // ends in "/*": the path of the segments and everything below it
	re       *regexp.Regexp // nil unless "~"; then segments are a literal prefix that every match has
}

// A segment matches one segment of a path: text exactly, or anything but nothing if it is a parameter.
type segment struct {
	text  string // of a parameter: its name
	param bool
}

// ParsePath says what is wrong with a path pattern, and what to write instead; nil if Compile would take it.
func ParsePath(pattern string) error {
	_, err := parsePath(pattern)
	return err
}

func parsePath(s string) (pattern, error) {
	switch {
	case s == "":
		return pattern{below: true}, nil
	case s[0] == '~':
		return parseRegex(s[1:])
	case s[0] != '/':
		return pattern{}, fmt.Errorf(`path %q begins with neither "/" nor "~": write %q, or "~" before a regular expression`, s, "/"+s)
	}
	var p pattern
	rest := s[1:]
	for more := true; more; {
		var text string
		text, rest, more = strings.Cut(rest, "/")
		switch {
		case text == "*" && !more:
			p.below = true
		case strings.Contains(text, "*"):
			return pattern{}, fmt.Errorf(`path %q has a "*" that is not its last segment: write "/prefix/*" for everything below /prefix, or a regular expression after "~"`, s)
		case strings.HasPrefix(text, ":"):
			if err := p.addParam(s, text[1:]); err != nil {
				return pattern{}, err
			}
		default:
			p.segments = append(p.segments, segment{text: fold(text)})
		}
	}
	return p, checkNormal(s)
}

func (p *pattern) addParam(s, name string) error {
	if !isIdentifier(name) {
		return fmt.Errorf(`path %q: parameter ":%s" needs a name of letters, digits and _; write "%%3A" for a segment that begins with a colon`, s, name)
	}
	for _, seg := range p.segments {
		if seg.param && seg.text == name {
			return fmt.Errorf(`path %q has two parameters ":%s": give each its own name`, s, name)
		}
	}
	p.segments = append(p.segments, segment{name, true})
	return nil
}

// checkNormal refuses a pattern that no normalised path can match.
func checkNormal(s string) error {
	norm, err := Normalize(nil, []byte(s))
	switch {
	case errors.Is(err, ErrBadByte):
		return fmt.Errorf("path %q can never match: percent-encode what is not a character of a URI, as in %q", s, encode(s))
	case err != nil:
		return fmt.Errorf("path %q can never match: such a request is refused: %w", s, err)
	case !bytes.Equal(norm, []byte(s)):
		return fmt.Errorf("path %q can never match, as paths are normalised first: write %q", s, norm)
	}
	return nil
}

// encode percent-encodes the bytes of s that a path cannot hold.
func encode(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if classes[s[i]] == byteBad {
			fmt.Fprintf(&b, "%%%02X", s[i])
		} else {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func parseRegex(src string) (pattern, error) {
	re, err := regexp.Compile(src)
	if err != nil {
		return pattern{}, fmt.Errorf("path %q is not a regular expression (RE2): %w", "~"+src, err)
	}
	if src == "" {
		return pattern{}, errors.New(`path "~" has no regular expression: write one after the "~", or nothing at all to match every path`)
	}
	p := pattern{below: true, re: re}
	prefix, ok := strings.CutPrefix(literalPrefix(src), "/")
	if !ok {
		return p, nil
	}
	for {
		text, rest, more := strings.Cut(prefix, "/")
		if !more { // an unfinished segment
			return p, nil
		}
		p.segments = append(p.segments, segment{text: text})
		prefix = rest
	}
}

// literalPrefix returns what every match of the regular expression begins with: the literal after its "^", if any.
func literalPrefix(src string) string {
	re, err := syntax.Parse(src, syntax.Perl)
	if err != nil || re.Op != syntax.OpConcat || len(re.Sub) < 2 {
		return ""
	}
	begin, lit := re.Sub[0], re.Sub[1]
	if begin.Op != syntax.OpBeginText || lit.Op != syntax.OpLiteral || lit.Flags&syntax.FoldCase != 0 {
		return ""
	}
	return string(lit.Rune)
}

// ParseHost says what is wrong with a host pattern, and what to write instead; nil if Compile would take it.
func ParseHost(pattern string) error {
	_, _, err := parseHost(pattern)
	return err
}

// parseHost returns the host in lower case, without its "*." if it is a wildcard.
func parseHost(s string) (host string, wildcard bool, err error) {
	host, wildcard = strings.CutPrefix(strings.ToLower(s), "*.")
	if inner, ok := strings.CutPrefix(host, "["); ok && !wildcard {
		addr, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		if err != nil || !addr.Is6() || addr.Zone() != "" || !strings.HasSuffix(inner, "]") {
			return "", false, fmt.Errorf("host %q is not an IPv6 address in brackets: write it like [2001:db8::1], without port", s)
		}
		return host, false, nil
	}
	switch {
	case s == "":
		return "", false, errors.New("host is empty: leave hosts out to match every host")
	case s == "*":
		return "", false, errors.New(`host "*" is not needed: leave hosts out to match every host`)
	case strings.Contains(host, "*"):
		return "", false, fmt.Errorf(`host %q: a "*" can only be the whole first label, as in "*.example.org"`, s)
	case strings.Contains(host, "://") || strings.Contains(host, "/"):
		return "", false, fmt.Errorf("host %q is a URL: write the host name alone", s)
	case strings.Contains(host, ":"):
		return "", false, fmt.Errorf("host %q: write it without port (an IPv6 address in brackets)", s)
	case strings.HasSuffix(host, "."):
		return "", false, fmt.Errorf("host %q: write it without the final dot; requests with and without it match", s)
	case len(host) > 253:
		return "", false, fmt.Errorf("host %q is longer than the 253 bytes of a DNS name", s)
	}
	for label := range strings.SplitSeq(host, ".") {
		if err := checkLabel(s, label); err != nil {
			return "", false, err
		}
	}
	return host, wildcard, nil
}

func checkLabel(host, label string) error {
	if label == "" || len(label) > 63 {
		return fmt.Errorf("host %q: between two dots there are 1 to 63 bytes", host)
	}
	for i := range len(label) {
		switch c := label[i]; {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_':
		case c >= 0x80:
			return fmt.Errorf("host %q: write an international name in its ASCII form, xn--…", host)
		default:
			return fmt.Errorf("host %q: %q cannot stand in a host name", host, c)
		}
	}
	return nil
}

// fold decodes the escapes of reserved characters in a normalised path, so that %40 and @ compare equal: a server may
// read both as one, and a route must not be dodged by writing the other. The result is only compared, never forwarded.
func fold(path string) string {
	if foldable(path) < 0 {
		return path
	}
	return string(appendFold(nil, path))
}

// foldable returns where the first escape is that fold decodes, or -1.
func foldable(path string) int {
	for i := 0; ; i++ {
		next := strings.IndexByte(path[i:], '%')
		if next < 0 {
			return -1
		}
		i += next
		if b, ok := unescape(path[i:]); ok && classes[b] == byteReserved {
			return i
		}
	}
}

func appendFold(dst []byte, path string) []byte {
	for i := 0; i < len(path); i++ {
		if path[i] == '%' {
			if b, ok := unescape(path[i:]); ok && classes[b] == byteReserved {
				dst = append(dst, b)
				i += 2
				continue
			}
		}
		dst = append(dst, path[i])
	}
	return dst
}

func isIdentifier(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9' || i == 0) {
			return false
		}
	}
	return s != ""
}
