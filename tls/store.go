package tls

import (
	"crypto/rand"
	"crypto/sha256"
	stdtls "crypto/tls"
	"crypto/x509"
	"fmt"
	"sync"
	"sync/atomic"
)

// view is all that a handshake needs. It is immutable, but for the ticket keys in server, which crypto/tls guards, and
// the certificates of acme, which arrive when they are obtained.
type view struct {
	o           Options
	pairs       []*pair
	names       *names
	clientSum   digest // of the client CA file's text
	clientRoots *x509.CertPool
	acme        *authority // nil if off

	server, refusal, challenge *stdtls.Config
	serverH2                   *stdtls.Config // server, with h2
}

// Store holds certificates, ticket keys and client authorities, and answers handshakes with them. It is safe for
// concurrent use. A handshake loads one atomic pointer and takes no lock of the Store.
type Store struct {
	view   atomic.Pointer[view]
	timing timing

	// Each tells a part of Run of a change of view; capacity 1.
	changedFiles, changedACME chan struct{}

	mu   sync.Mutex // one change at a time
	keys [][32]byte // ticket keys, current first
	bad  map[Pair]digest
	// badClientCA is the digest of a client CA file that was refused, so that it is reported once.
	badClientCA digest
}

// NewStore loads all files that o names and certificates obtained earlier, and starts nothing: see [Store.Run]. An error
// names the file or the option and what to do about it. The cache directory of ACME is made if it does not exist.
func NewStore(o Options) (*Store, error) {
	s := &Store{changedFiles: make(chan struct{}, 1), changedACME: make(chan struct{}, 1), timing: defaultTiming, bad: map[Pair]digest{}}
	if err := s.Reload(o); err != nil {
		return nil, err
	}
	return s, nil
}

// Reload puts o in force for new handshakes, or changes nothing and says why. Open connections stay. Session tickets stay
// good unless the mode or the authority of client certificates changed.
func (s *Store) Reload(o Options) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.view.Load()
	v, err := load(o, old)
	if err != nil {
		return err
	}
	if old != nil && old.acme != nil && old.acme != v.acme {
		old.acme.end()
	}
	clear(s.bad)
	s.badClientCA = digest{}
	s.installLocked(v)
	for _, c := range []chan struct{}{s.changedFiles, s.changedACME} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return nil
}

// load builds the view of o. It keeps the authority of old if its options stand, and has no other effect.
func load(o Options, old *view) (*view, error) {
	o, err := o.normalize()
	if err != nil {
		return nil, err
	}
	v := &view{o: o}
	for _, files := range o.Certificates {
		p, err := loadPair(files)
		if err != nil {
			return nil, err
		}
		v.pairs = append(v.pairs, p)
	}
	if err := v.loadClientCA(); err != nil {
		return nil, err
	}
	if err := v.index(); err != nil {
		return nil, err
	}
	if o.ACME.Enabled {
		var former *authority
		if old != nil {
			former = old.acme
		}
		if v.acme, err = openAuthority(o.ACME, o.Log, former); err != nil {
			return nil, err
		}
	}
	v.configure()
	return v, nil
}

func (v *view) loadClientCA() error {
	if v.o.ClientAuth == None {
		return nil
	}
	text, err := readFile("client CA", v.o.ClientCA)
	if err != nil {
		return err
	}
	v.clientSum = sha256.Sum256(text)
	v.clientRoots, err = parseRoots("client CA", v.o.ClientCA, text)
	return err
}

func (v *view) index() (err error) {
	v.names, err = indexNames(v.pairs, len(v.o.ACME.Domains))
	return err
}

// installLocked puts v in force with the ticket keys that are due to it.
func (s *Store) installLocked(v *view) {
	old := s.view.Load()
	if old == nil || old.o.ClientAuth != v.o.ClientAuth || old.clientSum != v.clientSum {
		s.keys = [][32]byte{newTicketKey()}
	}
	v.setTicketKeys(s.keys)
	s.view.Store(v)
}

// rotate makes a new ticket key the current one and keeps the one before it.
func (s *Store) rotate() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = [][32]byte{newTicketKey(), s.keys[0]}
	s.view.Load().setTicketKeys(s.keys)
}

func (v *view) setTicketKeys(keys [][32]byte) {
	v.server.SetSessionTicketKeys(keys)
	v.serverH2.SetSessionTicketKeys(keys)
}

func newTicketKey() (k [32]byte) {
	if _, err := rand.Read(k[:]); err != nil {
		panic(fmt.Sprintf("BUG: crypto/rand: %v", err)) // crypto/rand promises never to fail
	}
	return k
}

// Certificates lists the certificates in force, files in their order and then ACME by domain. Domains whose certificate
// has not been obtained yet are left out.
func (s *Store) Certificates() []CertInfo {
	v := s.view.Load()
	out := make([]CertInfo, 0, len(v.pairs)+len(v.o.ACME.Domains))
	for _, p := range v.pairs {
		out = append(out, p.info())
	}
	for _, d := range v.o.ACME.Domains {
		if c := v.acme.certificate(d); c != nil {
			out = append(out, CertInfo{Names: []string{d}, NotAfter: c.Leaf.NotAfter, Source: "acme"})
		}
	}
	return out
}

// HTTP01 returns the answer to an ACME HTTP-01 challenge for a request's path and Host on a listener in clear text. It is
// false if the path is none of a challenge of ours. At most one small file is read.
func (s *Store) HTTP01(path, host string) (body []byte, ok bool) {
	return s.view.Load().acme.http01(path, host)
}
