package gateway

import (
	"net/netip"
	"time"

	"weir/balancer"
	"weir/gateway/cache"
	"weir/gateway/route"
	"weir/internal/mono"
	"weir/shaping"
	"weir/telemetry"
)

// maxDimensions bounds the dimensions of a configuration, so that an exchange can remember their values without a map.
const maxDimensions = 64

// Exchange is one request and its answer. It holds at most three things that must be given back: charge, seat and lease.
// It is pooled; strings in it are views of the carrier's buffers that die when it is settled.
type Exchange struct {
	gw    *Gateway
	snap  *Snapshot // loaded once
	car   carrier
	route *entry
	pool  *pool
	conf  *poolConf

	start, due mono.Time     // due: when the response head must be there; 0 is never
	begun      mono.Time     // when the current attempt began
	headAt     mono.Time     // when the response head was there
	hasty      bool          // due is the client's own
	patience   patience      // how the client said so
	queued     time.Duration // waited for a seat
	waited     time.Duration // for limits

	peerText *peerText
	peer     netip.Addr // who speaks, after the trusted-proxy rules
	trusted  bool       // the connection comes from a trusted proxy
	secure   bool

	dims dimValues
	hint uint64

	charge   bill
	uses     []use // the policies in charge, in its order
	seat     shaping.Seat
	lease    balancer.Lease
	download paced // of the answer's body
	upload   paced // of the request's
	priority priority
	off      uint32 // features that are done without
	checking bool   // no request is served: a check asks for tokens units
	tokens   int64  // instead of what the policies would charge
	key      string // who a check asks for
	token    bearer
	capture  capture
	cached   *caching // nil: the cache has no part in it
	spare    *caching // the memory of an earlier one

	tagged    bool // over a limit whose policy only tells the endpoint
	settles   bool // some policy's cost is known by the response only
	wantsJSON bool // it stands in the response's JSON
	seated    bool // some policy counts it as in progress
	gone      bool // the client left while it waited for a limit

	code     code // of gRPC, that the client got
	watched  bool // the pieces of the answer matter to what is counted of it
	messages messages

	tried    balancer.Set
	tries    int
	fellBack bool
	consoled bool // by the answer of a fallback
	verdict  Verdict
	result   Result
	sent     bool // some attempt may have reached an endpoint
	settled  bool

	endpoint string // name of the last one tried, for the log
	cell     *telemetry.Endpoint

	requestID [40]byte
	idLen     int
	traceID   [16]byte
	parent    [8]byte
	flags     byte
	traced    bool

	reply Reply  // what the gateway answers itself
	text  []byte // its body
	frame []byte // dimension values on their way to a hash

	answered       int   // status sent to the client
	bytesIn        int64 // of the request body
	bytesOut       int64 // of the response body
	messagesIn     int64 // of a WebSocket, from the client
	messagesOut    int64 // to it; also the events of an event stream
	closeCode      int   // of a WebSocket
	ended          ending
	slot           *pool // whose tunnels this is one of; nil: it is none
	responseFailed string
}

// carrier is what a protocol does for the pipeline. It belongs to one exchange and to one goroutine.
type carrier interface {
	route.Head
	Proto() string

	// Field returns the first header field of that lower-case name as a view; of cookie all, as one list.
	Field(name string) (string, bool)
	RawQuery() string
	Authority() string // Host as it came
	ClientCN() string  // common name of the verified client certificate

	// SentField returns value i of the fields of that lower-case name that an endpoint gets, but for what the route adds, and how many
	// there are up to that one.
	SentField(name string, i int) (value string, n int)
	// AppendClaims appends what fields of proxies say of host, scheme, port and prefix, but for that host and a usual scheme, given once.
	AppendClaims(dst, host []byte) []byte
	// Diverts reports whether the request has a field by which some endpoints take it for another than its line says.
	Diverts() bool
	// BareQuery reports whether the request's target ends in a question mark.
	BareQuery() bool
	// Bodiless, Upgrades and Certified report whether the request has no body, asks to leave HTTP, and comes with a client certificate.
	Bodiless() bool
	Upgrades() bool
	Certified() bool

	// ResponseField returns the first header field of that lower-case name of the answer that the last Attempt brought.
	ResponseField(name string) (string, bool)
	// Received returns the head of that answer, as a view.
	Received() cache.Response
	// Gone reports whether the client has closed its side.
	Gone() bool
	// Replayable reports whether the whole request can be sent once more.
	Replayable() bool
	// Held is the length of a request body that is whole in memory; 0 if it is not.
	Held() int64
	// Prepare makes the body ready before the first attempt: small ones are read whole.
	Prepare(x *Exchange) Verdict
	// Attempt sends the request to an endpoint and waits for the response's head.
	Attempt(x *Exchange, e *balancer.Endpoint) Result
	// Recast reads and changes the response that the last Attempt brought, if its route changes what such a one holds.
	Recast(x *Exchange) Verdict
	// Discard drops the response that the last Attempt brought.
	Discard()
	// Abort ends what the last Attempt holds, and the client's connection.
	Abort()
	// Deliver sends the response that the last Attempt brought, to its end.
	Deliver(x *Exchange)
	// Answer sends a reply of the gateway's own. It leaves the connection in sync, or closes it.
	Answer(x *Exchange, r *Reply)
	// Serve sends what the cache has. It leaves the connection in sync, or closes it.
	Serve(x *Exchange, a *cache.Answer)
	// Copy appends the whole request as an endpoint would get it, if it is in memory.
	Copy(dst []byte) ([]byte, bool)
}

