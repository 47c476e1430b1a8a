package cache

import (
	"math"
	"time"
)

// maxSeconds is what longer delta-seconds count as (RFC 9111, section 1.2.2).
const maxSeconds = math.MaxInt32

// none is the value of a directive that is not there.
const none = time.Duration(-1)

type flag uint16

const (
	noStore flag = 1 << iota
	noCache
	private
	public
	mustRevalidate
	proxyRevalidate
	mustUnderstand
	onlyIfCached
)

// directives are what a Cache-Control field says, of a request or of a response (RFC 9111, section 5.2), or a targeted field
// (RFC 9213).
type directives struct {
	flags    flag
	targeted bool // of a targeted field: Expires does not count

	maxAge, sMaxAge          time.Duration // none if not there; 0 if not a number, as that must count as stale
	whileRevalidate, ifError time.Duration // RFC 5861
	minFresh, maxStale       time.Duration // of a request

	withheld []string // lower-case names of fields that no-cache="…" and private="…" keep from being reused
}

func (d *directives) has(f flag) bool { return d.flags&f != 0 }

var blank = directives{maxAge: none, sMaxAge: none, whileRevalidate: none, ifError: none, minFresh: none, maxStale: none}

// requestDirectives reads what a client wants. Pragma counts only where there is no Cache-Control (RFC 9111, section 5.4).
// It does not allocate.
func requestDirectives(r Fields) directives {
	d := blank
	if _, ok := r.FieldValue("cache-control", 0); !ok {
		for l := listOf(r, "pragma"); ; {
			e, ok := l.next()
			if !ok {
				return d
			}
			if is(e, "no-cache") {
				d.flags |= noCache
			}
		}
	}
	for l := listOf(r, "cache-control"); ; {
		e, ok := l.next()
		if !ok {
			return d
		}
		name, arg, argued := cutDirective(e)
		d.takeRequest(name, arg, argued)
	}
}

func (d *directives) takeRequest(name, arg string, argued bool) {
	switch {
	case is(name, "no-cache"):
		d.flags |= noCache
	case is(name, "no-store"):
		d.flags |= noStore
	case is(name, "only-if-cached"):
		d.flags |= onlyIfCached
	case is(name, "max-age"):
		keep(&d.maxAge, seconds(arg))
	case is(name, "min-fresh"):
		keep(&d.minFresh, seconds(arg))
	case is(name, "stale-if-error"):
		keep(&d.ifError, seconds(arg))
	case is(name, "max-stale") && !argued:
		keep(&d.maxStale, maxSeconds*time.Second)
	case is(name, "max-stale"):
		keep(&d.maxStale, seconds(arg))
	}
}

// responseDirectives reads what a response says to shared caches: CDN-Cache-Control if it is there and well-formed, else
// Cache-Control.
func responseDirectives(r Fields) directives {
	if d, ok := targetedDirectives(r, "cdn-cache-control"); ok {
		return d
	}
	d := blank
	for l := listOf(r, "cache-control"); ; {
		e, ok := l.next()
		if !ok {
			return d
		}
		name, arg, argued := cutDirective(e)
		d.takeResponse(name, arg, argued)
	}
}

var plainFlags = [...]struct {
	name string
	flag flag
}{
	{"no-store", noStore}, {"public", public}, {"must-revalidate", mustRevalidate}, {"proxy-revalidate", proxyRevalidate},
	{"must-understand", mustUnderstand},
}

func (d *directives) takeResponse(name, arg string, argued bool) {
	for _, p := range plainFlags {
		if is(name, p.name) {
			d.flags |= p.flag
			return
		}
	}
	switch {
	case is(name, "no-cache"):
		d.restrict(noCache, arg, argued)
	case is(name, "private"):
		d.restrict(private, arg, argued)
	case is(name, "max-age"):
		keep(&d.maxAge, seconds(arg))
	case is(name, "s-maxage"):
		keep(&d.sMaxAge, seconds(arg))
	case is(name, "stale-while-revalidate"):
		keep(&d.whileRevalidate, seconds(arg))
	case is(name, "stale-if-error"):
		keep(&d.ifError, seconds(arg))
	}
}

// restrict takes no-cache or private, which with field names restrict these only (RFC 9111, sections 5.2.2.4 and 5.2.2.7).
func (d *directives) restrict(f flag, arg string, argued bool) {
	n := len(d.withheld)
	for argued && arg != "" {
		var e string
		if e, arg = cutElement(arg); e == "" {
			continue
		}
		name, ok := lowerToken(e)
		if !ok {
			d.withheld = d.withheld[:n]
			argued = false // not names: the whole response then
			break
		}
		d.withheld = append(d.withheld, name)
	}
	if !argued || len(d.withheld) == n {
		d.flags |= f
	}
}

// keep sets a directive that is not there yet: of several the first counts (RFC 9111, section 4.2.1).
func keep(to *time.Duration, d time.Duration) {
	if *to == none {
		*to = d
	}
}

// cutDirective splits name=argument. Quotes around an argument are removed.
func cutDirective(e string) (name, arg string, argued bool) {
	for i := 0; i < len(e); i++ {
		if e[i] == '=' {
			name, arg = trim(e[:i]), trim(e[i+1:])
			if n := len(arg); n >= 2 && arg[0] == '"' && arg[n-1] == '"' {
				arg = arg[1 : n-1]
			}
			return name, arg, true
		}
	}
	return e, "", false
}

// seconds reads delta-seconds. What is none counts as 0, so that it makes stale.
func seconds(s string) time.Duration {
	n, ok := number(s)
	if !ok {
		return 0
	}
	return time.Duration(min(n, maxSeconds)) * time.Second
}

// number reads a row of digits. What is too big for an int64 is the biggest.
func number(s string) (int64, bool) {
	n := int64(0)
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c < '0' || c > '9' {
			return 0, false
		}
		if n > (math.MaxInt64-9)/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + int64(c-'0')
	}
	return n, s != ""
}

// lowerToken returns a field name in lower case, copied.
func lowerToken(s string) (string, bool) {
	b := []byte(s)
	for i, c := range b {
		if !tokenByte(c) {
			return "", false
		}
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
	return string(b), s != ""
}

func tokenByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	switch c {
	case '!', '#', '$', '%', '&', '\'', '*', '+', '-', '.', '^', '_', '`', '|', '~':
		return true
	}
	return false
}
