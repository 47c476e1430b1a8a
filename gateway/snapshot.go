package gateway

import (
	"net/netip"
	"regexp"
	"time"

	"weir/balancer"
	"weir/config"
	"weir/gateway/cache"
	"weir/gateway/route"
	"weir/internal/http1"
	"weir/jwt"
	"weir/shaping"
	"weir/strict"
	"weir/telemetry"
)

// Snapshot is one compiled configuration. It is immutable, and whatever it points to that changes stands in live.
type Snapshot struct {
	conf       *config.Config
	table      *route.Table
	routes     []*entry
	dims       []dimension
	keyDim     int // the dimension `key`
	trusted    []netip.Prefix
	policies   []*policy
	everywhere *index        // of policies for all routes
	nested     bool          // some policy has a parent
	tokens     *jwt.Verifier // nil: no dimension comes from a token
	store      *strict.Store // nil: policies of scope: strict go by on_outage
	tokenField string        // lower-case name of the header field
	pools      []*poolConf
	room       room
	cache      *cache.Cache // nil: no route has one
	pacings    []*pacingConf
	pressure   *pressureConf // nil: nothing goes by load
	hints      bool          // peers' pressure and breakers count
	listeners  map[string]*Listener
	headers    config.Headers
	spoofable  []string // lower-case header names of ours whose underscore spellings are removed
	odd        bool     // some of them have other signs than letters, digits and -
	params     []string // query parameters that limits go by
	cookies    []string // cookies that limits go by
	single     []string // lower-case names of header fields that dimensions are read from
	noRoute    *telemetry.Route

	fixed int64 // bytes of limiters before their first bucket

	plan *plan // what Install has to do
}

// Config returns what the snapshot was compiled from.
func (s *Snapshot) Config() *config.Config { return s.conf }

// Listener is what connections of a listener must keep to.
type Listener struct {
	Name          string
	RedirectHTTPS bool
	HTTP2         bool
	Streams       int // of HTTP/2, open at once on a connection
	Resets        int // requests of HTTP/2 given up, at once on a connection
	ControlFrames int // frames of HTTP/2 that ask for nothing, at once on a connection
	Limits        http1.Limits
	HeaderTimeout time.Duration
	IdleTimeout   time.Duration
	Body          int64 // bytes; 0 is unlimited
	MinRate       int64 // bytes per second; 0 is no minimum
	floods        [len(floodNames)]*telemetry.Counter
}

// entry is a compiled route.
type entry struct {
	name       string
	conf       *config.Route
	targets    []target // by cumulative weight; nil for fixed answers
	weight     uint64   // sum
	respond    *fixed
	redirect   template
	status     int    // of the redirect
	index      *index // of the policies for this route only
	wantsToken bool   // something of it depends on a token
	timeout    time.Duration
	body       int64 // limit; -1: the listener's
	rewrite    rewrite
	request    transform
	unwanted   [len(ours)]bool // of what the gateway vouches for: set or removed by request
	response   transform
	priority   priority
	urgency    *dimension    // says the priority of a request; nil: all have that of the route
	hold       bool          // the seat, until the answer is sent
	idle       time.Duration // without a byte; -1: as listener and pool say
	lifetime   time.Duration // of tunnels, event streams and other answers of no known length; 0: no end
	pacing     *pacingConf   // nil: bodies flow as fast as they go
	mirror     *poolConf
	mirrored   float64 // share of requests
	fallback   *fallback
	cache      *cacheConf // nil: none
	recode     *recode    // nil: bodies stay as they are
	cell       *telemetry.Route
}

type target struct {
	pool *poolConf
	upTo uint64
}

// pick chooses a target by weight with a random number.
func (e *entry) pick(random uint64) *poolConf {
	if len(e.targets) == 1 {
		return e.targets[0].pool
	}
	n := random % e.weight
	for i := range e.targets {
		if n < e.targets[i].upTo {
			return e.targets[i].pool
		}
	}
	panic("BUG: split weights do not add up")
}

// fixed is an answer that stands in the configuration.
type fixed struct {
	status  int
	headers []config.HeaderValue
	body    []byte
	typed   bool // headers name a content type
}

type fallback struct {
	on      [reasons]bool
	respond *fixed
	pool    *poolConf
}

type rewrite struct {
	strip, prefix string
	regex         *regexp.Regexp
	to            string
	host          string
	method        string        // instead of the client's; "": that
	query         *queryRewrite // nil: as it came
}

func (r *rewrite) path() bool { return r.strip != "" || r.prefix != "" || r.regex != nil }

// poolConf is a pool as one snapshot sees it: the live pool, and numbers that no state depends on.
type poolConf struct {
	*pool
	conf       *config.Pool
	balance    balancer.Config
	header     time.Duration // to the response's header
	idle       time.Duration // between two pieces of its body
	total      time.Duration
	maxTunnels int // that may be open
	attempts   int
	retryOn    retryOn
	backoff    time.Duration
	hashOn     int // dimension, or -1
	gateConf   shaping.GateConfig
	tuningConf shaping.EstimatorConfig // of no meaning if fixed
	fixed      bool                    // the gate has as many seats as gateConf says
	dial       *dialConf
}

// longStall is how long an endpoint may take nothing, or say nothing, when nothing is configured.
const longStall = 5 * time.Minute

// stall is how long an endpoint may take nothing of a request.
func (p *poolConf) stall() time.Duration {
	if p.idle > 0 {
		return p.idle
	}
	return longStall
}

type retryOn struct {
	connect, reset, timeout bool
	status                  [600]bool
	codes                   codeSet // of gRPC
}
