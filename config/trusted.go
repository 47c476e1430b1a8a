package config

import "net/netip"

// Trusted returns trusted_proxies as prefixes. They were checked when c was loaded.
func (c *Config) Trusted() []netip.Prefix {
	prefixes := make([]netip.Prefix, 0, len(c.TrustedProxies))
	for _, s := range c.TrustedProxies {
		prefixes = append(prefixes, netip.MustParsePrefix(s))
	}
	return prefixes
}
