package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Bounds on names. A node's meta has to fit into 512 bytes, and an announcement of it into one datagram.
const (
	maxName = 128
	maxWord = 64 // cluster, zone, version
)

// Config is what a node needs to know. A Cluster keeps its own copy.
type Config struct {
	Name    string // of this node, unique in the cluster, at most 128 bytes
	Zone    string // told to the others; at most 64 bytes
	Version string // of the program, told to the others; at most 64 bytes
	Cluster string // nodes of another cluster name are refused; at most 64 bytes

	// Bind is the IP:port to listen on, with TCP and UDP; port 0 takes a free one. The host may be "localhost", or empty for
	// every address. Off loopback Keys are required.
	Bind string
	// Advertise is the IP[:port] that the others reach this node at. The default is Bind, or the first private address of the
	// machine when Bind is every address.
	Advertise string

	// Join lists the seeds as host[:port]: any nodes of the cluster. Names are resolved again at each attempt, to all their
	// addresses, and without a port they have that of Bind. None: the node is alone until others join it.
	Join []string
	// Keys are AES keys of 16, 24 or 32 bytes. The first encrypts, all of them decrypt. None: cleartext.
	Keys [][]byte
	// RejoinEvery is how often the seeds that are no members are tried; 0 is a second. Less heals a split faster, more costs
	// less while a seed is away: one connection attempt, and a lookup for a name.
	RejoinEvery time.Duration

	Log *slog.Logger // nil: nobody
}

// Check reports every mistake of the configuration that can be seen without using the network.
func (c Config) Check() error {
	var errs []error
	no := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Name == "" || len(c.Name) > maxName || strings.ContainsFunc(c.Name, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '/' }) {
		no("node name %q: give 1 to %d bytes without spaces, control characters and slashes", c.Name, maxName)
	}
	for what, word := range map[string]string{"zone": c.Zone, "version": c.Version, "cluster name": c.Cluster} {
		if len(word) > maxWord {
			no("%s has %d bytes, at most %d are allowed", what, len(word), maxWord)
		}
	}
	bind, err := parseBind(c.Bind)
	switch {
	case err != nil:
		errs = append(errs, err)
	case !bind.Addr().IsLoopback() && len(c.Keys) == 0:
		no("bind %s is not on loopback: give a key (weir keygen), or everybody in the network could join", c.Bind)
	}
	if _, err := parseAdvertise(c.Advertise, 1); err != nil {
		errs = append(errs, err)
	}
	for i, k := range c.Keys {
		if !goodKey(k) {
			no("key %d has %d bytes, it must have 16, 24 or 32", i+1, len(k))
		}
	}
	for _, s := range c.Join {
		if _, _, err := splitSeed(s, 1); err != nil {
			errs = append(errs, err)
		}
	}
	if c.RejoinEvery < 0 {
		no("rejoin interval %v is negative", c.RejoinEvery)
	}
	return errors.Join(errs...)
}

func (c Config) clone() Config {
	c.Join = slices.Clone(c.Join)
	c.Keys = slices.Clone(c.Keys)
	for i := range c.Keys {
		c.Keys[i] = slices.Clone(c.Keys[i])
	}
	if c.RejoinEvery == 0 {
		c.RejoinEvery = time.Second
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

func parseBind(s string) (netip.AddrPort, error) {
	fail := fmt.Errorf("bind %q: give IP:port, such as 10.0.0.5:7946", s)
	host, port, err := splitHostPort(s)
	if err != nil || port < 0 {
		return netip.AddrPort{}, fail
	}
	switch host {
	case "":
		host = "0.0.0.0"
	case "localhost":
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, fail
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), nil
}

// parseAdvertise returns the zero AddrPort for "".
func parseAdvertise(s string, port uint16) (netip.AddrPort, error) {
	if s == "" {
		return netip.AddrPort{}, nil
	}
	host, p, err := splitHostPort(s)
	if err == nil && p < 0 {
		p = int(port)
	}
	ip, ipErr := netip.ParseAddr(host)
	if err != nil || ipErr != nil || p == 0 || ip.IsUnspecified() || ip.IsMulticast() {
		return netip.AddrPort{}, fmt.Errorf("advertise %q: give an IP address that the other nodes reach this one at, with :port if it differs from that of bind", s)
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(p)), nil
}

// splitSeed splits host[:port] of the join list.
func splitSeed(s string, port uint16) (string, uint16, error) {
	host, p, err := splitHostPort(s)
	if err == nil && p < 0 {
		p = int(port)
	}
	if err != nil || host == "" || p == 0 || strings.ContainsAny(host, " /") {
		return "", 0, fmt.Errorf("join %q: give host or host:port", s)
	}
	return host, uint16(p), nil
}

// splitHostPort splits host, host:port, IPv6 and [IPv6]:port. The port is -1 when there is none.
func splitHostPort(s string) (string, int, error) {
	if ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")); err == nil {
		return ip.String(), -1, nil
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return s, -1, nil
	}
	port, err := strconv.ParseUint(s[i+1:], 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("%q has no valid port", s)
	}
	host := s[:i]
	if strings.ContainsRune(host, ':') {
		if !strings.HasPrefix(host, "[") || !strings.HasSuffix(host, "]") {
			return "", 0, fmt.Errorf("%q: an IPv6 address with a port stands in brackets", s)
		}
		host = host[1 : len(host)-1]
	}
	return host, int(port), nil
}

// NewKey returns 32 random bytes in base64, for Config.Keys by way of ParseKey.
func NewKey() string {
	var k [32]byte
	_, _ = rand.Read(k[:]) // never fails
	return base64.StdEncoding.EncodeToString(k[:])
}

// ParseKey decodes the base64 of a key of 16, 24 or 32 bytes. Its error does not show the key.
func ParseKey(s string) ([]byte, error) {
	k, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return nil, errors.New("the key is not base64: make one with weir keygen")
	}
	if !goodKey(k) {
		return nil, fmt.Errorf("the key has %d bytes, it must have 16, 24 or 32: make one with weir keygen", len(k))
	}
	return k, nil
}

func goodKey(k []byte) bool { return len(k) == 16 || len(k) == 24 || len(k) == 32 }
