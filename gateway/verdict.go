package gateway

import (
	"time"

	"weir/limiter"
)

// Reason is the pipeline's answer to "may this request pass, and if not, why". Zero is Pass.
type Reason uint8

// The reasons. Their tokens are what Weir-Reason, logs and metrics show.
const (
	Pass Reason = iota
	Limited
	QueueFull
	QueueTimeout
	BreakerOpen
	NoEndpoint
	NoRoute
	BadRequest
	TooLarge
	UpstreamError
	UpstreamTimeout
	RequestTimeout
	ClientGone
	Internal
	Unauthenticated
	NoStore
	Shed
	reasons
)

type reasonInfo struct {
	token, title string
	status       int
}

var reasonTable = [reasons]reasonInfo{
	Pass:            {"", "OK", 200},
	Limited:         {"limited", "Quota exceeded", 429},
	QueueFull:       {"queue_full", "Too many requests are waiting", 503},
	QueueTimeout:    {"queue_timeout", "No room in time", 503},
	BreakerOpen:     {"breaker_open", "The upstream is failing and is given a rest", 503},
	NoEndpoint:      {"no_endpoint", "No endpoint is available", 503},
	NoRoute:         {"no_route", "No route matches", 404},
	BadRequest:      {"bad_request", "Bad request", 400},
	TooLarge:        {"too_large", "Too large", 413},
	UpstreamError:   {"upstream_error", "The upstream failed", 502},
	UpstreamTimeout: {"upstream_timeout", "The upstream took too long", 504},
	RequestTimeout:  {"request_timeout", "The request took too long to arrive", 408},
	ClientGone:      {"client_gone", "The client went away", 499},
	Internal:        {"internal", "Internal error", 500},
	Shed:            {"shed", "Too much to do", 503},
	NoStore:         {"no_store", "The store of a limit does not answer", 503},
	Unauthenticated: {"unauthenticated", "The token is not valid", 401},
}

// String returns the reason's token; empty for Pass.
func (r Reason) String() string { return reasonTable[r].token }

// Verdict is why a request is answered by the gateway itself. Status, body, headers, log line and metrics are all read
// from this one value, so that they cannot disagree. The zero value is Pass.
type Verdict struct {
	Reason   Reason
	Status   int              // 0: the reason's usual one
	Detail   string           // for people; never holds what a client sent unescaped, nor a secret
	Policy   *policy          // Limited: the one that refused
	Variant  *variant         // Limited: by which of its numbers
	Decision limiter.Decision // Limited
	Retry    time.Duration    // Shed: when to come back
	Close    bool             // the connection cannot be used again
}

func (v *Verdict) status() int {
	if v.Status != 0 {
		return v.Status
	}
	return reasonTable[v.Reason].status
}
