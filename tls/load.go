package tls

import (
	"cmp"
	"crypto/rsa"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// digest tells two contents of files apart without keeping a private key's text in memory.
type digest [sha256.Size]byte

// pair is a certificate as its two files held it.
type pair struct {
	files Pair
	sum   digest
	cert  *stdtls.Certificate
	names []string // DNS names in lower case, sorted
}

// readPair reads both files; a certificate and a key that belong to different moments differ in the digest.
func readPair(p Pair) (cert, key []byte, sum digest, err error) {
	if cert, err = readFile("certificate", p.Cert); err != nil {
		return nil, nil, sum, err
	}
	if key, err = readFile("key", p.Key); err != nil {
		return nil, nil, sum, err
	}
	h := sha256.New()
	fmt.Fprintf(h, "%d\n", len(cert))
	h.Write(cert)
	h.Write(key)
	return cert, key, digest(h.Sum(nil)), nil
}

func loadPair(p Pair) (*pair, error) {
	cert, key, sum, err := readPair(p)
	if err != nil {
		return nil, err
	}
	return parsePair(p, cert, key, sum)
}

func keyPair(p Pair, certPEM, keyPEM []byte) (*stdtls.Certificate, error) {
	cert, err := stdtls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("certificate %s, key %s: %w: both must be PEM files, complete, and belong together", p.Cert, p.Key, err)
	}
	return &cert, nil
}

func parsePair(p Pair, certPEM, keyPEM []byte, sum digest) (*pair, error) {
	cert, err := keyPair(p, certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	leaf := cert.Leaf
	if len(leaf.DNSNames) == 0 && len(leaf.IPAddresses) == 0 {
		return nil, fmt.Errorf("certificate %s has no subject alternative names (clients ignore the common name): "+
			"issue it again with the host names as DNS names", p.Cert)
	}
	names := make([]string, 0, len(leaf.DNSNames))
	for _, n := range leaf.DNSNames {
		names = append(names, strings.ToLower(strings.TrimSuffix(n, ".")))
	}
	slices.Sort(names)
	return &pair{files: p, sum: sum, cert: cert, names: slices.Compact(names)}, nil
}

// info describes the pair for operators.
func (p *pair) info() CertInfo {
	names := slices.Clone(p.names)
	if len(names) == 0 {
		for _, ip := range p.cert.Leaf.IPAddresses {
			names = append(names, ip.String())
		}
	}
	return CertInfo{Names: names, NotAfter: p.cert.Leaf.NotAfter, Source: "file", File: p.files.Cert}
}

// byPreference orders certificates for one name: elliptic curves before RSA, then the one that lasts longest.
func byPreference(a, b *stdtls.Certificate) int {
	_, aRSA := a.Leaf.PublicKey.(*rsa.PublicKey)
	_, bRSA := b.Leaf.PublicKey.(*rsa.PublicKey)
	if aRSA != bRSA {
		if aRSA {
			return 1
		}
		return -1
	}
	return cmp.Compare(b.Leaf.NotAfter.Unix(), a.Leaf.NotAfter.Unix())
}

func expired(c *stdtls.Certificate, now time.Time) bool { return now.After(c.Leaf.NotAfter) }

// readFile reads what is meant to be a PEM file; what says of which kind, for the error.
func readFile(what, path string) ([]byte, error) {
	if path == "" {
		return nil, fmt.Errorf("%s file is not named", what)
	}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s file %s does not exist: check the path", what, path)
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%s file %s may not be read: give this user the right to", what, path)
	case err != nil:
		return nil, fmt.Errorf("%s file %s: %w", what, path, err)
	}
	return b, nil
}

// parseRoots makes a pool of the certificates in the text of a PEM file.
func parseRoots(what, path string, text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("%s file %s holds no PEM certificate", what, path)
	}
	return pool, nil
}
