package config

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strings"
)

func (k *checker) checkCluster() {
	c := &k.c.Cluster
	if len(c.Name) == 0 || len(c.Name) > 64 || !nameForm.MatchString(c.Name) {
		k.fault("cluster.name", "%s is no name: write up to 64 letters, digits, _ . -", quote(c.Name))
	}
	bind, err := netip.ParseAddrPort(strings.Replace(c.Bind, "localhost:", "127.0.0.1:", 1))
	if strings.HasPrefix(c.Bind, ":") {
		bind, err = netip.ParseAddrPort("0.0.0.0" + c.Bind)
	}
	switch {
	case err != nil:
		k.fault("cluster.bind", "%s is no IP:port: write for example 10.0.0.5:7946", quote(c.Bind))
	case c.Enabled && !bind.Addr().IsLoopback() && c.Key == "" && len(c.Keys) == 0:
		k.fault("cluster.key", "%s can be reached from other machines, and whoever reaches it could join: write key: \"${WEIR_CLUSTER_KEY}\" with the output of weir keygen", c.Bind)
	}
	if c.Advertise != "" {
		if _, err := netip.ParseAddrPort(c.Advertise); err != nil {
			if _, err := netip.ParseAddr(c.Advertise); err != nil {
				k.fault("cluster.advertise", "%s is no IP address, with or without :port, that the other gateways reach this one at", quote(c.Advertise))
			}
		}
	}
	for i, seed := range c.Join {
		if seed == "" || strings.ContainsAny(seed, " /") {
			k.fault(fmt.Sprintf("cluster.join[%d]", i), "%s is no host:port", quote(seed))
		}
	}
	if c.Key != "" && len(c.Keys) > 0 {
		k.fault("cluster.keys", "key and keys are both given: write one of them")
	}
	if c.Key != "" {
		k.checkClusterKey("cluster.key", c.Key)
	}
	for i, key := range c.Keys {
		k.checkClusterKey(fmt.Sprintf("cluster.keys[%d]", i), key)
	}
	r := &k.c.Redis
	for i, a := range r.Addresses {
		if _, problem := parseAddress(a, true); problem != "" {
			k.fault(fmt.Sprintf("redis.addresses[%d]", i), "%s", problem)
		}
	}
	if r.CA != "" {
		if _, problem := readBounded(r.CA, maxPEM); problem != "" {
			k.fault("redis.ca", "%s", problem)
		}
	}
	if strings.ContainsFunc(r.Prefix, func(c rune) bool { return c <= ' ' || c == 0x7f || c == '{' || c == '}' }) || len(r.Prefix) > 64 {
		k.fault("redis.prefix", "%s is no prefix: up to 64 characters, no spaces, control characters or braces", quote(r.Prefix))
	}
	k.known.clustered, k.known.stored = c.Enabled, len(r.Addresses) > 0
}

func (k *checker) checkClusterKey(path string, key Secret) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(key)))
	if err != nil || len(b) != 16 && len(b) != 24 && len(b) != 32 {
		k.fault(path, "the key is not base64 of 16, 24 or 32 bytes: make one with weir keygen")
	}
}

// ClusterKeys returns the keys, the one that encrypts first.
func (c *Cluster) ClusterKeys() (keys [][]byte) {
	list := c.Keys
	if c.Key != "" {
		list = []Secret{c.Key}
	}
	for _, k := range list {
		if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(k))); err == nil {
			keys = append(keys, b)
		}
	}
	return keys
}

// checkScope checks who a policy is kept together with.
func (b *policyBook) checkScope(i int) {
	p, t := &b.policies[i], b.text(i)
	if p.Scope != "strict" && t.has("on_outage") && p.OnOutage != "cluster" {
		b.fault(i, "on_outage", "on_outage says what scope: strict does without its store, and the scope is %s", p.Scope)
	}
	switch {
	case p.Mode == "off":
	case p.Scope == "cluster" && !b.known.clustered:
		b.fault(i, "scope", "scope: cluster needs cluster: {enabled: true}, and a join: list on all gateways but one")
	case p.Scope == "strict" && !b.known.stored:
		b.fault(i, "scope", "scope: strict needs a store: write redis: {addresses: [\"127.0.0.1:6379\"]}")
	}
	const most = 1 << 46 // counts are told in 1/256 units, in floating point
	if p.Scope == "cluster" && p.Limit.Units > most {
		b.fault(i, "limit", "%d is too much for scope: cluster, which counts to %d", p.Limit.Units, int64(most))
	}
}
