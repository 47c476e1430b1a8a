package tls

import (
	stdtls "crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
)

// names maps what clients ask for to certificates. It is immutable once built.
type names struct {
	exact map[string][]*stdtls.Certificate
	wild  map[string][]*stdtls.Certificate // "*.example.com" stands under ".example.com"
	only  []*stdtls.Certificate            // for a client that names nobody; nil if there is a choice
}

// indexNames builds the index. A certificate without a DNS name can only be the only one: nobody could ask for it.
func indexNames(pairs []*pair, domains int) (*names, error) {
	n := &names{exact: map[string][]*stdtls.Certificate{}, wild: map[string][]*stdtls.Certificate{}}
	uniform := domains == 0 && len(pairs) > 0
	for _, p := range pairs {
		uniform = uniform && slices.Equal(p.names, pairs[0].names)
		for _, name := range p.names {
			if suffix, ok := strings.CutPrefix(name, "*"); ok {
				n.wild[suffix] = append(n.wild[suffix], p.cert)
			} else {
				n.exact[name] = append(n.exact[name], p.cert)
			}
		}
	}
	for _, p := range pairs {
		if len(p.names) == 0 && !uniform {
			return nil, fmt.Errorf("certificate %s has no DNS name, so no client can ask for it beside others: "+
				"give it a DNS name, or configure it alone", p.files.Cert)
		}
		if uniform {
			n.only = append(n.only, p.cert)
		}
	}
	slices.SortStableFunc(n.only, byPreference)
	for _, m := range []map[string][]*stdtls.Certificate{n.exact, n.wild} {
		for _, certs := range m {
			slices.SortStableFunc(certs, byPreference)
		}
	}
	return n, nil
}

// find returns the certificates for a name in lower case, preferred first; none if the name is not ours.
func (n *names) find(name string) []*stdtls.Certificate {
	if name == "" {
		return n.only
	}
	if certs := n.exact[name]; certs != nil {
		return certs
	}
	if dot := strings.IndexByte(name, '.'); dot > 0 {
		return n.wild[name[dot:]]
	}
	return nil
}

// pick returns the first certificate that the client supports and that has not expired; failing that the first it
// supports; failing that the first, with which the handshake ends in the alert that says so.
func pick(certs []*stdtls.Certificate, hello *stdtls.ClientHelloInfo, now time.Time) *stdtls.Certificate {
	if len(certs) == 1 {
		return certs[0]
	}
	var late *stdtls.Certificate
	for _, c := range certs {
		if hello.SupportsCertificate(c) != nil {
			continue
		}
		if !expired(c, now) {
			return c
		}
		if late == nil {
			late = c
		}
	}
	if late == nil {
		return certs[0]
	}
	return late
}

// suites are the TLS 1.2 suites offered: forward secrecy and authenticated encryption only. TLS 1.3 has no others.
var suites = []uint16{
	stdtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	stdtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	stdtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	stdtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	stdtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	stdtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// configure makes the configurations a handshake may meet: the usual one, with and without h2, the one that refuses a name that is
// not ours, and the one that answers TLS-ALPN-01.
func (v *view) configure() {
	v.server = &stdtls.Config{
		MinVersion:         v.o.MinVersion,
		CipherSuites:       suites,
		NextProtos:         []string{"http/1.1"},
		GetConfigForClient: v.choose,
		GetCertificate:     v.certificate,
		ClientAuth:         map[ClientAuth]stdtls.ClientAuthType{Request: stdtls.VerifyClientCertIfGiven, Require: stdtls.RequireAndVerifyClientCert}[v.o.ClientAuth],
		ClientCAs:          v.clientRoots,
	}
	v.serverH2 = v.server.Clone()
	v.serverH2.NextProtos = []string{"h2", "http/1.1"}
	// crypto/tls answers unrecognized_name when there is neither a certificate nor an error. It would resume a session
	// before it asks for a certificate, hence no tickets.
	v.refusal = &stdtls.Config{
		MinVersion:             v.o.MinVersion,
		CipherSuites:           suites,
		NextProtos:             []string{"h2", "http/1.1", acme.ALPNProto},
		SessionTicketsDisabled: true,
		GetCertificate:         func(*stdtls.ClientHelloInfo) (*stdtls.Certificate, error) { return nil, nil },
	}
	if v.acme != nil {
		v.challenge = &stdtls.Config{
			MinVersion:             stdtls.VersionTLS12,
			NextProtos:             []string{acme.ALPNProto},
			SessionTicketsDisabled: true,
			GetCertificate:         v.acme.manager.GetCertificate,
		}
	}
}

// choose is GetConfigForClient: it decides on the name before crypto/tls looks at session tickets.
func (v *view) choose(hello *stdtls.ClientHelloInfo) (*stdtls.Config, error) {
	name := strings.ToLower(hello.ServerName)
	ours := v.acme.has(name)
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == acme.ALPNProto {
		if ours {
			return v.challenge, nil
		}
		return v.refusal, nil
	}
	if ours || len(v.names.find(name)) > 0 || (name == "" && v.acme.only() != "" && len(v.pairs) == 0) {
		return nil, nil
	}
	return v.refusal, nil
}

// certificate is GetCertificate of the usual configuration, for names that choose let through.
func (v *view) certificate(hello *stdtls.ClientHelloInfo) (*stdtls.Certificate, error) {
	name := strings.ToLower(hello.ServerName)
	if certs := v.names.find(name); len(certs) > 0 {
		return pick(certs, hello, time.Now()), nil
	}
	if name == "" {
		name = v.acme.only()
	}
	if cert := v.acme.certificate(name); cert != nil {
		return cert, nil
	}
	return nil, fmt.Errorf("certificate for %q has not been obtained yet", name)
}
