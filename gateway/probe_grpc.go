package gateway

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// The health service of gRPC (grpc.health.v1), its two messages written and read by hand: HealthCheckRequest{string service = 1} and
// HealthCheckResponse{ServingStatus status = 1}.
const (
	healthCheck   = "/grpc.health.v1.Health/Check"
	healthAnswer  = 1 << 10 // bytes; the message has two
	fieldString   = 1<<3 | 2
	fieldVarint   = 1 << 3
	healthServing = 1
)

var servingNames = [...]string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}

// askHealth asks the health service at base about a service, and returns why it is not well.
func askHealth(ctx context.Context, t http.RoundTripper, base, service string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+healthCheck, bytes.NewReader(appendHealthRequest(nil, service)))
	if err != nil {
		return err
	}
	req.Header = http.Header{"User-Agent": {"weir-health"}, "Content-Type": {"application/grpc"}, "Te": {"trailers"}}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || !isGRPC(resp.Header.Get("Content-Type")) {
		return fmt.Errorf("status %d: no answer of gRPC", resp.StatusCode)
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, healthAnswer))
	if err != nil {
		return err
	}
	fields := resp.Trailer
	if resp.Header.Get("Grpc-Status") != "" { // trailers alone
		fields = resp.Header
	}
	return judgeHealth(b, fields, service)
}

// judgeHealth reads the answer's body and the fields behind it.
func judgeHealth(body []byte, fields http.Header, service string) error {
	switch c := parseCode(fields.Get("Grpc-Status")); c {
	case codeOK:
	case codeUnimplemented:
		return errors.New("the endpoint has no grpc.health.v1.Health: register one there, or probe by path")
	case codeNotFound:
		return fmt.Errorf("the endpoint's health service knows no service %q", service)
	default:
		text, err := url.PathUnescape(fields.Get("Grpc-Message"))
		if err != nil || len(text) > 200 {
			text = "no message"
		}
		return fmt.Errorf("grpc status %d: %q", c.number(), text)
	}
	status, ok := parseHealthResponse(body)
	switch {
	case !ok:
		return errors.New("the health service's answer is malformed")
	case status != healthServing && status < uint64(len(servingNames)):
		return errors.New(servingNames[status])
	case status != healthServing:
		return fmt.Errorf("serving status %d", status)
	}
	return nil
}

// appendHealthRequest appends the message with its prefix.
func appendHealthRequest(b []byte, service string) []byte {
	var m []byte
	if service != "" {
		m = append(m, fieldString)
		m = binary.AppendUvarint(m, uint64(len(service)))
		m = append(m, service...)
	}
	b = append(b, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(len(m)))
	return append(b, m...)
}

// parseHealthResponse reads one message that is not compressed, without fields that nobody knows yet. No status is 0, UNKNOWN.
func parseHealthResponse(b []byte) (status uint64, ok bool) {
	if len(b) < grpcPrefix || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-grpcPrefix) {
		return 0, false
	}
	for b = b[grpcPrefix:]; len(b) > 0; {
		if b[0] != fieldVarint {
			return 0, false
		}
		v, n := binary.Uvarint(b[1:])
		if n <= 0 {
			return 0, false
		}
		status, b = v, b[1+n:]
	}
	return status, true
}
