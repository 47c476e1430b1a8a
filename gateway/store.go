package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"weir/config"
	"weir/strict"
)

// storeOf returns the store of policies of scope: strict that c asks for: the one in force if it is that, or a new one, or nil.
func (l *live) storeOf(c *config.Redis) (*keptStore, error) {
	if len(c.Addresses) == 0 {
		return nil, nil
	}
	var ca []byte
	if c.TLS && c.CA != "" {
		var err error
		if ca, err = os.ReadFile(c.CA); err != nil {
			return nil, fmt.Errorf("redis.ca: %w", err)
		}
	}
	id := identity(c.Addresses, c.Master, c.Username, string(c.Password), c.TLS, string(ca), c.Timeout, c.Prefix)
	l.mu.Lock()
	s := l.store
	l.mu.Unlock()
	if s != nil && s.identity == id {
		return s, nil
	}
	conf := strict.Config{Addresses: c.Addresses, Master: c.Master, Username: c.Username, Password: string(c.Password), Timeout: c.Timeout, Prefix: c.Prefix}
	if c.TLS {
		conf.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if ca != nil {
			conf.TLS.RootCAs = x509.NewCertPool()
			if !conf.TLS.RootCAs.AppendCertsFromPEM(ca) {
				return nil, errors.New("redis.ca: the file has no certificate")
			}
		}
	}
	return &keptStore{identity: id, conf: conf}, nil
}

// keptStore is a store with what it was opened for.
type keptStore struct {
	*strict.Store // nil until it is in force
	identity      string
	conf          strict.Config
}

// open begins to keep connections.
func (s *keptStore) open(l *live) {
	if s == nil || s.Store != nil {
		return
	}
	store, err := strict.Open(s.conf, l.gw.log.With("part", "redis"))
	if err != nil {
		l.gw.log.Error("BUG: the configuration of redis passed validation and cannot be used", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), storePatience)
	defer cancel()
	store.Wait(ctx) //nolint:errcheck // it goes in force all the same, and goes by on_outage until it answers
	l.mu.Lock()
	s.Store = store
	l.mu.Unlock()
}

// useStore makes k, which is open, what decides policies of scope: strict.
func (s *Snapshot) useStore(k *keptStore) {
	if k != nil {
		s.store = k.Store
	}
}

// storePatience is how long a new store may take to answer before requests are let at it.
const storePatience = 500 * time.Millisecond

// How long a store that is no longer in force goes on for what is in flight: a moment at least, and while requests hold seats of it.
const (
	storeGrace = 2 * time.Second
	seatGrace  = 10 * time.Minute
)

// retire ends it, at once when the gateway does.
func (s *keptStore) retire(closing <-chan struct{}) {
	if s == nil || s.Store == nil {
		return
	}
	for begun := time.Now(); time.Since(begun) < storeGrace || s.Stats().Held > 0 && time.Since(begun) < seatGrace; {
		select {
		case <-closing:
			begun = begun.Add(-seatGrace)
		case <-time.After(storeGrace / 8):
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	s.Close(ctx) //nolint:errcheck // what was still to be settled is lost with the process, or was counted as dropped
}

// StoreStats is what metrics show of the store; false if there is none.
func (g *Gateway) StoreStats() (strict.Stats, bool) {
	g.live.mu.Lock()
	defer g.live.mu.Unlock()
	if s := g.live.store; s != nil && s.Store != nil {
		return s.Stats(), true
	}
	return strict.Stats{}, false
}
