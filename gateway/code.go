package gateway

import "strconv"

// code is a status of gRPC. Zero is none: whatever it is of is no call.
type code uint8

// The statuses, in the order of their numbers, which begin with 0 for codeOK.
const (
	noCode code = iota
	codeOK
	codeCancelled
	codeUnknown
	codeInvalidArgument
	codeDeadlineExceeded
	codeNotFound
	codeAlreadyExists
	codePermissionDenied
	codeResourceExhausted
	codeFailedPrecondition
	codeAborted
	codeOutOfRange
	codeUnimplemented
	codeInternal
	codeUnavailable
	codeDataLoss
	codeUnauthenticated
	codeAwaited // of a call whose status comes behind the body of its answer
)

// number is the status as grpc-status says it. It must be one.
func (c code) number() int { return int(c) - 1 }

// known reports whether c is a status.
func (c code) known() bool { return noCode < c && c < codeAwaited }

// parseCode reads a grpc-status. What is none is codeUnknown, as clients take it.
func parseCode(s string) code {
	if n, err := strconv.ParseUint(s, 10, 16); err == nil && n < uint64(codeAwaited-codeOK) {
		return codeOK + code(n)
	}
	return codeUnknown
}

// unwell reports whether a status says that what stands behind an endpoint is: those that are 503 and 504 in HTTP. Internal and unknown are
// 500, and as there most often the call's own fault.
func (c code) unwell() bool { return c == codeUnavailable || c == codeDeadlineExceeded }

// unserved reports whether a call with that status was left off early, so that the time it took says nothing of load.
func (c code) unserved() bool {
	return c == codeCancelled || c == codeResourceExhausted || c.unwell()
}

// fails reports whether a status is one of those that are 5xx in HTTP.
func (c code) fails() bool {
	switch c {
	case codeUnknown, codeUnimplemented, codeInternal, codeDataLoss:
		return true
	}
	return c.unwell()
}

// codeSet is a set of statuses.
type codeSet uint32

func (s codeSet) has(c code) bool { return s&(1<<c) != 0 }

// retryCodes are the statuses that retry.on may name.
var retryCodes = map[string]code{
	"grpc-cancelled": codeCancelled, "grpc-deadline-exceeded": codeDeadlineExceeded, "grpc-internal": codeInternal,
	"grpc-resource-exhausted": codeResourceExhausted, "grpc-unavailable": codeUnavailable,
}
