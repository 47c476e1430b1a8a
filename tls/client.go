package tls

import (
	stdtls "crypto/tls"
	"errors"
	"log/slog"
	"os"
	"sync"
	"time"
)

// ClientOptions is how connections towards a server are secured.
type ClientOptions struct {
	CA         string // PEM file of roots; empty is the system's
	ServerName string // sent as SNI and checked; empty: the caller sets it on a clone, for each server
	Insecure   bool   // checks neither chain nor name
	Cert, Key  string // PEM files; both or none
	Log        *slog.Logger
}

const (
	clientSessions  = 128         // remembered per configuration
	clientFileCheck = time.Second // between two looks at the client certificate's files
)

// ClientConfig returns a configuration for connections to servers: TLS 1.2 at least, ALPN http/1.1, sessions resumed. It
// may be cloned; clones share sessions and the client certificate, which is read again when its files have changed (at a
// handshake, at most once a second; files that are no good leave the former in place and are logged). Errors name the file.
func ClientConfig(o ClientOptions) (*stdtls.Config, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &stdtls.Config{
		MinVersion:         stdtls.VersionTLS12,
		NextProtos:         []string{"http/1.1"},
		ServerName:         o.ServerName,
		InsecureSkipVerify: o.Insecure,
		ClientSessionCache: stdtls.NewLRUClientSessionCache(clientSessions),
	}
	if o.CA != "" {
		text, err := readFile("CA", o.CA)
		if err != nil {
			return nil, err
		}
		if c.RootCAs, err = parseRoots("CA", o.CA, text); err != nil {
			return nil, err
		}
	}
	if (o.Cert == "") != (o.Key == "") {
		return nil, errors.New("client certificate: name both the certificate and the key file, or none")
	}
	if o.Cert != "" {
		k := &keeper{files: Pair{Cert: o.Cert, Key: o.Key}, log: o.Log}
		if err := k.load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = k.certificate
	}
	return c, nil
}

// keeper holds a client certificate and follows its files.
type keeper struct {
	files Pair
	log   *slog.Logger

	mu      sync.Mutex
	cert    *stdtls.Certificate
	stamp   stamp
	checked time.Time
}

// stamp changes when a file does.
type stamp struct{ cert, key fileStamp }

type fileStamp struct {
	size     int64
	modified time.Time
}

func stampOf(path string) fileStamp {
	info, err := os.Stat(path)
	if err != nil {
		return fileStamp{}
	}
	return fileStamp{info.Size(), info.ModTime()}
}

// load reads the files. A client certificate needs no subject alternative name, unlike a server's.
func (k *keeper) load() error {
	k.checked = time.Now()
	k.stamp = stamp{stampOf(k.files.Cert), stampOf(k.files.Key)} // before reading: a change in between is seen next time
	certPEM, keyPEM, _, err := readPair(k.files)
	if err != nil {
		return err
	}
	cert, err := keyPair(k.files, certPEM, keyPEM)
	if err != nil {
		return err
	}
	k.cert = cert
	return nil
}

// certificate is GetClientCertificate.
func (k *keeper) certificate(*stdtls.CertificateRequestInfo) (*stdtls.Certificate, error) {
	k.mu.Lock()
	cert, err := k.currentLocked()
	k.mu.Unlock()
	if err != nil {
		k.log.Error("changed client certificate is not used, the former one stays", "error", err)
	}
	return cert, nil
}

func (k *keeper) currentLocked() (*stdtls.Certificate, error) {
	if time.Since(k.checked) < clientFileCheck {
		return k.cert, nil
	}
	k.checked = time.Now()
	if k.stamp == (stamp{stampOf(k.files.Cert), stampOf(k.files.Key)}) {
		return k.cert, nil
	}
	err := k.load()
	return k.cert, err
}
