package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (k *checker) checkPool(p *Pool, path string) {
	switch {
	case p.Demo != nil && len(p.Endpoints) > 0:
		k.fault(path+".demo", "a pool has demo or endpoints, not both: remove one")
	case p.Demo == nil && len(p.Endpoints) == 0:
		k.fault(path+".endpoints", "the pool has nobody to ask: write endpoints: [{address: \"127.0.0.1:9001\"}], or demo: {} for the built-in echo")
	}
	if p.Demo != nil {
		k.checkRespond(p.Demo, path+".demo")
	}
	first := map[string]int{}
	for i, e := range p.Endpoints {
		at := fmt.Sprintf("%s.endpoints[%d].address", path, i)
		if e.Address == "" {
			continue // recorded as missing
		}
		addr, problem := parseAddress(e.Address, true)
		if problem != "" {
			k.fault(at, "%s", problem)
			continue
		}
		name := addr.ip() + ":" + strconv.Itoa(addr.port)
		if j, twice := first[name]; twice {
			k.fault(at, "%s is given twice, first in line %d: remove one, or give one a weight", quote(e.Address), k.line(fmt.Sprintf("%s.endpoints[%d].address", path, j)))
			continue
		}
		first[name] = i
	}
	switch {
	case p.HashOn != "":
		k.checkReference(path+".hash_on", "dimension", p.HashOn, &k.known.dimensions)
	case p.Balance == "ring_hash" || p.Balance == "maglev":
		k.fault(path+".hash_on", "is missing: balance: %s needs a dimension to hash, for example hash_on: ip", p.Balance)
	}
	k.checkPoolTLS(&p.TLS, path+".tls")
	switch {
	case p.Protocol == "h2" && !p.TLS.Enabled:
		k.fault(path+".protocol", "h2 is HTTP/2 over TLS: write tls: {enabled: true} too, or protocol: h2c for HTTP/2 in clear text")
	case p.Protocol == "h2c" && p.TLS.Enabled:
		k.fault(path+".protocol", "h2c is HTTP/2 in clear text: write protocol: h2 for HTTP/2 over TLS, or tls: {enabled: false}")
	}
	k.checkHealth(&p.Health.Active, p.Protocol, path+".health.active")
	if problem := p.Breaker.problem(); problem != "" && p.own&breakerTimes != 0 { // else it is that of backpressure
		k.fault(path+".breaker.max_timeout", "%s", problem)
	}
	if k.c.poolNeverAges(p) && !k.faults.paths["backpressure.queue.aging"] {
		k.fault(path+".connections.queue_timeout", "%s is not more than backpressure.queue.aging, %s, so that nobody here waits long enough: write more, or there less, or leave aging out for a quarter of the wait",
			formatDuration(*p.Connections.QueueTimeout), formatDuration(k.c.Aging(p)))
	}
	k.checkRetryOn(p.Retry.On, path+".retry.on")
	if at := path + ".connections.idle"; p.Connections.Idle > p.Connections.Max && k.given(at) {
		k.fault(at, "%d is more than max, %d: no more than max are ever open", p.Connections.Idle, p.Connections.Max)
	}
}

func (k *checker) checkPoolTLS(t *PoolTLS, path string) {
	k.checkPair(path+".cert", t.Cert, path+".key", t.Key)
	k.checkRoots(path+".ca", t.CA)
	if t.ServerName != "" && !isHost(t.ServerName) {
		k.fault(path+".server_name", "%s is not a host name", quote(t.ServerName))
	}
	unused := t.CA != "" || t.ServerName != "" || t.InsecureSkipVerify || t.Cert != "" || t.Key != ""
	if unused && !t.Enabled && !k.given(path+".enabled") {
		k.fault(path+".enabled", "requests would go out in clear text: write enabled: true (or enabled: false, to keep the settings unused)")
	}
}

func (k *checker) checkHealth(a *ActiveHealth, protocol, path string) {
	switch {
	case a.GRPC == nil:
	case a.Path != "":
		k.fault(path+".grpc", "an endpoint is probed by path or by grpc, not both: remove one")
	case k.given(path + ".expect"):
		k.fault(path+".expect", "is about the status codes of a path, but the probe is gRPC's, whose good answer is SERVING: remove it")
	case protocol != "h2" && protocol != "h2c":
		k.fault(path+".grpc", "gRPC needs HTTP/2, but the pool's protocol is %s: write protocol: h2c for HTTP/2 in clear text, or h2 with tls: {enabled: true}", protocol)
	}
	if a.Path != "" {
		k.checkURLPath(path+".path", a.Path)
	}
	if _, err := ParseStatuses(a.Expect); err != nil {
		k.fault(path+".expect", "%v", err)
	}
}

// checkURLPath checks a path that goes into a request line.
func (k *checker) checkURLPath(path, text string) {
	if text[0] != '/' {
		k.fault(path, "%s is not a path: write %s", quote(text), quote("/"+text))
		return
	}
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f || text[i] == '#' {
			k.fault(path, "%s has a character that no path may hold: percent-encode it, as in %%20", quote(text))
			return
		}
	}
}

// StatusRange is the status codes From to To, both included.
type StatusRange struct{ From, To int }

// ParseStatuses reads health.active.expect: 200, 200-399, or several with commas.
func ParseStatuses(text string) ([]StatusRange, error) {
	var ranges []StatusRange
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		a, okA := parseStatus(from)
		b, okB := parseStatus(to)
		if !okA || !okB {
			return nil, fmt.Errorf("%s is no list of status codes: write for example 200, 200-399 or 200,204", quote(text))
		}
		if a > b {
			return nil, fmt.Errorf("%s runs backwards: write %d-%d", quote(strings.TrimSpace(part)), b, a)
		}
		ranges = append(ranges, StatusRange{a, b})
	}
	return ranges, nil
}

func parseStatus(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && isDigits(s) && len(s) == 3 && n >= 100 && n <= 599
}

var retryCauses = []string{"connect", "reset", "timeout", "grpc-cancelled", "grpc-deadline-exceeded", "grpc-internal", "grpc-resource-exhausted", "grpc-unavailable"}

func (k *checker) checkRetryOn(on []string, path string) {
	for i, cause := range on {
		at := fmt.Sprintf("%s[%d]", path, i)
		if code, ok := parseStatus(cause); ok && code < 400 {
			k.fault(at, "%d is no failure: write a status code from 400 to 599", code)
		} else if !ok && !slices.Contains(retryCauses, cause) {
			advice := didYouMean(cause, retryCauses)
			if advice == "" {
				advice = ": write connect, reset, timeout, a status code such as 503, or grpc-unavailable"
			}
			k.fault(at, "%s is no cause for a retry%s", quote(cause), advice)
		}
	}
}
