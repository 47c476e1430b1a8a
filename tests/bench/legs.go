package main

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"text/template"
)

//go:embed templates
var templates embed.FS

// requestPath and requestHeaders are the one request of the benchmark. All gateways get the same.
const requestPath = "/v1/orders/17"

var requestHeaders = []struct{ name, value string }{
	{"Host", "api.example.com"},
	{"x-api-key", "k-3f9a1c77e2"},
	{"x-user-id", "12345"},
	{"x-tenant", "acme"},
}

// settings is what the configuration templates are filled with.
type settings struct {
	Dir      string  // of logs and temporary files
	Listen   int     // port of the gateway
	Admin    int     // port of the gateway's admin API
	Upstream int     // port of the upstream
	Refuse   bool    // the limit refuses nearly everything
	Extra    []int   // numbers of routes that no request takes
	Others   []other // policies that never apply
	HTTP2    bool    // clients speak it: by prior knowledge, with TLS by ALPN
	TLS      bool    // the certificate is Dir/cert.pem, its key Dir/key.pem, both together Dir/both.pem
	GRPC     bool    // the upstream speaks gRPC over HTTP/2 in clear
	Cache    bool    // answers may be cached, and are
	Large    bool    // answers are of 16 KiB
}

// other is a policy that never applies: it belongs to an extra route, or to a tenant that no request is of.
type other struct {
	N, Route int
	ByValue  bool
}

// leg is one gateway under test.
type leg struct {
	name    string
	address string
	server  *server // nil: the load goes straight to the upstream
}

// rig starts and holds everything that runs during one scenario.
type rig struct {
	opt      *options
	dir      string
	upstream int
	servers  []*server
}

// newRig makes a scratch directory and starts the upstream, as set has it.
func newRig(ctx context.Context, opt *options, set settings) (*rig, error) {
	dir, err := os.MkdirTemp("", "weir-bench-")
	if err != nil {
		return nil, err
	}
	r := &rig{opt: opt, dir: dir}
	if r.upstream, err = freePort(); err != nil {
		return nil, err
	}
	if set.TLS {
		if err := writeCertificate(dir); err != nil {
			return nil, err
		}
	}
	if set.GRPC {
		self, err := os.Executable()
		if err == nil {
			_, err = r.start(ctx, "upstream", opt.loadCore, r.upstream, nil, self, "unary", "-targets", local(r.upstream))
		}
		return r, err
	}
	if set.Large {
		if err := os.WriteFile(filepath.Join(dir, "large.json"), bytes.Repeat([]byte("0123456789abcdef"), 1<<10), 0o644); err != nil {
			return nil, err
		}
	}
	set.Dir, set.Upstream = dir, r.upstream
	file, err := r.write("upstream.conf", "upstream.conf", set)
	if err != nil {
		return nil, err
	}
	_, err = r.start(ctx, "upstream", opt.loadCore, r.upstream, nil, "nginx", "-p", dir, "-e", filepath.Join(dir, "upstream.err"), "-c", file)
	return r, err
}

// close stops every process, the last one first, and removes the scratch directory.
func (r *rig) close() {
	for i := len(r.servers) - 1; i >= 0; i-- {
		r.servers[i].stop()
	}
	_ = os.RemoveAll(r.dir) // a leftover in the temporary directory harms nobody
}

func (r *rig) start(ctx context.Context, name string, core, port int, env []string, args ...string) (*server, error) {
	s, err := startServer(ctx, name, core, local(port), env, args...)
	if err != nil {
		return nil, err
	}
	r.servers = append(r.servers, s)
	return s, nil
}

// write fills a template into a file of the scratch directory and returns its path.
func (r *rig) write(file, name string, set settings) (string, error) {
	t, err := template.ParseFS(templates, "templates/"+name)
	if err != nil {
		return "", err
	}
	path := filepath.Join(r.dir, file)
	f, err := os.Create(path)
	if err != nil {
		return "", err
	}
	if err := t.Execute(f, set); err != nil {
		_ = f.Close() // the error of the template is the one to tell
		return "", err
	}
	return path, f.Close()
}

// gateway starts the gateway called name, pinned to the gateway's core. weir=PATH and barefasthttp=PATH are those gateways from another
// binary, so that two builds can be compared in one run.
func (r *rig) gateway(ctx context.Context, name string, set settings, env ...string) (*leg, error) {
	set.Dir, set.Upstream = r.dir, r.upstream
	var err error
	if set.Listen, err = freePort(); err != nil {
		return nil, err
	}
	if set.Admin, err = freePort(); err != nil {
		return nil, err
	}
	var args []string
	kind, binary, other := strings.Cut(name, "=")
	switch kind {
	case "nginx":
		file, err := r.write("nginx.conf", "nginx.conf", set)
		if err != nil {
			return nil, err
		}
		args = []string{"nginx", "-p", r.dir, "-e", filepath.Join(r.dir, "nginx.err"), "-c", file}
	case "haproxy":
		file, err := r.write("haproxy.cfg", "haproxy.cfg", set)
		if err != nil {
			return nil, err
		}
		args = []string{"haproxy", "-db", "-q", "-f", file}
	case "barefasthttp":
		env = append(env, "GOMAXPROCS=1")
		if !other {
			binary = r.opt.bare
		}
		args = []string{binary, "-listen", local(set.Listen), "-upstream", local(set.Upstream)}
	case "weir":
		file, err := r.write(fmt.Sprintf("weir-%d.yaml", set.Listen), "weir.yaml", set)
		if err != nil {
			return nil, err
		}
		env = append(env, "GOMAXPROCS=1")
		if !other {
			binary = r.opt.weir
		}
		args = []string{binary, "run", "-c", file}
	default:
		return nil, fmt.Errorf("no gateway is called %q: weir, nginx, haproxy or barefasthttp", name)
	}
	s, err := r.start(ctx, name, r.opt.gatewayCore, set.Listen, env, args...)
	if err != nil {
		return nil, err
	}
	return &leg{name: name, address: local(set.Listen), server: s}, nil
}

func local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
