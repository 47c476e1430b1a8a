package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"time"

	"weir/tests/bench/machine"
)

const (
	h2About = "Clients speak HTTP/2, the upstream HTTP/1.1: every request is routed, passes the limits and is answered by the upstream. " +
		"h2load with 8 connections and 8 requests in flight on each."
	grpcAbout = "Unary gRPC calls, HTTP/2 in clear on both sides: a message of 110 bytes each way, grpc-status in the trailers. The upstream is a server that " +
		"answers nothing else. h2load with 8 connections and 8 calls in flight on each."
	cacheAbout = "Every answer comes from the gateway's cache. HTTP/1.1, wrk with 64 keep-alive connections. weir's hits pass its limits, and are counted and logged like other requests; " +
		"nginx has `limit_req` before its `proxy_cache` (files, in the page cache of the system; sendfile and open_file_cache are on), haproxy its stick table before its cache."
)

// protocols are the scenarios of runProtocols, by name.
func protocols(opt *options) map[string]scenario {
	return map[string]scenario{
		"h2c":   {name: "HTTP/2 in clear", about: h2About, settings: settings{HTTP2: true}, load: h2Load("http://", false)},
		"h2":    {name: "HTTP/2 over TLS", about: h2About + " TLS 1.3, one handshake for each connection.", settings: settings{HTTP2: true, TLS: true}, load: h2Load("https://", false)},
		"grpc":  {name: "gRPC, unary", about: grpcAbout, settings: settings{HTTP2: true, GRPC: true}, load: h2Load("http://", true)},
		"cache": {name: "Cache hits, 110 bytes", about: cacheAbout, settings: settings{Cache: true}},
		"large": {name: "Cache hits, 16 KiB", about: "The same with larger answers.", settings: settings{Cache: true, Large: true}},
	}
}

// runProtocols measures HTTP/2, gRPC and cache hits, and writes the report.
func runProtocols(ctx context.Context, opt *options) error {
	by := loads{"Loads are as fast as they get answers.", []string{wrkVersion(), machine.Version("h2load", "--version")}, "bench-protocols"}
	var tables []*table
	known := protocols(opt)
	for _, name := range opt.scenarios {
		sc, ok := known[name]
		if !ok {
			return fmt.Errorf("no scenario is called %q: h2c, h2, grpc, cache or large", name)
		}
		sc.peer, sc.legs, sc.verify = "nginx", opt.legs, noErrors
		t, err := measure(ctx, opt, sc)
		if err != nil {
			fmt.Print(render(opt, tables, by)) // what is known so far; the file is not written
			return fmt.Errorf("scenario %s: %w", name, err)
		}
		tables = append(tables, t)
	}
	report := render(opt, tables, by)
	fmt.Print(report)
	if opt.out == "" {
		return nil
	}
	return os.WriteFile(opt.out, []byte(report), 0o644)
}

// h2Load is a load over HTTP/2; its requests are gRPC calls if unary is set.
func h2Load(scheme string, unary bool) loader {
	return func(ctx context.Context, opt *options, l *leg, d time.Duration) (wrkResult, error) {
		body := ""
		if unary {
			f, err := os.CreateTemp("", "weir-bench-message-")
			if err != nil {
				return wrkResult{}, err
			}
			defer os.Remove(f.Name()) //nolint:errcheck // a leftover in the temporary directory harms nobody
			if _, err := f.Write(message()); err != nil {
				return wrkResult{}, err
			}
			if err := f.Close(); err != nil {
				return wrkResult{}, err
			}
			body = f.Name()
		}
		return runH2load(ctx, opt.loadCore, scheme+l.address+requestPath, body, d)
	}
}

// writeCertificate writes cert.pem, key.pem and both.pem (both in one file) into dir: ECDSA P-256, for api.example.com and 127.0.0.1.
func writeCertificate(dir string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	about := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "api.example.com"}, DNSNames: []string{"api.example.com", "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	der, err := x509.CreateCertificate(rand.Reader, about, about, key.Public(), key)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
	for name, b := range map[string][]byte{"cert.pem": cert, "key.pem": private, "both.pem": append(append([]byte{}, cert...), private...)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			return err
		}
	}
	return nil
}
