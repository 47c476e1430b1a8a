package tls

import (
	stdtls "crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/idna"
)

// ClientAuth is how clients prove themselves.
type ClientAuth uint8

// The modes of [ClientAuth]. Request verifies a certificate if one is given; Require refuses the handshake without one.
const (
	None ClientAuth = iota
	Request
	Require
)

// Pair names the two PEM files of a certificate: the chain, leaf first, and its private key.
type Pair struct{ Cert, Key string }

// ACMEOptions says where certificates for Domains come from. Enabled accepts the authority's terms of service.
type ACMEOptions struct {
	Enabled   bool
	Email     string   // contact at the authority; may be empty
	Domains   []string // exact host names
	Directory string   // directory URL; empty is Let's Encrypt
	CAFile    string   // PEM roots trusted for the directory; empty is the system's
	CacheDir  string   // where account key and certificates are kept (mode 0700); empty keeps them in memory only
}

// Options is what a [Store] serves.
type Options struct {
	MinVersion   uint16 // crypto/tls.VersionTLS12 (also 0) or VersionTLS13
	Certificates []Pair
	ACME         ACMEOptions
	ClientAuth   ClientAuth
	ClientCA     string // PEM roots that sign client certificates; needed unless ClientAuth is None
	Log          *slog.Logger
}

// CertInfo describes a certificate in force.
type CertInfo struct {
	Names    []string // DNS names, or IP addresses if there are no DNS names
	NotAfter time.Time
	Source   string // "file" or "acme"
	File     string // the certificate file; empty for acme
}

// normalize refuses nonsense and returns o with defaults filled in and domains in their ASCII form.
func (o Options) normalize() (Options, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	switch o.MinVersion {
	case 0:
		o.MinVersion = stdtls.VersionTLS12
	case stdtls.VersionTLS12, stdtls.VersionTLS13:
	default:
		return o, fmt.Errorf("minimum version %s: use TLS 1.2 or 1.3", stdtls.VersionName(o.MinVersion))
	}
	if o.ClientAuth > Require {
		return o, fmt.Errorf("client authentication mode %d is not known", o.ClientAuth)
	}
	if o.ClientAuth != None && o.ClientCA == "" {
		return o, errors.New("client authentication needs a CA file: name the PEM file of the roots that sign client certificates")
	}
	if !o.ACME.Enabled {
		o.ACME = ACMEOptions{}
		if len(o.Certificates) == 0 {
			return o, errors.New("no certificates: name certificate and key files, or enable acme")
		}
		return o, nil
	}
	var err error
	o.ACME, err = o.ACME.normalize()
	return o, err
}

func (o ACMEOptions) normalize() (ACMEOptions, error) {
	if len(o.Domains) == 0 {
		return o, errors.New("acme: no domains: list the exact host names to obtain certificates for")
	}
	if o.Directory != "" {
		u, err := url.Parse(o.Directory)
		if err != nil || u.Scheme != "https" || u.Host == "" {
			return o, fmt.Errorf("acme: directory %q is not an https URL", o.Directory)
		}
	}
	domains := make([]string, 0, len(o.Domains))
	for _, d := range o.Domains {
		if strings.Contains(d, "*") {
			return o, fmt.Errorf("acme: domain %q: wildcards need DNS-01, which is not available; list exact names or use a certificate file", d)
		}
		name, err := idna.Lookup.ToASCII(strings.TrimSuffix(d, "."))
		if err != nil || !strings.Contains(name, ".") {
			return o, fmt.Errorf("acme: domain %q is not a public host name", d)
		}
		if !slices.Contains(domains, name) {
			domains = append(domains, name)
		}
	}
	o.Domains = domains
	return o, nil
}

func (o ACMEOptions) equal(p ACMEOptions) bool {
	return o.Enabled == p.Enabled && o.Email == p.Email && slices.Equal(o.Domains, p.Domains) &&
		o.Directory == p.Directory && o.CAFile == p.CAFile && o.CacheDir == p.CacheDir
}
