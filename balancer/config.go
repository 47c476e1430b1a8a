package balancer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"weir/internal/mono"
)

// Balance is how an endpoint is picked among those that are well.
type Balance uint8

const (
	RoundRobin    Balance = iota // each in turn; weights are ignored
	Weighted                     // each in turn, as often as its weight says, evenly spread
	LeastRequests                // lowest (in flight + 1) / weight
	P2C                          // two at random, the one of lower peak-EWMA latency × in flight / weight
	Random                       // by weight
	RingHash                     // consistent hashing with bounded load
	Maglev                       // consistent hashing by a table
)

var balanceNames = [...]string{"round_robin", "weighted", "least_requests", "p2c", "random", "ring_hash", "maglev"}

// String returns the name used in config files.
func (b Balance) String() string {
	if int(b) < len(balanceNames) {
		return balanceNames[b]
	}
	return "balance(" + strconv.Itoa(int(b)) + ")"
}

// ParseBalance returns the Balance of a name used in config files.
func ParseBalance(name string) (Balance, error) {
	for i, s := range balanceNames {
		if s == name {
			return Balance(i), nil
		}
	}
	return 0, fmt.Errorf("unknown balance %q", name)
}

// Config is a pool as its owner wants it. New and Reconfigure refuse one that makes no sense and repair nothing.
type Config struct {
	Balance        Balance
	Endpoints      []EndpointConfig
	Zone           string        // ours; endpoints of the same zone are preferred while 70 % of them are healthy. "" prefers none
	SlowStart      time.Duration // new or returning endpoints ramp from 10 % to 100 % of their weight over this; 0 is off
	Active         ActiveConfig
	Passive        PassiveConfig
	Panic          float64 // fewer healthy than this share, but some: use all that are not draining; 0 is never
	Breaker        BreakerConfig
	Budget         BudgetConfig
	MaxConnections int // leases in flight per endpoint; 0 is unlimited
}

// EndpointConfig is one line of a pool: an IP address, or a host name that stands for as many endpoints as it has addresses.
type EndpointConfig struct {
	Address string // host:port
	Weight  int    // 1 to 1000; every address of a host name has it
	Zone    string
}

// ActiveConfig is about probes.
type ActiveConfig struct {
	Enabled           bool
	Interval, Timeout time.Duration
	Rise, Fall        int    // good probes in a row that make healthy, bad ones that make unhealthy
	Key               string // what a probe asks and expects; when it changes, the next probe alone decides
}

// PassiveConfig is about ejection by what leases report.
type PassiveConfig struct {
	ConsecutiveFailures int           // in a row; 0 is off
	ErrorRate           float64       // share of the reports of the last 10 s; 0 is off
	MinRequests         int           // fewer reports say nothing about a rate
	Eject               time.Duration // how long; doubles with each in a row, to 10 times
	MaxEject            float64       // never more of the pool than this share, the resting included, but always one, and never the last
}

func (c *PassiveConfig) enabled() bool { return c.ConsecutiveFailures > 0 || c.ErrorRate > 0 }

// Hooks are how a pool reaches the world. All but Probe and Resolve may be nil; these are needed only if Config asks for
// probes or has host names. None is called under a lock that guards health or leases; Attach must not call Reconfigure,
// Drain or Ready.
type Hooks struct {
	Probe   func(ctx context.Context, e *Endpoint) error                                // nil is a good probe
	Resolve func(ctx context.Context, host string) ([]netip.Addr, time.Duration, error) // addresses and their time to live; 0 is 5 s
	Attach  func(e *Endpoint) any                                                       // once, before the first lease: becomes e.Value
	Detach  func(e *Endpoint)                                                           // once, after it left; leases may still hold it
	Event   func(Event)                                                                 // on the goroutine that caused it, so it must be quick
	Now     func() mono.Time                                                            // for Run only; nil is mono.Now
}

// site is a checked EndpointConfig.
type site struct {
	EndpointConfig
	host string     // "" for a literal
	addr netip.Addr // of a literal
	port uint16
}

func parseSite(c EndpointConfig) (site, error) {
	host, portText, err := net.SplitHostPort(c.Address)
	if err != nil {
		return site{}, fmt.Errorf("endpoint %q: want host:port", c.Address)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 {
		return site{}, fmt.Errorf("endpoint %q: port %q is not within 1 to 65535", c.Address, portText)
	}
	if host == "" {
		return site{}, fmt.Errorf("endpoint %q: the host is missing", c.Address)
	}
	if c.Weight < 1 || c.Weight > 1000 {
		return site{}, fmt.Errorf("endpoint %q: weight %d is not within 1 to 1000", c.Address, c.Weight)
	}
	s := site{EndpointConfig: c, port: uint16(port)}
	if a, err := netip.ParseAddr(host); err == nil {
		s.addr = a.Unmap()
	} else {
		s.host = host
	}
	return s, nil
}

// check validates c and returns its endpoints parsed. All faults are reported at once.
func (c *Config) check(h *Hooks) ([]site, error) {
	var errs []error
	bad := func(broken bool, format string, args ...any) {
		if broken {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	sites := make([]site, 0, len(c.Endpoints))
	seen := make(map[string]bool, len(c.Endpoints))
	names := false
	for _, ec := range c.Endpoints {
		s, err := parseSite(ec)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		bad(seen[ec.Address], "endpoint %q is given twice", ec.Address)
		seen[ec.Address] = true
		names = names || s.host != ""
		sites = append(sites, s)
	}
	bad(names && h.Resolve == nil, "host names need a Resolve hook")
	bad(int(c.Balance) >= len(balanceNames), "unknown %v", c.Balance)
	bad(c.SlowStart < 0, "slow start %v is negative", c.SlowStart)
	if a := &c.Active; a.Enabled {
		bad(h.Probe == nil, "active health needs a Probe hook")
		bad(a.Interval <= 0 || a.Timeout <= 0, "active health: interval %v and timeout %v must be positive", a.Interval, a.Timeout)
		bad(a.Rise < 1 || a.Fall < 1, "active health: rise %d and fall %d must be at least 1", a.Rise, a.Fall)
	}
	p := &c.Passive
	bad(p.ConsecutiveFailures < 0 || p.MinRequests < 0, "passive health: negative counts")
	bad(!share(p.ErrorRate) || !share(p.MaxEject), "passive health: error rate %v and max eject %v must be within 0 to 1", p.ErrorRate, p.MaxEject)
	bad(p.enabled() && p.Eject <= 0, "passive health: eject %v must be positive", p.Eject)
	bad(!share(c.Panic), "panic %v is not within 0 to 1", c.Panic)
	bad(c.MaxConnections < 0, "max connections %d is negative", c.MaxConnections)
	bad(!(c.Budget.Ratio >= 0) || !(c.Budget.MinPerSecond >= 0), "retry budget: ratio %v and minimum %v must not be negative", c.Budget.Ratio, c.Budget.MinPerSecond)
	if err := c.Breaker.check(); err != nil {
		errs = append(errs, err)
	}
	return sites, errors.Join(errs...)
}

func share(f float64) bool { return f >= 0 && f <= 1 }
