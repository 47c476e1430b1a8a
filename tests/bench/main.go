// Command bench measures weir beside its peers on one machine, in one run.
//
//	bench h1      CPU per request, throughput and latency beside nginx, haproxy and a bare fasthttp proxy
//	bench protocols  HTTP/2, gRPC and cache hits beside nginx and haproxy
//	bench reload  reload of 10,000 routes and 1,000 policies under load
//	bench pgo     a CPU profile of weir under the load of h1, for profile-guided optimisation
//	bench fleet   gateways that share limits: what they admit, send each other and cost
//	bench idle    what idle WebSockets and event streams take of memory
//	bench load    a constant-rate load on addresses that serve already, and what they answered
//
// Linux only. nginx, haproxy, wrk and taskset must be installed.
package main

import (
	"context"
	"encoding/gob"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"weir/tests/bench/machine"
)

// options are the flags of all subcommands.
type options struct {
	weir, bare            string
	legs, scenarios       list
	rounds, conns         int
	duration              time.Duration
	rate                  float64
	gatewayCore, loadCore int
	out, repo, title      string
	targets               list
	loadBefore            string // load average when the run began
	header                string
}

// list is a flag of comma-separated words.
type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = strings.Split(s, ","); return nil }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: bench h1|protocols|reload|fleet|idle|pgo|load [flags]; bench h1 -h tells the flags")

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	opt := &options{loadBefore: machine.LoadAverage(), legs: list{"weir", "nginx", "haproxy", "barefasthttp"}, scenarios: list{"pass", "refuse", "latency", "policies"}}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.StringVar(&opt.weir, "weir", "bin/weir", "the weir binary")
	flags.StringVar(&opt.bare, "bare", "bin/barefasthttp", "the bare fasthttp proxy")
	flags.Var(&opt.legs, "legs", "gateways to run; weir=PATH is weir from another binary")
	flags.Var(&opt.scenarios, "scenarios", "what to measure")
	flags.IntVar(&opt.rounds, "rounds", 5, "rounds, each with every gateway")
	flags.DurationVar(&opt.duration, "duration", 5*time.Second, "of one gateway in one round")
	flags.IntVar(&opt.conns, "conns", 64, "keep-alive connections of the load")
	flags.Float64Var(&opt.rate, "rate", 0, "requests per second of constant-rate loads; 0: half of the slowest gateway's peak (latency), 5000 (reload), 150 (load)")
	flags.IntVar(&opt.gatewayCore, "gateway-core", 0, "core of the gateway")
	flags.IntVar(&opt.loadCore, "load-core", 1, "core of the load and the upstream")
	flags.StringVar(&opt.out, "out", "", "file to write to as well: the report (h1, reload) or the profile (pgo)")
	flags.StringVar(&opt.repo, "repo", ".", "git tree that the report names")
	flags.StringVar(&opt.title, "title", "HTTP/1.1: weir beside its peers", "title of the report")
	flags.Var(&opt.targets, "targets", "addresses to load (load)")
	flags.StringVar(&opt.header, "header", "x-user-id: load-test", "header field of the requests (load)")
	if err := flags.Parse(args[1:]); err != nil {
		return errUsage
	}
	switch args[0] {
	case "h1":
		return runH1(ctx, opt)
	case "protocols":
		return runProtocols(ctx, opt)
	case "unary":
		if len(opt.targets) != 1 {
			return errUsage
		}
		return runUnary(ctx, opt.targets[0])
	case "reload":
		return runReload(ctx, opt)
	case "fleet":
		return runFleet(ctx, opt)
	case "idle":
		return runIdle(ctx, opt)
	case "pgo":
		return runPGO(ctx, opt)
	case "load":
		return runLoad(opt)
	case "pace":
		return runPace()
	}
	return errUsage
}

// runPace is the child process of pacedFrom: a paceConfig comes in, a paceResult goes out.
func runPace() error {
	var cfg paceConfig
	if err := gob.NewDecoder(os.Stdin).Decode(&cfg); err != nil {
		return err
	}
	out, err := pace(cfg)
	if err != nil {
		return err
	}
	return gob.NewEncoder(os.Stdout).Encode(out)
}

// pacedFrom runs a constant-rate load in a process of its own on core.
func pacedFrom(ctx context.Context, core int, cfg paceConfig) (*paceResult, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := pinned(ctx, core, self, "pace")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startPreferred(cmd); err != nil {
		return nil, err
	}
	var out paceResult
	err = gob.NewEncoder(in).Encode(cfg)
	if err == nil {
		err = in.Close()
	}
	if err == nil {
		err = gob.NewDecoder(stdout).Decode(&out)
	}
	return &out, errors.Join(err, cmd.Wait())
}

// rawRequest is the request of the benchmark as bytes.
func rawRequest(path string) []byte {
	var b strings.Builder
	b.WriteString("GET " + path + " HTTP/1.1\r\n")
	for _, h := range requestHeaders {
		b.WriteString(h.name + ": " + h.value + "\r\n")
	}
	b.WriteString("\r\n")
	return []byte(b.String())
}