// reset makes x ready for the next request.
func (x *Exchange) reset() {
	gw, car, secure := x.gw, x.car, x.secure
	clear(x.uses)
	x.uses = x.uses[:0]
	x.charge.Reset()
	x.capture.reset()
	x.token = bearer{}
	x.dims.reset()
	if c := x.cached; c != nil {
		c.reset()
		x.cached, x.spare = nil, c
	}
	x.gw, x.car, x.secure = gw, car, secure
	x.snap, x.route, x.pool, x.conf, x.cell = nil, nil, nil, nil, nil
	x.start, x.due, x.begun, x.headAt, x.queued, x.waited = 0, 0, 0, 0, 0, 0
	x.hint, x.tries, x.priority = 0, 0, normal
	x.hasty, x.patience, x.off = false, patience{}, 0
	x.tagged, x.settles, x.wantsJSON, x.seated, x.gone = false, false, false, false, false
	x.seat, x.lease = shaping.Seat{}, balancer.Lease{}
	x.code, x.watched = noCode, false
	x.messages.reset()
	x.tried.Reset()
	x.fellBack, x.consoled, x.sent, x.settled, x.traced = false, false, false, false, false
	x.verdict, x.result = Verdict{}, Result{}
	x.endpoint, x.responseFailed = "", ""
	x.idLen, x.flags = 0, 0
	x.reply.Body = nil
	x.answered, x.bytesIn, x.bytesOut = 0, 0, 0
	x.messagesIn, x.messagesOut, x.closeCode, x.ended = 0, 0, 0, notEnded
}

// Dimension returns the value of dimension i of the snapshot, and whether the request has one. It is worked out once; while
// the route is not known yet, what may depend on it is not remembered.
func (x *Exchange) Dimension(i int) (string, bool) {
	d := &x.dims
	if d.known&(1<<i) != 0 {
		return d.values[i], d.has&(1<<i) != 0
	}
	dim := &x.snap.dims[i]
	v, ok := dim.value(x)
	if x.route == nil && (dim.from == fromRoute || dim.from == fromExpr) {
		return v, ok
	}
	d.known |= 1 << i
	if ok {
		d.has |= 1 << i
		d.values[i] = v
	}
	return v, ok
}

// dimValues remembers dimensions that were asked for.
type dimValues struct {
	known, has uint64
	values     [maxDimensions]string
}

// set makes v the value of a dimension.
func (d *dimValues) set(i int, v string) {
	d.known |= 1 << i
	d.has |= 1 << i
	d.values[i] = v
}

func (d *dimValues) reset() {
	for i := 0; d.has != 0; i++ {
		if d.has&1 != 0 {
			d.values[i] = ""
		}
		d.has >>= 1
	}
	d.known = 0
}

// The methods that route.Head and expr.Request ask for.

// Method returns the request's method.
func (x *Exchange) Method() string { return x.car.Method() }

// Host returns the request's host in lower case without port.
func (x *Exchange) Host() string { return x.car.Host() }

// Path returns the normalised path.
func (x *Exchange) Path() string { return x.car.Path() }

// Header returns the first header field of that lower-case name.
func (x *Exchange) Header(name string) (string, bool) { return x.car.Field(name) }

// Query returns the first query parameter of that name, decoded.
func (x *Exchange) Query(name string) (string, bool) { return x.car.Query(name) }
