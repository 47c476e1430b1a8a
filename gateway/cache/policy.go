package cache

import (
	"time"

	"weir/internal/mono"
)

// A Policy is how the responses of a route are cached. It must not change once it is in use. The zero value stores what responses
// explicitly allow, up to the cache's own bounds, and does all that RFC 9111 asks of a cache.
type Policy struct {
	MaxObject int64 // bytes of a body; 0: no more than the cache has room for

	// TTL is how long a response is fresh that does not say so itself, and whose status may be taken to be cacheable (RFC 9110,
	// section 15.1). What a response says always comes first. 0: such responses are not stored, unless Heuristic is given.
	TTL time.Duration
	// Heuristic, if TTL is 0, is the share of the time since Last-Modified for which such a response is fresh, at most a
	// day (RFC 9111, section 4.2.2). 0: none.
	Heuristic float64

	// StaleWhileRevalidate and StaleIfError (RFC 5861) count for responses that do not say so themselves, and do not forbid it.
	StaleWhileRevalidate, StaleIfError time.Duration

	// StaleUnderLoad is for how long past its time a response is served to a query that says Loaded, and which may not say that itself
	// but for its stale-if-error. What forbids stale answers forbids these.
	StaleUnderLoad time.Duration

	// Tags is the lower-case name of the response field that has the tags to purge by, between spaces or commas; "": none.
	Tags string

	Coalesce bool // one request fetches what others want too; they wait for it

	// IgnoreClient leaves Cache-Control and Pragma of requests out of account, but for no-store and only-if-cached. RFC 9111, section 5.2.1, has
	// them as advice; a client that is not trusted can have every request forwarded with it.
	IgnoreClient bool
	// StoreCookies stores responses with Set-Cookie as any other. Without it they are only if they say public or s-maxage, or
	// keep that field from being reused with no-cache="set-cookie" or private="set-cookie".
	StoreCookies bool
}

// A Query is a request as the cache sees it. The caller may change Now and ask again.
type Query struct {
	Request Request // nil only for Begin of a flight that revalidates behind an answer
	Key     *Key
	Policy  *Policy // nil: the cache has no part in this
	Now     mono.Time

	Known  bool // it is authenticated by other means than Authorization, as by a token elsewhere or a certificate: counts as Authorization
	Bypass bool // the cache has no part in it: it has a body, or asks for something else than its key says
	Loaded bool // too much is going on: see StaleUnderLoad
	Waited bool // it has waited for a flight
	Alone  bool // it waits for none any more
}

const (
	maxVariants     = 32 // of a URL; the oldest gives way
	maxVaryFields   = 16 // more: not stored
	maxTags         = 128
	maxTagLength    = 1024
	heuristicLimit  = 24 * time.Hour
	solo            = 10 // seconds for which nobody waits for what turned out not to be for all
	minBody         = 4 << 10
	firstBody       = 1 << 20 // of a longer one of known length, memory is taken as it comes
	smallestFilling = 16 << 20
)
