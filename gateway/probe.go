package gateway

import (
	"context"
	cryptotls "crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"

	"weir/balancer"
	"weir/config"
)

// probeConf is what an active health check asks and what it takes for good.
type probeConf struct {
	path   string
	expect []config.StatusRange
	grpc   *config.GRPCHealth // instead
}

// setProbe takes over the pool's health check.
func (p *pool) setProbe(c *config.Pool) error {
	expect, err := config.ParseStatuses(c.Health.Active.Expect)
	if err != nil {
		return fmt.Errorf("health.active.expect: %w", err)
	}
	p.probe.Store(&probeConf{path: c.Health.Active.Path, expect: expect, grpc: c.Health.Active.GRPC})
	return nil
}

// probeEndpoint asks once, over a connection of its own: a health check that shares a connection with requests would
// report their queue, not the endpoint.
func (p *pool) probeEndpoint(ctx context.Context, e *balancer.Endpoint) error {
	pc := p.probe.Load()
	t, base := p.probeTransport(e)
	if pc.grpc != nil {
		return askHealth(ctx, t, base, pc.grpc.Service)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+pc.path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "weir-health")
	resp, err := t.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) //nolint:errcheck // the status is what counts
	for _, r := range pc.expect {
		if r.From <= resp.StatusCode && resp.StatusCode <= r.To {
			return nil
		}
	}
	return fmt.Errorf("status %d", resp.StatusCode)
}

// probeTransport makes a connection of its own to e, as the pool's are, for requests to base and below.
func (p *pool) probeTransport(e *balancer.Endpoint) (t *http.Transport, base string) {
	d := p.dial.Load()
	t = &http.Transport{
		DisableKeepAlives: true, DisableCompression: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "tcp", e.Address())
		},
	}
	scheme := "http"
	if d.protocol == "h2c" {
		t.Protocols = new(http.Protocols)
		t.Protocols.SetUnencryptedHTTP2(true)
	}
	if d.tls != nil {
		scheme = "https"
		cfg := d.tls.Clone()
		if d.serverName == "" {
			cfg.ServerName = e.Value.(*upstream).host
		}
		t.TLSClientConfig = cfg
		if t.ForceAttemptHTTP2 = d.multiplexes(); !t.ForceAttemptHTTP2 {
			t.TLSNextProto = map[string]func(string, *cryptotls.Conn) http.RoundTripper{}
		}
	}
	return t, scheme + "://" + e.Name()
}
