package config

import (
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"weir/gateway/route"
)

// minToken is the least length of an admin token, in bytes.
const minToken = 16

// maxPEM bounds a PEM file.
const maxPEM = 16 << 20

func (k *checker) checkAdmin() {
	a := &k.c.Admin
	addr, problem := parseAddress(a.Address, false)
	if problem != "" {
		k.fault("admin.address", "%s", problem)
	} else if !addr.isLoopback() {
		if len(a.Tokens) == 0 {
			k.fault("admin.address", "%s can be reached from other machines: write tokens: [{name: …, token: …, role: admin}] too, or an address on 127.0.0.1", a.Address)
		}
		if a.Cert == "" && !a.Insecure {
			k.fault("admin.insecure", "tokens would cross the network to %s in clear text: write cert and key too, or insecure: true", a.Address)
		}
	}
	k.checkPair("admin.cert", a.Cert, "admin.key", a.Key)
	k.checkNames("admin.tokens", len(a.Tokens), func(i int) string { return a.Tokens[i].Name })
	for i, t := range a.Tokens {
		path := fmt.Sprintf("admin.tokens[%d].token", i)
		if t.Token != "" && len(t.Token) < minToken {
			k.fault(path, "the token has %d characters: at least %d are needed, for example from openssl rand -hex 16", len(t.Token), minToken)
		}
		for j := range i {
			if t.Token != "" && t.Token == a.Tokens[j].Token {
				k.fault(path, "the token is the same as that of admin.tokens[%d]: everyone needs their own", j)
			}
		}
	}
}

func (k *checker) checkListeners() {
	c := k.c
	if len(c.Listeners) == 0 {
		k.fault("listeners", "there is no listener, so no request can come: write listeners: [{name: web, address: \":8000\"}]")
	}
	k.checkNames("listeners", len(c.Listeners), func(i int) string { return c.Listeners[i].Name })
	type taken struct {
		addr address
		path string
	}
	var all []taken
	if addr, problem := parseAddress(c.Admin.Address, false); problem == "" {
		all = append(all, taken{addr, "admin"})
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		path := fmt.Sprintf("listeners[%d]", i)
		if l.Address == "" {
			continue // recorded as missing
		}
		addr, problem := parseAddress(l.Address, false)
		if problem != "" {
			k.fault(path+".address", "%s", problem)
			continue
		}
		for _, t := range all {
			if addr.collides(t.addr) {
				k.fault(path+".address", "%s is taken by %s in line %d: choose another port", quote(l.Address), t.path, k.line(t.path+".address"))
				break
			}
		}
		all = append(all, taken{addr, path})
		k.checkListener(l, path)
	}
	for i, cidr := range c.TrustedProxies {
		k.checkCIDR(fmt.Sprintf("trusted_proxies[%d]", i), cidr)
	}
}

func (k *checker) checkListener(l *Listener, path string) {
	if l.TLS && len(k.c.TLS.Certificates) == 0 && !k.c.TLS.ACME.Enabled {
		k.fault(path+".tls", "there is no certificate to show: write tls: {certificates: [{cert: …, key: …}]} or tls: {acme: {enabled: true, domains: […]}} at the top level too")
	}
	if l.TLS && l.RedirectHTTPS {
		k.fault(path+".redirect_https", "this listener speaks TLS already and would redirect for ever: write redirect_https: true on the one without tls")
	}
	if l.ProxyProtocol && len(k.c.TrustedProxies) == 0 && !k.faults.paths["trusted_proxies"] {
		k.fault(path+".proxy_protocol", "nobody is trusted to send it: write trusted_proxies: [the load balancer's CIDR] too")
	}
}

func (k *checker) checkCIDR(path, text string) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		if ip, ipErr := netip.ParseAddr(text); ipErr == nil && ip.Zone() == "" {
			k.fault(path, "%s is an address: write the range %s/%d", quote(text), text, ip.BitLen())
			return
		}
		k.fault(path, "%s is not a range of addresses: write for example 10.0.0.0/8 or 2001:db8::/32", quote(text))
		return
	}
	if prefix.Masked() != prefix {
		k.fault(path, "%s has bits set after the prefix: write %s, or %s/%d for the one address", quote(text), prefix.Masked(), prefix.Addr(), prefix.Addr().BitLen())
	}
}

