package main

import (
	"context"
	cryptotls "crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"

	"weir/admin"
	"weir/config"
)

// adminSocket is the admin API, which outlives changes of its address, and where it is served now.
type adminSocket struct {
	server  *admin.Server
	address string
	cert    atomic.Pointer[cryptotls.Certificate]
	now     atomic.Pointer[adminServing]
}

// adminServing is the admin API at one address.
type adminServing struct {
	ln   net.Listener
	http *http.Server
	done chan struct{}
}

// adminConnections bounds the connections to the admin address.
const adminConnections = 256

// adminChange is a prepared change of the admin address.
type adminChange struct {
	ln   net.Listener // nil: the address stays
	cert *cryptotls.Certificate
}

func (c adminChange) discard() {
	if c.ln != nil {
		c.ln.Close() //nolint:errcheck // it served nobody
	}
}

func (a *app) prepareAdmin(conf *config.Config) (c adminChange, err error) {
	if conf.Admin.Cert != "" {
		pair, err := cryptotls.LoadX509KeyPair(conf.Admin.Cert, conf.Admin.Key)
		if err != nil {
			return c, fmt.Errorf("admin: %w", err)
		}
		c.cert = &pair
	}
	if conf.Admin.Address == a.admin.address && (c.cert == nil) == (a.admin.cert.Load() == nil) {
		return c, nil
	}
	if conf.Admin.Address == a.admin.address {
		return c, errors.New("admin: turning TLS on or off at the same address needs a restart, or another address")
	}
	ln, err := net.Listen("tcp", conf.Admin.Address)
	if err != nil {
		line, col := conf.Pos("admin.address")
		return c, fmt.Errorf("%s:%d:%d: admin: %w", a.path, max(line, 1), max(col, 1), err)
	}
	c.ln = netutil.LimitListener(ln, adminConnections)
	return c, nil
}

func (a *app) useAdmin(conf *config.Config, c adminChange) {
	s := &a.admin
	s.server.Reconfigure(admin.Options{Tokens: conf.Admin.Tokens, Log: a.log, Metrics: a.hub.Handler(), Version: buildVersion()})
	s.cert.Store(c.cert)
	if c.ln == nil {
		return
	}
	if old := s.now.Load(); old != nil {
		a.tasks.Go(func() { old.close(time.Second) }) // a reload that came by API is still to be answered there
	}
	now := &adminServing{ln: c.ln, http: s.server.HTTPServer(), done: make(chan struct{})}
	s.now.Store(now)
	s.address = conf.Admin.Address
	ln := c.ln
	if c.cert != nil {
		ln = cryptotls.NewListener(ln, &cryptotls.Config{MinVersion: cryptotls.VersionTLS12, GetCertificate: func(*cryptotls.ClientHelloInfo) (*cryptotls.Certificate, error) { return s.cert.Load(), nil }})
	}
	go func() {
		defer close(now.done)
		if err := now.http.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("admin server ended", "error", err)
		}
	}()
}

// close ends the server; answers under way get so long to finish.
func (s *adminServing) close(moment time.Duration) {
	if s == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), moment)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		s.http.Close() //nolint:errcheck // it is going away
	}
	<-s.done
}
