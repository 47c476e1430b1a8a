package jwt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	gojwt "github.com/golang-jwt/jwt/v5"
)

const (
	maxToken = 8 << 10          // bytes
	leeway   = 30 * time.Second // between the issuer's clock and ours
	maxTime  = 253402300800     // the year 10000 as a NumericDate; what is beyond overflows somewhere

	goodEntries, goodBytes, goodFor = 16384, 64 << 20, 5 * time.Minute
	badEntries, badBytes, badFor    = 1024, 1 << 20, 10 * time.Second
)

// Verifier checks tokens. Safe for concurrent use.
type Verifier struct {
	o      Options
	parser *gojwt.Parser
	ring   atomic.Pointer[keyring]
	good   *cache
	bad    *cache

	unknown  chan struct{} // a token named a key that is not known; of capacity 1
	noEvents bool          // do not watch the file, look at it now and then only

	mu        sync.Mutex // orders changes of ring and guards the keys of
	file, url source

	hits, badHits, misses, failures atomic.Uint64
	refreshed                       atomic.Int64 // wall clock, ns
}

// Stats counts since New.
type Stats struct {
	Keys            int       // public keys that tokens are checked with, and the secret
	Hits            uint64    // good tokens that were remembered
	BadHits         uint64    // bad tokens that were remembered
	Misses          uint64    // tokens that were checked
	Entries         int       // tokens remembered, some of which may have ended
	Bytes           int64     // that they take
	RefreshFailures uint64    // times the file or the URL gave no keys
	LastRefresh     time.Time // when the file or the URL last gave keys, new or not; zero: never
}

