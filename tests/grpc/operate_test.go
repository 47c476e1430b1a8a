package grpc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// peer is a server whose unary calls end as it is told, and whose streams answer each message with one.
type peer struct {
	testgrpc.UnimplementedTestServiceServer
	address string
	code    atomic.Uint32 // of unary calls
	calls   atomic.Int32
	health  *health.Server
	header  atomic.Pointer[metadata.MD] // sent before the status
	trailer atomic.Pointer[metadata.MD]
}

func (p *peer) UnaryCall(ctx context.Context, r *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	p.calls.Add(1)
	if md := p.header.Load(); md != nil {
		grpc.SendHeader(ctx, *md) //nolint:errcheck // the client tells
	}
	if md := p.trailer.Load(); md != nil {
		grpc.SetTrailer(ctx, *md) //nolint:errcheck // as above
	}
	if c := codes.Code(p.code.Load()); c != codes.OK {
		return nil, status.Error(c, "as told")
	}
	return &testgrpc.SimpleResponse{Payload: r.Payload}, nil
}

func (p *peer) FullDuplexCall(s grpc.BidiStreamingServer[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse]) error {
	for {
		r, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.Send(&testgrpc.StreamingOutputCallResponse{Payload: r.Payload}); err != nil {
			return err
		}
	}
}

// serve starts one.
func serve(t *testing.T) *peer {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{address: ln.Addr().String(), health: health.NewServer()}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, p)
	healthpb.RegisterHealthServer(s, p.health)
	go s.Serve(ln) //nolint:errcheck // it ends with Stop
	t.Cleanup(s.Stop)
	return p
}

// through runs a gateway before peers, with these settings of the pool and at the top level, and returns a client with a service config.
func through(t *testing.T, pool, rest, service string, peers ...*peer) (c testgrpc.TestServiceClient, admin string) {
	dir, ports := t.TempDir(), freePorts(t, 2)
	var endpoints []string
	for _, p := range peers {
		endpoints = append(endpoints, fmt.Sprintf("{address: %q}", p.address))
	}
	conf := filepath.Join(dir, "weir.yaml")
	text := fmt.Sprintf(`
node: {name: gateway, data_dir: ""}
admin: {address: "127.0.0.1:%d"}
listeners: [{name: web, address: "127.0.0.1:%d"}]
pools: [{name: calls, protocol: h2c, endpoints: [%s], %s}]
routes: [{name: all, pool: calls}]
telemetry: {access_log: {output: access.log}}
%s`, ports[0], ports[1], strings.Join(endpoints, ", "), pool, rest)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir, conf)
	opts := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if service != "" {
		opts = append(opts, grpc.WithDefaultServiceConfig(service))
	}
	cc, err := grpc.NewClient(fmt.Sprintf("passthrough:127.0.0.1:%d", ports[1]), opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	admin = fmt.Sprintf("http://127.0.0.1:%d", ports[0])
	until(t, "the gateway is ready", func() bool {
		resp, err := http.Get(admin + "/readyz")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == 200
	})
	return testgrpc.NewTestServiceClient(cc), admin
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in time", what)
		}
	}
}

