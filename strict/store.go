package strict

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Config of a Store.
type Config struct {
	// Addresses, host:port: of one server; or of some nodes of a cluster; or of sentinels. What it is the servers say themselves.
	Addresses []string
	// Username and Password of the servers. Both may be empty.
	Username, Password string
	// TLS is for every connection; nil is none. Without a ServerName the host of each address is what its certificate must be for.
	TLS *tls.Config
	// Timeout bounds a Take, in the queue and on the way. Longer: fewer answers are missed; shorter: an outage costs less. 0 is 50 ms.
	Timeout time.Duration
	// Prefix is in front of every key. Gateways of one prefix share their limits. Empty is "weir"; braces are refused.
	Prefix string
	// Master is the name by which sentinels know the servers; empty if they know only one.
	Master string
	// SentinelUsername and SentinelPassword are of the sentinels themselves; with them Addresses are taken for sentinels'.
	SentinelUsername, SentinelPassword string
	// Lease is how long seats stay in use that nobody gives back. They are renewed three times as often. Longer: those of a gateway
	// that crashed come back later; shorter: more writes, and an outage of that length frees seats that are in use. 0 is 1 m.
	Lease time.Duration
}

const (
	defaultTimeout = 50 * time.Millisecond
	defaultLease   = time.Minute
	defaultPrefix  = "weir"
)

// processID is in front of the names of this process's seats.
var processID = func() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:]) + "-"
}()

// Store takes decisions in Redis. All methods are safe for concurrent use.
type Store struct {
	config Config
	log    *slog.Logger
	stats  counters
	held   held
	clock  func() int64 // tests: the server's clock, in microseconds

	view    atomic.Pointer[view]
	trouble atomic.Pointer[string] // why there is no view
	stale   atomic.Bool            // somebody was sent elsewhere

	mu     sync.Mutex
	closed bool
	nodes  map[string]*node // by address; those that are in the view, and those that somebody was sent to

	kicks chan struct{}
	stop  chan struct{}
	wg    sync.WaitGroup
}

// view is what is known of the servers.
type view struct {
	mode  string // standalone | sentinel | cluster
	nodes []*node
	owner *[slots]*node // of a cluster
}

func (v *view) cluster() bool { return v.owner != nil }

// Open starts a store. It dials nothing itself: whether Redis is there shows in Up, and a Redis that is away is no error.
func Open(c Config, log *slog.Logger) (*Store, error) {
	return open(c, log, nil)
}

func open(c Config, log *slog.Logger, clock func() int64) (*Store, error) {
	if err := c.complete(); err != nil {
		return nil, err
	}
	s := &Store{config: c, log: log, clock: clock, nodes: map[string]*node{}, kicks: make(chan struct{}, 1), stop: make(chan struct{})}
	s.held.seats = map[uint64]holder{}
	quiet()
	s.wg.Go(s.keep)
	return s, nil
}

// complete fills in what was left out.
func (c *Config) complete() error {
	if len(c.Addresses) == 0 {
		return errors.New("redis: no address")
	}
	for _, a := range c.Addresses {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return fmt.Errorf("redis: address %q is not host:port: %w", a, err)
		}
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	if c.Lease == 0 {
		c.Lease = defaultLease
	}
	if c.Prefix == "" {
		c.Prefix = defaultPrefix
	}
	switch {
	case c.Timeout < time.Millisecond || c.Timeout > time.Minute:
		return fmt.Errorf("redis: timeout of %v: 1ms to 1m are possible", c.Timeout)
	case c.Lease < 10*c.Timeout || c.Lease > time.Hour:
		return fmt.Errorf("redis: lease of %v: ten timeouts to 1h are possible", c.Lease)
	}
	for _, r := range c.Prefix {
		if r == '{' || r == '}' {
			return fmt.Errorf("redis: prefix %q: braces choose the slot of a cluster, and are not possible here", c.Prefix)
		}
	}
	return nil
}

// options of a client for one server. It never sends anything twice: who gets no answer does not know whether it was spent.
func (s *Store) options(addr string) *redis.Options {
	c := &s.config
	o := &redis.Options{
		Addr: addr, Protocol: 2, Username: c.Username, Password: c.Password, TLSConfig: c.TLS,
		MaxRetries: -1, DialerRetries: 1, DialTimeout: s.patience(), ReadTimeout: c.Timeout, WriteTimeout: c.Timeout, PoolTimeout: c.Timeout,
		ContextTimeoutEnabled: true, PoolSize: senders + 2, DisableIdentity: true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
	o.Dialer = dialer(redis.NewDialer(o))
	return o
}

// patience is how long what happens in the background may take: a connection with TLS is several round trips.
func (s *Store) patience() time.Duration { return max(5*s.config.Timeout, 250*time.Millisecond) }

// at is what the script takes for its clock: its own, but in tests.
func (s *Store) at() any {
	if s.clock != nil {
		return s.clock()
	}
	return ""
}

// nodeOf is the server of a key, or nil.
func (s *Store) nodeOf(v *view, key string) *node {
	if v.owner != nil {
		return v.owner[slotOf(key)]
	}
	return v.nodes[0]
}

// Up reports whether every server that is needed answers.
func (s *Store) Up() bool {
	v := s.view.Load()
	if v == nil {
		return false
	}
	for _, n := range v.nodes {
		if n.down.Load() {
			return false
		}
	}
	return true
}

// Wait waits until Up, or for the end of ctx, and then says what is wrong.
func (s *Store) Wait(ctx context.Context) error {
	for !s.Up() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("redis: %s", s.Trouble())
		case <-s.stop:
			return errClosed
		case <-time.After(time.Millisecond):
		}
	}
	return nil
}

// Trouble says why the store is not Up, in Redis's words; empty if it is.
func (s *Store) Trouble() string {
	v := s.view.Load()
	if v == nil {
		if t := s.trouble.Load(); t != nil {
			return *t
		}
		return "no answer yet"
	}
	for _, n := range v.nodes {
		if n.down.Load() {
			if t := n.trouble.Load(); t != nil {
				return n.addr + ": " + *t
			}
			return n.addr + ": no answer yet"
		}
	}
	return ""
}

// Close writes the corrections that wait, up to the end of ctx, and ends everything. Every Take fails from now on.
func (s *Store) Close(ctx context.Context) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	close(s.stop)
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.wg.Wait()
		s.view.Store(nil)
		s.mu.Lock()
		nodes := s.nodes
		s.nodes = nil
		s.mu.Unlock()
		var wg sync.WaitGroup
		for _, n := range nodes {
			wg.Go(n.close)
		}
		wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("redis: closing: %w", ctx.Err())
	}
}
