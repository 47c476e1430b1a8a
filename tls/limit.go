package tls

import (
	"net/netip"
	"sync"
)

const defaultIPv6Prefix = 64

// clients counts open connections by client. Entries go when the last connection does, so it holds no more entries than
// there are connections.
type clients struct {
	mu   sync.Mutex
	open map[netip.Addr]int
}

// enter counts one more connection of key, or reports false if bound (0: none) are open. An invalid key is nobody in
// particular and not counted.
func (c *clients) enter(key netip.Addr, bound int) bool {
	if !key.IsValid() {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.open[key]
	if bound > 0 && n >= bound {
		return false
	}
	c.open[key] = n + 1
	return true
}

// leave takes back an enter that succeeded.
func (c *clients) leave(key netip.Addr) {
	if !key.IsValid() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.open[key]; n > 1 {
		c.open[key] = n - 1
	} else {
		delete(c.open, key)
	}
}

// clientKey is whom the connections of an address count for: an IPv4 address itself, also in its IPv6-mapped spelling,
// and of an IPv6 address the first prefix bits (out of range: 64), since one client has them all.
func clientKey(a netip.Addr, prefix int) netip.Addr {
	a = a.Unmap()
	if !a.Is6() {
		return a
	}
	if prefix <= 0 || prefix > 128 {
		prefix = defaultIPv6Prefix
	}
	p, err := a.WithZone("").Prefix(prefix)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	return p.Addr()
}
