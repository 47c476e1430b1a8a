package gateway

import (
	"weir/balancer"
)

// Fault is what went wrong in one attempt at an endpoint. Zero is nothing: there is a response head.
type Fault uint8

// The faults of attempts.
const (
	NoFault        Fault = iota
	FaultConnect         // no connection: nothing was sent
	FaultHandshake       // a connection, but no trust in it: nothing was sent
	FaultReset           // the connection ended before a response head
	FaultTimeout         // no response head in time
	FaultProtocol        // the answer was not HTTP as it must be
	FaultClient          // the client went away, or its body was malformed or too slow
	FaultAborted         // the gateway gave up, for a reason of its own
)

var faultDetail = [...]string{
	FaultConnect:   "the endpoint could not be connected",
	FaultHandshake: "the TLS handshake with the endpoint failed",
	FaultReset:     "the endpoint closed the connection without an answer",
	FaultTimeout:   "the endpoint did not answer in time",
	FaultProtocol:  "the endpoint's answer was malformed",
	FaultClient:    "the client went away",
	FaultAborted:   "the request was given up",
}

// Result is how one attempt ended: with a response head that waits to be delivered, or with a fault.
type Result struct {
	Status int
	Fault  Fault
	Rest   bool   // the endpoint asked to be left alone for a while
	Sent   bool   // bytes of the request may have reached the endpoint
	code   code   // of a gRPC call
	Error  string // for the log
	Client Verdict
}

// outcome is what the balancer learns of a result. Statuses 502 to 504 say that what stands behind the endpoint is unwell, and so do those of
// gRPC that mean the same; a 500 is most often the request's own fault: it counts as an answer.
func (r *Result) outcome() balancer.Outcome {
	switch {
	case r.Fault == FaultClient || r.Fault == FaultAborted:
		return balancer.Ignore
	case r.Fault != NoFault:
		return balancer.Fault
	case r.Status >= 502 && r.Status <= 504 || r.code.unwell():
		return balancer.Failure
	}
	return balancer.Success
}

// verdict turns a fault into what the client is told.
func (r *Result) verdict() Verdict {
	switch r.Fault {
	case FaultConnect: // nobody is there, as far as this request could find out
		return Verdict{Reason: NoEndpoint, Detail: faultDetail[r.Fault]}
	case FaultTimeout:
		return Verdict{Reason: UpstreamTimeout, Detail: faultDetail[r.Fault]}
	case FaultClient:
		if r.Client.Reason != Pass {
			return r.Client
		}
		return Verdict{Reason: ClientGone, Detail: faultDetail[r.Fault], Close: true}
	}
	return Verdict{Reason: UpstreamError, Detail: faultDetail[r.Fault]}
}