// get reads a page of the admin address.
func get(t *testing.T, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func retries(backoff string, on string) string {
	return fmt.Sprintf(`{"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 2, "initialBackoff": %q, "maxBackoff": %q, "backoffMultiplier": 1, "retryableStatusCodes": [%q]}}]}`, backoff, backoff, on)
}

// TestPushback: a client that retries waits for as long as a refusal says, and not at all where it says never.
func TestPushback(t *testing.T) {
	p := serve(t)
	c, _ := through(t, "", "policies: [{name: one, limit: 1, window: 1s}]", retries("0.001s", "RESOURCE_EXHAUSTED"), p)
	if _, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil || time.Since(began) < 500*time.Millisecond {
		t.Errorf("a limit of one a second: %v after %v", err, time.Since(began))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	var trailer metadata.MD
	_, err := c.UnaryCall(ctx, &testgrpc.SimpleRequest{}, grpc.Trailer(&trailer))
	if status.Code(err) != codes.ResourceExhausted || strings.Join(trailer.Get("grpc-retry-pushback-ms"), "") != "-1" {
		t.Errorf("a client that waits for less than that: %v, %v", err, trailer)
	}
}

// TestNever: what can never succeed is not tried again.
func TestNever(t *testing.T) {
	c, _ := through(t, "", "policies: [{name: one, limit: 1, window: 1h, cost: 2}]", retries("30s", "RESOURCE_EXHAUSTED"), serve(t))
	began := time.Now()
	if _, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); status.Code(err) != codes.ResourceExhausted || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestHealth: a pool follows what the health service of each endpoint says.
func TestHealth(t *testing.T) {
	a, b := serve(t), serve(t)
	c, admin := through(t, `health: {active: {grpc: {service: "shop.Cart"}, interval: 50ms, rise: 1, fall: 1}}`, "", "", a, b)
	serving := func(p *peer, s healthpb.HealthCheckResponse_ServingStatus) { p.health.SetServingStatus("shop.Cart", s) }
	only := func(p, other *peer) {
		t.Helper()
		before := other.calls.Load()
		for range 20 {
			if _, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil {
				t.Fatal(err)
			}
		}
		if p.calls.Load() == 0 || other.calls.Load() != before {
			t.Errorf("%d calls went to the one that does not serve", other.calls.Load()-before)
		}
	}
	healthy := func(p *peer, value string) {
		t.Helper()
		until(t, "healthy "+value, func() bool {
			return strings.Contains(get(t, admin+"/metrics"), fmt.Sprintf("weir_upstream_healthy{endpoint=%q,pool=\"calls\"} %s\n", p.address, value))
		})
	}
	serving(a, healthpb.HealthCheckResponse_SERVING)
	healthy(a, "1")
	healthy(b, "0") // it does not know the service
	only(a, b)
	serving(b, healthpb.HealthCheckResponse_SERVING)
	healthy(b, "1")
	serving(a, healthpb.HealthCheckResponse_NOT_SERVING)
	healthy(a, "0")
	only(b, a)
}

// TestRetry: a unary call that an endpoint was not available for goes to another one, unless that says no, or the call has begun to answer.
func TestRetry(t *testing.T) {
	bad, good := serve(t), serve(t)
	bad.code.Store(uint32(codes.Unavailable))
	c, admin := through(t, "balance: round_robin, retry: {attempts: 2, on: [connect, reset, grpc-unavailable], budget: 100%}, health: {passive: {consecutive_failures: 0, error_rate: 0%}}, breaker: {failure_threshold: 0}", "", "", bad, good)
	f := func(name string, failed int) {
		t.Helper()
		n := 0
		for range 20 {
			if _, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{Payload: &testgrpc.Payload{Body: make([]byte, 5000)}}); err != nil {
				if n++; status.Code(err) != codes.Unavailable {
					t.Error(err)
				}
			}
		}
		if n != failed {
			t.Errorf("%s: %d of 20 failed, want %d", name, n, failed)
		}
	}
	f("trailers alone", 0)
	if bad.calls.Load() == 0 {
		t.Error("nothing went to the bad one")
	}
	if m := get(t, admin+"/metrics"); !strings.Contains(m, `weir_grpc_responses_total{code="OK",route="all"} 20`) {
		t.Error("20 calls are not counted as OK")
	}
	never := metadata.Pairs("grpc-retry-pushback-ms", "-1")
	bad.trailer.Store(&never)
	f("with a pushback of -1", 10)
	bad.trailer.Store(nil)
	begun := metadata.Pairs("x-begun", "1")
	bad.header.Store(&begun)
	f("whose answer had begun", 10)
}

// TestBreaker: calls that fail by grpc-status open the breaker, and later ones are refused at once.
func TestBreaker(t *testing.T) {
	for _, early := range []bool{false, true} {
		p := serve(t)
		p.code.Store(uint32(codes.Unavailable))
		if early {
			md := metadata.Pairs("x-begun", "1")
			p.header.Store(&md)
		}
		c, admin := through(t, "breaker: {failure_threshold: 3, timeout: 10s}, retry: {attempts: 1}, health: {passive: {consecutive_failures: 0, error_rate: 0%}}", "", "", p)
		for range 3 {
			c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}) //nolint:errcheck // it fails
		}
		until(t, "the breaker is open", func() bool {
			return strings.Contains(get(t, admin+"/metrics"), fmt.Sprintf("weir_breaker_state{endpoint=%q,pool=\"calls\"} 2\n", p.address))
		})
		_, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{})
		if status.Code(err) != codes.Unavailable || !strings.Contains(status.Convert(err).Message(), "circuit breaker") || p.calls.Load() != 3 {
			t.Errorf("%v after %d calls", err, p.calls.Load())
		}
	}
}

// TestMessages: streams cost what messages passed, to the message.
func TestMessages(t *testing.T) {
	c, admin := through(t, "", `policies: [{name: messages, algorithm: fixed_window, limit: 100000, window: 8760h, settle: "request.messages + response.messages"}]`, "", serve(t))
	spent := func(want int) {
		t.Helper()
		until(t, fmt.Sprintf("%d messages", want), func() bool {
			resp, err := http.Post(admin+"/api/v1/check", "application/json", strings.NewReader(`{"tokens": 0, "key": "x"}`))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			b, _ := io.ReadAll(resp.Body)
			return strings.Contains(string(b), fmt.Sprintf(`"remaining": %d,`, 100_000-want))
		})
	}
	if _, err := c.UnaryCall(t.Context(), &testgrpc.SimpleRequest{}); err != nil {
		t.Fatal(err)
	}
	spent(2)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	talk := func(ctx context.Context, n, size int) grpc.BidiStreamingClient[testgrpc.StreamingOutputCallRequest, testgrpc.StreamingOutputCallResponse] {
		s, err := c.FullDuplexCall(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range n {
			if err := s.Send(&testgrpc.StreamingOutputCallRequest{Payload: &testgrpc.Payload{Body: make([]byte, size)}}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Recv(); err != nil {
				t.Fatal(err)
			}
		}
		return s
	}
	s := talk(t.Context(), 50, 30_000)
	s.CloseSend() //nolint:errcheck // the end tells
	if _, err := s.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	spent(102)
	talk(ctx, 7, 10)
	cancel()
	spent(116)
}
