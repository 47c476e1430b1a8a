package tls

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"

	"github.com/pires/go-proxyproto"
)

const (
	shortestV1 = len("PROXY UNKNOWN\r\n")
	longestV1  = 107
	fixedV2    = 16   // signature, version and command, family, length
	longestV2  = 2048 // of what the length counts: addresses and TLVs; a client certificate in a TLV fits
)

var (
	signatureV1 = []byte("PROXY ")
	signatureV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

	errNoHeader  = errors.New("no PROXY header")
	errBadHeader = errors.New("malformed PROXY header")
)

// proxied is what a PROXY header says. local means it says nothing of a client: the sender speaks for itself.
type proxied struct {
	source, destination netip.AddrPort
	local               bool
}

// readProxyHeader reads a PROXY header, v1 or v2, and not one byte beyond it: every read asks for no more than what any
// well-formed header still has to come. (A malformed one may be overrun; then the connection is closed.) A v1 line thus
// takes some eight reads, which a connection pays once.
func readProxyHeader(r io.Reader) (proxied, error) {
	var buf [fixedV2 + longestV2]byte
	n, err := io.ReadFull(r, buf[:shortestV1])
	if err != nil {
		return proxied{}, err
	}
	if bytes.HasPrefix(buf[:n], signatureV2) {
		return readV2(r, buf[:], n)
	}
	if bytes.HasPrefix(buf[:n], signatureV1) {
		return readV1(r, buf[:longestV1], n)
	}
	return proxied{}, errNoHeader
}

func readV2(r io.Reader, buf []byte, n int) (proxied, error) {
	if _, err := io.ReadFull(r, buf[n:fixedV2]); err != nil {
		return proxied{}, err
	}
	length := int(binary.BigEndian.Uint16(buf[14:]))
	if length > longestV2 {
		return proxied{}, errBadHeader
	}
	if _, err := io.ReadFull(r, buf[fixedV2:fixedV2+length]); err != nil {
		return proxied{}, err
	}
	return parseProxyHeader(buf[:fixedV2+length])
}

func readV1(r io.Reader, buf []byte, n int) (proxied, error) {
	for {
		line := buf[:n]
		end := bytes.IndexByte(line, '\n')
		if end == n-1 {
			return parseV1(line)
		}
		need := missingV1(line)
		if end >= 0 || n+need > len(buf) {
			return proxied{}, errBadHeader
		}
		if _, err := io.ReadFull(r, buf[n:n+need]); err != nil {
			return proxied{}, err
		}
		n += need
	}
}

// missingV1 is a lower bound of how many bytes a well-formed line that starts so still has to come.
func missingV1(line []byte) int {
	if line[len(line)-1] == '\r' {
		return 1
	}
	if bytes.HasPrefix(line, []byte("PROXY UNKNOWN")) {
		return 2 // CR LF; anything may stand before
	}
	spaces := bytes.Count(line, []byte(" "))
	return 2*max(0, 5-spaces) + 2 // a space and at least one character for each field to come, CR LF
}

// parseV1 is stricter than the parser: single spaces and no field too many.
func parseV1(line []byte) (proxied, error) {
	p, err := parseProxyHeader(line)
	if err == nil && !p.local && bytes.Count(line, []byte(" ")) != 5 {
		err = errBadHeader
	}
	return p, err
}

// parseProxyHeader parses a whole header. Addresses other than TCP's are refused.
func parseProxyHeader(b []byte) (proxied, error) {
	r := bytes.NewReader(b)
	br := bufio.NewReaderSize(r, len(b))
	h, err := proxyproto.Read(br)
	if err != nil {
		return proxied{}, errors.Join(errBadHeader, err)
	}
	if br.Buffered()+r.Len() != 0 {
		return proxied{}, errBadHeader
	}
	if h.Command.IsLocal() {
		return proxied{local: true}, nil
	}
	src, dst, ok := h.TCPAddrs()
	if !ok {
		return proxied{}, errBadHeader
	}
	p := proxied{source: plain(src.AddrPort()), destination: plain(dst.AddrPort())}
	if !p.source.IsValid() || !p.destination.IsValid() {
		return proxied{}, errBadHeader
	}
	return p, nil
}

// opensProxyHeader reports whether b, the first bytes of a connection, starts a PROXY header. It is false if b is too
// short to tell: what then turns out to be a header is refused as a request or as a handshake.
func opensProxyHeader(b []byte) bool {
	return bytes.HasPrefix(b, signatureV1) || bytes.HasPrefix(b, signatureV2)
}
