package gateway

import (
	"fmt"
	"net/http"
	"strconv"

	"weir/balancer"
	"weir/config"
	"weir/internal/mono"
	"weir/shaping"
)

func (p *compiler) compilePools() error {
	for i := range p.conf.Pools {
		pc, err := p.compilePool(&p.conf.Pools[i])
		if err != nil {
			return fmt.Errorf("pool %s: %w", p.conf.Pools[i].Name, err)
		}
		p.pools[pc.conf.Name] = pc
		p.snap.pools = append(p.snap.pools, pc)
		p.snap.plan.pools = append(p.snap.plan.pools, pc)
	}
	return nil
}

func (p *compiler) compilePool(c *config.Pool) (*poolConf, error) {
	pc := &poolConf{conf: c, header: c.Timeout.ResponseHeader, idle: c.Timeout.Idle, total: c.Timeout.Total, attempts: c.Retry.Attempts, backoff: c.Retry.Backoff, hashOn: -1}
	if c.HashOn != "" {
		pc.hashOn = p.dim(c.HashOn)
	}
	if err := pc.retryOn.set(c.Retry.On); err != nil {
		return nil, err
	}
	p.gate(pc)
	dial, err := newDialConf(c, p.gw.log)
	if err != nil {
		return nil, err
	}
	pc.dial = dial
	id := identity("pool", c.Name, c.TLS.Enabled)
	if c.Demo != nil {
		id = identity("demo", c.Name, *c.Demo)
	}
	pc.pool = p.gw.live.pool(id)
	if pc.pool == nil {
		pc.pool = &pool{name: c.Name, identity: id, gw: p.gw, gate: shaping.NewGate(pc.gateConf), retries: p.gw.hub.Retry(c.Name), queue: p.gw.hub.Queue(c.Name), upstreams: map[*upstream]struct{}{}}
		pc.pool.dial.Store(dial)
		if c.Demo != nil {
			if pc.pool.demo, err = newDemo(demoAnswer(c.Demo)); err != nil {
				return nil, err
			}
			p.snap.plan.demos = append(p.snap.plan.demos, pc.pool.demo)
		}
	}
	pc.balance = p.balance(c, pc.pool)
	if pc.pool.balancer == nil {
		if err := pc.pool.setProbe(c); err != nil {
			return nil, err
		}
		pc.pool.balancer, err = balancer.New(c.Name, pc.balance, p.gw.live.hooks(pc.pool), mono.Now())
		return pc, err
	}
	return pc, pc.balance.Validate(p.gw.live.hooks(pc.pool))
}

// demoAnswer is what a demo answers instead of an echo, or nil.
func demoAnswer(c *config.Respond) *fixed {
	if c.Status == http.StatusOK && c.Body == "" && len(c.Headers) == 0 {
		return nil
	}
	return newFixed(c)
}

func (p *compiler) balance(c *config.Pool, live *pool) balancer.Config {
	policy, err := balancer.ParseBalance(c.Balance)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	a := &c.Health.Active
	active := balancer.ActiveConfig{Enabled: a.Path != "", Interval: a.Interval, Timeout: a.Timeout, Rise: a.Rise, Fall: a.Fall, Key: a.Path + " " + a.Expect}
	if a.GRPC != nil {
		active.Enabled, active.Key = true, "grpc "+a.GRPC.Service
	}
	b := balancer.Config{
		Balance: policy, Zone: p.conf.Node.Zone, SlowStart: c.SlowStart, Panic: float64(c.Health.Panic), MaxConnections: c.Connections.Max,
		Active:  active,
		Passive: balancer.PassiveConfig{ConsecutiveFailures: c.Health.Passive.ConsecutiveFailures, ErrorRate: float64(c.Health.Passive.ErrorRate), MinRequests: c.Health.Passive.MinRequests, Eject: c.Health.Passive.Eject, MaxEject: float64(c.Health.Passive.MaxEject)},
		Breaker: balancer.BreakerConfig{FailureThreshold: c.Breaker.FailureThreshold, RecoveryThreshold: c.Breaker.RecoveryThreshold, Timeout: c.Breaker.Timeout, MaxTimeout: c.Breaker.MaxTimeout, HalfOpen: c.Breaker.HalfOpen},
		Budget:  balancer.BudgetConfig{Ratio: float64(c.Retry.Budget), MinPerSecond: 3},
	}
	for _, e := range c.Endpoints {
		b.Endpoints = append(b.Endpoints, balancer.EndpointConfig{Address: e.Address, Weight: e.Weight, Zone: e.Zone})
	}
	if live.demo != nil {
		b.Endpoints = []balancer.EndpointConfig{{Address: live.demo.address(), Weight: 1}}
	}
	return b
}

func (o *retryOn) set(on []string) error {
	for _, s := range on {
		switch s {
		case "connect":
			o.connect = true
		case "reset":
			o.reset = true
		case "timeout":
			o.timeout = true
		default:
			if c, ok := retryCodes[s]; ok {
				o.codes |= 1 << c
				continue
			}
			n, err := strconv.Atoi(s)
			if err != nil || n < 0 || n >= len(o.status) {
				return fmt.Errorf("retry on %q: want connect, reset, timeout, a status code or a status of gRPC", s)
			}
			o.status[n] = true
		}
	}
	return nil
}
