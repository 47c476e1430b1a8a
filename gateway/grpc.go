package gateway

import "strconv"

// Status codes of gRPC that the gateway answers with.
const (
	grpcCancelled         = 1
	grpcDeadlineExceeded  = 4
	grpcResourceExhausted = 8
	grpcUnimplemented     = 12
	grpcInternal          = 13
	grpcUnavailable       = 14
	grpcUnauthenticated   = 16
)

// grpcCodes is what a refusal is to a gRPC client. Only what may be tried again as it is, is unavailable.
var grpcCodes = [reasons]int{
	Limited: grpcResourceExhausted, TooLarge: grpcResourceExhausted,
	QueueFull: grpcUnavailable, QueueTimeout: grpcUnavailable, Shed: grpcUnavailable, NoStore: grpcUnavailable,
	BreakerOpen: grpcUnavailable, NoEndpoint: grpcUnavailable, UpstreamError: grpcUnavailable,
	UpstreamTimeout: grpcDeadlineExceeded, RequestTimeout: grpcDeadlineExceeded,
	NoRoute: grpcUnimplemented, BadRequest: grpcInternal, Internal: grpcInternal,
	ClientGone: grpcCancelled, Unauthenticated: grpcUnauthenticated,
}

// isGRPC reports whether a content type is gRPC's.
func isGRPC(contentType string) bool {
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && contentType[:len(grpc)] == grpc &&
		(len(contentType) == len(grpc) || contentType[len(grpc)] == '+' || contentType[len(grpc)] == ';')
}

// speaksGRPC reports whether the client reads grpc-status rather than the status of HTTP.
func (x *Exchange) speaksGRPC() bool {
	if x.car.Proto() != "HTTP/2.0" {
		return false
	}
	v, _ := x.car.Field("content-type")
	return isGRPC(v)
}

// refuseGRPC makes r, whose header fields are those of any refusal but for the type of a body, an answer of trailers alone.
func (x *Exchange) refuseGRPC(r *Reply, v *Verdict) {
	code := grpcCodes[v.Reason]
	if v.Reason == Unauthenticated && v.Status != 0 { // there are no keys yet to tell
		code = grpcUnavailable
	}
	h := append(r.Head, "Content-Type: application/grpc\r\nGrpc-Status: "...)
	h = strconv.AppendInt(h, int64(code), 10)
	h = append(h, "\r\nGrpc-Message: "...)
	h = appendGRPCMessage(h, reasonTable[v.Reason].title)
	switch {
	case v.Policy != nil:
		h = appendGRPCMessage(append(h, ": policy "...), v.Policy.name)
		h = appendGRPCMessage(append(h, " allows "...), v.Variant.allows)
	case v.Detail != "":
		h = appendGRPCMessage(append(h, ": "...), v.Detail)
	}
	r.Head = append(h, "\r\n"...)
	r.Status, r.Body = 200, nil
}

// appendGRPCMessage percent-encodes s as gRPC over HTTP/2 asks for.
func appendGRPCMessage[T string | []byte](b []byte, s T) []byte {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c > '~' || c == '%' {
			b = append(b, '%', hex[c>>4], hex[c&15])
		} else {
			b = append(b, c)
		}
	}
	return b
}
