package main

import (
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"weir/config"
	"weir/telemetry"
	"weir/tls"
)

// socket is an open address. Which listener of the configuration it serves may change while it is open.
type socket struct {
	ln   net.Listener
	mux  *tls.Mux
	name atomic.Pointer[string]
}

// bind opens the addresses that conf has and that are not open yet. It undoes itself if one cannot be had.
func (a *app) bind(conf *config.Config) (added map[string]*socket, err error) {
	added = map[string]*socket{}
	for i := range conf.Listeners {
		l := &conf.Listeners[i]
		if a.sockets[l.Address] != nil {
			continue
		}
		ln, err := net.Listen("tcp", l.Address)
		if err != nil {
			closeAll(added)
			line, col := conf.Pos(fmt.Sprintf("listeners[%d].address", i))
			return nil, fmt.Errorf("%s:%d:%d: listener %s: %w", a.path, line, col, l.Name, err)
		}
		added[l.Address] = &socket{ln: ln, mux: tls.NewMux(ln, tls.MuxOptions{})}
	}
	return added, nil
}

func closeAll(sockets map[string]*socket) {
	for _, s := range sockets {
		s.mux.Close() //nolint:errcheck // it served nobody
	}
}

// useSockets serves new addresses, changes those that stay, and closes those that are gone.
func (a *app) useSockets(conf *config.Config, added map[string]*socket) {
	wanted, names := map[string]bool{}, map[string]bool{}
	for i := range conf.Listeners {
		l := &conf.Listeners[i]
		wanted[l.Address], names[l.Name] = true, true
		s := a.sockets[l.Address]
		if s == nil {
			s = added[l.Address]
			a.sockets[l.Address] = s
		}
		s.name.Store(&l.Name)
		s.mux.Reconfigure(a.muxOptions(conf, l, added[l.Address] != nil))
		if added[l.Address] != nil {
			a.tasks.Go(func() {
				err := s.mux.Serve(func(c *tls.Conn) { a.gw.ServeConn(c, *s.name.Load()) })
				if err != nil && !errors.Is(err, net.ErrClosed) {
					a.log.Error("listener ended", "address", s.ln.Addr().String(), "error", err)
				}
			})
		}
	}
	for addr, s := range a.sockets {
		if wanted[addr] {
			continue
		}
		delete(a.sockets, addr)
		s.mux.Close() //nolint:errcheck // it is going away
		if name := *s.name.Load(); !names[name] {
			a.gw.DrainListener(name)
		}
	}
	serving := slices.Collect(maps.Values(a.sockets))
	a.serving.Store(&serving)
}

func (a *app) muxOptions(conf *config.Config, l *config.Listener, fresh bool) tls.MuxOptions {
	connections := min(l.Limits.Connections, descriptorRoom()/len(conf.Listeners))
	if connections < l.Limits.Connections && fresh {
		a.log.Info("fewer connections than configured: the limit of open files is too low (ulimit -n)", "listener", l.Name, "configured", l.Limits.Connections, "connections", connections)
	}
	o := tls.MuxOptions{
		ProxyProtocol: l.ProxyProtocol, Trusted: trusted(conf), HandshakeTimeout: l.Limits.HeaderTimeout,
		Connections: connections, PerIP: l.Limits.ConnectionsPerIP, IPv6Prefix: l.Limits.IPv6Prefix, Log: a.log,
	}
	if l.TLS {
		o.TLS, o.HTTP2 = a.store.Load(), l.HTTP2
	}
	return o
}

// descriptorReserve is kept for what is not a client's connection: files, the admin address, probes, accepting.
const descriptorReserve = 96

// descriptorRoom is how many client connections the limit of open files allows, with a quarter left for connections to
// endpoints: most clients are idle. To run into
// the limit instead would leave nothing for the admin address, and nothing to answer with.
func descriptorRoom() int {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return math.MaxInt
	}
	return max(8, int(min(r.Cur, math.MaxInt32)-descriptorReserve)*3/4)
}

func trusted(conf *config.Config) func(netip.Addr) bool {
	prefixes := conf.Trusted()
	return func(addr netip.Addr) bool {
		return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
	}
}

func (a *app) listenerStats() []telemetry.ListenerStats {
	var all []telemetry.ListenerStats
	for _, s := range *a.serving.Load() {
		m := s.mux.Stats()
		all = append(all, telemetry.ListenerStats{Name: *s.name.Load(), Open: m.Open, Accepted: m.Accepted, Refused: map[string]uint64{
			"limit": m.RefusedLimit, "per_ip": m.RefusedPerIP, "handshake": m.RefusedHandshake, "proxy_protocol": m.RefusedProxyProtocol}})
	}
	return all
}

func servesTLS(conf *config.Config) bool {
	for i := range conf.Listeners {
		if conf.Listeners[i].TLS {
			return true
		}
	}
	return false
}

func tlsOptions(conf *config.Config, log *slog.Logger) tls.Options {
	o := tls.Options{Log: log, ClientCA: conf.TLS.ClientAuth.CA}
	if conf.TLS.MinVersion == "1.3" {
		o.MinVersion = cryptotls.VersionTLS13
	}
	for _, c := range conf.TLS.Certificates {
		o.Certificates = append(o.Certificates, tls.Pair{Cert: c.Cert, Key: c.Key})
	}
	switch conf.TLS.ClientAuth.Mode {
	case "request":
		o.ClientAuth = tls.Request
	case "require":
		o.ClientAuth = tls.Require
	}
	if m := conf.TLS.ACME; m.Enabled {
		o.ACME = tls.ACMEOptions{Enabled: true, Email: m.Email, Domains: m.Domains, Directory: m.Directory, CAFile: m.CAFile}
		if conf.Node.DataDir != "" {
			o.ACME.CacheDir = filepath.Join(conf.Node.DataDir, "acme")
		}
	}
	return o
}

// applyTLS loads certificates, all or nothing.
func (a *app) applyTLS(conf *config.Config) error {
	if !servesTLS(conf) {
		return nil
	}
	o := tlsOptions(conf, a.log)
	if s := a.store.Load(); s != nil {
		return s.Reload(o)
	}
	s, err := tls.NewStore(o)
	if err != nil {
		return err
	}
	a.store.Store(s)
	a.tasks.Go(func() { s.Run(a.ctx) })
	return nil
}

func (a *app) certificates() []telemetry.CertExpiry {
	s := a.store.Load()
	if s == nil {
		return nil
	}
	var all []telemetry.CertExpiry
	for _, c := range s.Certificates() {
		name := c.File
		if name == "" && len(c.Names) > 0 {
			name = c.Names[0]
		}
		all = append(all, telemetry.CertExpiry{Name: name, NotAfter: c.NotAfter})
	}
	return all
}
