// Package grpc calls a gRPC server through the real binary: the cases of gRPC's own interoperability suite, and refusals. It is a module of
// its own, so that what the suite needs is none of the gateway's.
package grpc

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"
)

const gateway = `
node: {name: gateway, data_dir: ""}
admin: {address: "127.0.0.1:%[1]d"}
listeners: [{name: web, address: "127.0.0.1:%[2]d"}]
pools:
  - {name: calls, protocol: h2c, endpoints: [{address: "%[3]s"}]}
routes:
  - {name: limited, match: {path: "/grpc.testing.TestService/CacheableUnaryCall"}, pool: calls}
  - {name: all, match: {path: "/*"}, pool: calls}
policies: [{name: one, limit: 1, window: 1h, routes: [limited]}]
telemetry: {access_log: {output: "off"}}
`

// calls starts a server and a gateway before it, and returns a connection to the gateway.
func calls(t *testing.T) *grpc.ClientConn {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(s, interop.NewTestServer())
	go s.Serve(ln) //nolint:errcheck // it ends with Stop
	t.Cleanup(s.Stop)
	dir, ports := t.TempDir(), freePorts(t, 2)
	conf := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(conf, fmt.Appendf(nil, gateway, ports[0], ports[1], ln.Addr()), 0o600); err != nil {
		t.Fatal(err)
	}
	start(t, dir, conf)
	cc, err := grpc.NewClient(fmt.Sprintf("passthrough:127.0.0.1:%d", ports[1]), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cc.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := testgrpc.NewTestServiceClient(cc).EmptyCall(ctx, &testgrpc.Empty{}, grpc.WaitForReady(true)); err != nil {
		t.Fatal(err)
	}
	return cc
}

// TestInterop runs the suite's cases that need no credentials of a cloud. A case that fails ends the process and says why.
func TestInterop(t *testing.T) {
	cc := calls(t)
	c := testgrpc.NewTestServiceClient(cc)
	for _, f := range []func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption){
		interop.DoEmptyUnaryCall, interop.DoLargeUnaryCall, interop.DoClientStreaming, interop.DoServerStreaming, interop.DoPingPong,
		interop.DoEmptyStream, interop.DoTimeoutOnSleepingServer, interop.DoCancelAfterBegin, interop.DoCancelAfterFirstResponse,
		interop.DoCustomMetadata, interop.DoStatusCodeAndMessage, interop.DoSpecialStatusMessage,
	} {
		for range 5 {
			f(t.Context(), c)
		}
	}
	interop.DoUnimplementedService(t.Context(), testgrpc.NewUnimplementedServiceClient(cc))
	interop.DoUnimplementedMethod(t.Context(), cc)
}

// TestRefusals: what the gateway refuses is a status of gRPC, which says why.
func TestRefusals(t *testing.T) {
	cc := calls(t)
	c := testgrpc.NewTestServiceClient(cc)
	if _, err := c.CacheableUnaryCall(t.Context(), &testgrpc.SimpleRequest{}); status.Code(err) == codes.ResourceExhausted {
		t.Errorf("the first call: %v", err)
	}
	_, err := c.CacheableUnaryCall(t.Context(), &testgrpc.SimpleRequest{})
	if s := status.Convert(err); s.Code() != codes.ResourceExhausted || !strings.Contains(s.Message(), "policy one allows 1 per 1h") {
		t.Errorf("over the limit: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	stream, err := c.FullDuplexCall(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("no answer in time: %v", err)
	}
}

// binary is the gateway, built once.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "weir-grpc")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "weir")
	build := exec.Command("go", "build", "-o", binary, ".")
	build.Dir = filepath.Join("..", "..")
	code := 1
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
	} else {
		code = m.Run()
	}
	os.RemoveAll(dir) //nolint:errcheck // it is in the directory for such files
	os.Exit(code)
}

// start runs the gateway until the test ends.
func start(t *testing.T, dir, conf string) {
	cmd := exec.Command(binary, "run", "-c", conf)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM) //nolint:errcheck // Wait tells
		if err := cmd.Wait(); err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
}

// freePorts returns ports that nobody listens on, outside the range that outgoing connections use: one of them could take it meanwhile.
func freePorts(t *testing.T, n int) (ports []int) {
	for tries := 0; len(ports) < n; tries++ {
		port := 12000 + rand.IntN(20000)
		ln, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			defer ln.Close()
			ports = append(ports, port)
		} else if tries > 1000 {
			t.Fatal(err)
		}
	}
	return ports
}