func (k *checker) checkTLS() {
	t := &k.c.TLS
	for i, c := range t.Certificates {
		path := fmt.Sprintf("tls.certificates[%d]", i)
		if c.Cert == "" || c.Key == "" {
			continue // recorded as missing
		}
		pair := k.checkPair(path+".cert", c.Cert, path+".key", c.Key)
		if pair != nil && pair.Leaf != nil && len(pair.Leaf.DNSNames)+len(pair.Leaf.IPAddresses) == 0 {
			k.fault(path+".cert", "the certificate %s has no subject alternative names, and clients ignore the common name: issue it again with DNS names", c.Cert)
		}
	}
	k.checkACME()
	k.checkRoots("tls.client_auth.ca", t.ClientAuth.CA)
	if t.ClientAuth.Mode != "none" && t.ClientAuth.CA == "" {
		k.fault("tls.client_auth.ca", "is missing: mode: %s needs the PEM file of roots that sign client certificates", t.ClientAuth.Mode)
	}
}

func (k *checker) checkACME() {
	a := &k.c.TLS.ACME
	if a.Enabled && len(a.Domains) == 0 {
		k.fault("tls.acme.domains", "is missing: write domains: [api.example.com], the host names to obtain certificates for")
	}
	if a.Enabled && k.c.Node.DataDir == "" {
		k.fault("node.data_dir", "certificates from acme must outlive a restart: write a directory, for example ./data")
	}
	for i, d := range a.Domains {
		path := fmt.Sprintf("tls.acme.domains[%d]", i)
		if strings.HasPrefix(d, "*.") {
			k.fault(path, "%s has a wildcard, which HTTP-01 and TLS-ALPN-01 cannot prove: write each host name", quote(d))
		} else if err := route.ParseHost(d); err != nil {
			k.fault(path, "%v", err)
		}
	}
	if u, err := url.Parse(a.Directory); a.Directory != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		k.fault("tls.acme.directory", "%s is not the URL of a directory: write for example https://acme-v02.api.letsencrypt.org/directory", quote(a.Directory))
	}
	if at := strings.IndexByte(a.Email, '@'); a.Email != "" && (at <= 0 || strings.ContainsAny(a.Email, " \t<>")) {
		k.fault("tls.acme.email", "%s is not an e-mail address: write for example ops@example.com", quote(a.Email))
	}
	k.checkRoots("tls.acme.ca_file", a.CAFile)
}

// checkPair checks a certificate and its key, both or neither given. It returns the pair, or nil.
func (k *checker) checkPair(certPath, cert, keyPath, key string) *stdtls.Certificate {
	switch {
	case cert == "" && key == "":
		return nil
	case cert == "":
		k.fault(certPath, "is missing: a key needs its certificate")
		return nil
	case key == "":
		k.fault(keyPath, "is missing: a certificate needs its key")
		return nil
	}
	certPEM, certProblem := readBounded(cert, maxPEM)
	if certProblem != "" {
		k.fault(certPath, "%s", certProblem)
	}
	keyPEM, keyProblem := readBounded(key, maxPEM)
	if keyProblem != "" {
		k.fault(keyPath, "%s", keyProblem)
	}
	if certProblem != "" || keyProblem != "" {
		return nil
	}
	pair, err := stdtls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		k.fault(certPath, "%s and %s are no pair: %s: both must be PEM and belong together", cert, key, strings.TrimPrefix(err.Error(), "tls: "))
		return nil
	}
	return &pair
}

// checkRoots checks a PEM file of certificates.
func (k *checker) checkRoots(path, file string) {
	if file == "" {
		return
	}
	data, problem := readBounded(file, maxPEM)
	if problem == "" && !x509.NewCertPool().AppendCertsFromPEM(data) {
		problem = fmt.Sprintf("the file %s holds no certificate: it must be PEM, -----BEGIN CERTIFICATE-----", file)
	}
	if problem != "" {
		k.fault(path, "%s", problem)
	}
}