// New returns a Verifier with the keys of o's file and its secret. An unreadable file, a set without usable keys, a weak
// secret and nonsense in o are errors. It fetches nothing and starts nothing: see Run.
func New(o Options) (*Verifier, error) {
	if err := o.prepare(); err != nil {
		return nil, err
	}
	var methods []string
	if o.Secret != "" {
		methods = append(methods, hs256)
	}
	if o.JWKSFile != "" || o.JWKSURL != "" {
		methods = append(methods, rs256, es256, eddsa)
	}
	options := []gojwt.ParserOption{gojwt.WithValidMethods(methods), gojwt.WithStrictDecoding(), gojwt.WithJSONNumber(),
		gojwt.WithLeeway(leeway), gojwt.WithIssuedAt(), gojwt.WithTimeFunc(o.Now), gojwt.WithIssuer(o.Issuer)}
	if o.Audience != "" {
		options = append(options, gojwt.WithAudience(o.Audience))
	}
	v := &Verifier{o: o, parser: gojwt.NewParser(options...), unknown: make(chan struct{}, 1),
		good: newCache(goodEntries, goodBytes), bad: newCache(badEntries, badBytes)}
	v.ring.Store(&keyring{secret: []byte(o.Secret)})
	v.file = source{name: o.JWKSFile, read: v.readFile}
	v.url = source{name: "JWKS URL", read: v.fetch}
	if o.JWKSFile != "" {
		if err := v.reload(context.Background(), &v.file); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// Verify returns the token if it is good now. The error is one line for people that says why it is not, and holds nothing
// of the token; it is ErrNoKeys if that cannot be told yet. A token that was good or bad a moment ago is looked up, in a
// fraction of a microsecond and without allocation; see the package comment.
func (v *Verifier) Verify(token string) (*Token, error) {
	if len(token) > maxToken {
		return nil, tooLong
	}
	ring := v.ring.Load()
	// SHA-256 writes nothing to its input, and []byte(token) would copy it.
	sum := digest(sha256.Sum256(unsafe.Slice(unsafe.StringData(token), len(token))))
	now := v.o.Now().UnixNano()
	// Fast path.
	if e := v.good.find(&sum, ring.generation, now); e != nil {
		v.hits.Add(1)
		return e.token, nil
	}
	if e := v.bad.find(&sum, ring.generation, now); e != nil {
		v.badHits.Add(1)
		return nil, e.err
	}
	// Slow path.
	v.misses.Add(1)
	e := &entry{sum: sum, generation: ring.generation, from: now, until: now + int64(badFor)}
	t, expires, f := v.check(token, ring)
	if f != "" {
		e.err = f
		if f.lasts() {
			v.bad.put(e)
		}
		if f.curable() {
			select {
			case v.unknown <- struct{}{}:
			default: // somebody asked already
			}
		}
		return nil, e.err
	}
	e.token = t
	e.until = now + int64(goodFor)
	if expires != nil {
		e.until = min(e.until, expires.Add(leeway).UnixNano())
	}
	v.good.put(e)
	return t, nil
}

// check verifies a token with the keys of ring and returns it with its exp, if it has one, or why it is no good.
func (v *Verifier) check(token string, ring *keyring) (*Token, *gojwt.NumericDate, fault) {
	if f := compact(token); f != "" {
		return nil, nil, f
	}
	looked := false
	claims := gojwt.MapClaims{}
	_, err := v.parser.ParseWithClaims(token, claims, func(t *gojwt.Token) (any, error) {
		looked = true
		if f := acceptable(t.Header, claims); f != "" {
			return nil, f
		}
		return ring.choose(t.Method.Alg(), t.Header)
	})
	if err != nil {
		return nil, nil, explain(err, looked)
	}
	// The library decodes the first JSON value of the payload; null makes no claims, and there may be more after it.
	payload, err := v.parser.DecodeSegment(strings.Split(token, ".")[1])
	if err != nil || !json.Valid(payload) || !bytes.HasPrefix(bytes.TrimLeft(payload, " \t\r\n"), []byte("{")) {
		return nil, nil, notCompact
	}
	expires, err := claims.GetExpirationTime()
	if err != nil {
		return nil, nil, badClaim
	}
	t, ok := newToken(claims)
	if !ok {
		return nil, nil, tooManyClaim
	}
	return t, expires, ""
}

// compact looks at the outer form of a token. Line ends matter: Go's base64 skips them, so they would make another token of
// the same meaning.
func compact(token string) fault {
	dots := 0
	for i := range len(token) {
		switch c := token[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		case c == '.':
			dots++
		default:
			return notCompact
		}
	}
	switch dots {
	case 2:
		return ""
	case 4:
		return encrypted // RFC 7516, 3.1
	}
	return notCompact
}

// acceptable looks at what the library does not: header fields that change the meaning of the rest, and times out of range.
func acceptable(header map[string]any, claims gojwt.MapClaims) fault {
	for _, name := range []string{"crit", "b64"} {
		if _, ok := header[name]; ok {
			return critical
		}
	}
	for _, name := range []string{"enc", "zip"} {
		if _, ok := header[name]; ok {
			return encrypted
		}
	}
	if content, ok := header["cty"]; ok {
		if s, ok := content.(string); !ok || strings.TrimPrefix(strings.ToLower(s), "application/") == "jwt" {
			return nested
		}
	}
	for _, name := range []string{"exp", "nbf", "iat"} {
		value, ok := claims[name]
		if !ok {
			continue
		}
		n, ok := value.(json.Number)
		if !ok {
			return badClaim
		}
		if f, err := n.Float64(); err != nil || f < 0 || f >= maxTime {
			return badClaim
		}
	}
	return ""
}

// Stats returns the counters. It looks at every entry, so it is for a scrape, not for a request.
func (v *Verifier) Stats() Stats {
	ring := v.ring.Load()
	s := Stats{
		Keys: len(ring.keys), Hits: v.hits.Load(), BadHits: v.badHits.Load(), Misses: v.misses.Load(),
		Entries: v.good.entries() + v.bad.entries(), Bytes: v.good.bytes.Load() + v.bad.bytes.Load(),
		RefreshFailures: v.failures.Load(),
	}
	if len(ring.secret) > 0 {
		s.Keys++
	}
	if at := v.refreshed.Load(); at != 0 {
		s.LastRefresh = time.Unix(0, at)
	}
	return s
}
