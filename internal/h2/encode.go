package h2

import (
	"bytes"
	"hash/maphash"
)

// encoder writes heads in HPACK (RFC 7541). What it has seen lately goes into the dynamic table when it comes again, so that what is said once, as
// the identifier of a request, takes no place there; cookies never do. Strings are not Huffman-coded: what is worth it is said once and
// then by its index. It copies what it keeps, into memory that it has. The zero value knows no table; reset gives it one.
type encoder struct {
	limit   int // of the table: the peer's, tableSize at most
	lowest  int // that limit was since the last head; what is said before the next one
	changed bool
	size    int
	entries []entry // oldest first, from first on
	first   int
	text    []byte // names and values of entries
	lower   []byte // the field that is written, with its name in lower case
	seen    [64]uint32
	seed    maphash.Seed
}

// entry is one of the dynamic table.
type entry struct {
	hash    uint32
	at, end uint32 // in text
	name    uint32 // its length
}

const (
	tableSize     = 2 << 10 // of ours; less than the peer offers is used without saying so
	entryOverhead = 32      // RFC 7541, section 4.1
	statusName    = 8       // in the static table, with the first of its values
	staticEntries = 61
)

func (e *encoder) reset() { e.limit, e.lowest, e.seed = tableSize, tableSize, maphash.MakeSeed() }

// resize takes what the peer allows.
func (e *encoder) resize(n uint32) {
	e.limit = int(min(n, tableSize))
	e.lowest = min(e.lowest, e.limit)
	e.changed = true
	e.evict(0)
}

// begin appends what must stand before a head.
func (e *encoder) begin(b []byte) []byte {
	if !e.changed {
		return b
	}
	if e.lowest < e.limit { // some decoders take a second update only of an empty table
		e.entries, e.text, e.first, e.size = e.entries[:0], e.text[:0], 0, 0
		b = appendInt(b, 0x20, 5, 0)
	}
	e.changed, e.lowest = false, e.limit
	return appendInt(b, 0x20, 5, e.limit)
}

// status appends :status.
func (e *encoder) status(b []byte, status int) []byte {
	for i, s := range [...]int{200, 204, 206, 304, 400, 404, 500} {
		if s == status {
			return append(b, 0x80|byte(statusName+i))
		}
	}
	return append(b, statusName, 3, '0'+byte(status/100%10), '0'+byte(status/10%10), '0'+byte(status%10))
}

// The names of the pseudo-fields of requests.
var (
	methodName    = []byte(":method")
	schemeName    = []byte(":scheme")
	authorityName = []byte(":authority")
	pathName      = []byte(":path")
	protocolName  = []byte(":protocol")
)

// request appends the pseudo-fields of a request.
func (e *encoder) request(b []byte, a *Request) []byte {
	switch string(a.Method) {
	case "GET":
		b = append(b, 0x80|2)
	case "POST":
		b = append(b, 0x80|3)
	default:
		b = e.field(b, methodName, a.Method)
	}
	switch string(a.Scheme) {
	case "http":
		b = append(b, 0x80|6)
	case "https":
		b = append(b, 0x80|7)
	default:
		b = e.field(b, schemeName, a.Scheme)
	}
	if len(a.Authority) > 0 {
		b = e.field(b, authorityName, a.Authority)
	}
	b = e.field(b, pathName, a.Path)
	if len(a.Protocol) > 0 {
		b = e.field(b, protocolName, a.Protocol)
	}
	return b
}

// field appends a field. Its name may be in any case.
func (e *encoder) field(b, name, value []byte) []byte {
	e.lower = e.lower[:0]
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		e.lower = append(e.lower, c)
	}
	e.lower = append(e.lower, value...)
	n := len(name)
	hash := uint32(maphash.Bytes(e.seed, e.lower))
	if i := e.find(hash, n); i > 0 {
		return appendInt(b, 0x80, 7, staticEntries+i)
	}
	flag, prefix := byte(0), 4
	seen := &e.seen[hash%uint32(len(e.seen))]
	switch known := staticName(e.lower[:n]); {
	case known == setCookie, known == cookie, known == authorization:
		flag = 0x10
		fallthrough
	case *seen != hash || len(e.lower)+entryOverhead > e.limit/4:
		*seen = hash
		b = appendInt(b, flag, prefix, known)
		if known > 0 {
			return appendString(b, value)
		}
	default:
		b = appendInt(b, 0x40, 6, known)
		e.insert(hash, n)
		if known > 0 {
			return appendString(b, value)
		}
	}
	return appendString(appendString(b, e.lower[:n]), value)
}

// find returns the place of the field in lower, 1 for the newest; 0: there is none.
func (e *encoder) find(hash uint32, name int) int {
	for i := len(e.entries) - 1; i >= e.first; i-- {
		if x := &e.entries[i]; x.hash == hash && int(x.name) == name && bytes.Equal(e.text[x.at:x.end], e.lower) {
			return len(e.entries) - i
		}
	}
	return 0
}

func (e *encoder) insert(hash uint32, name int) {
	size := len(e.lower) + entryOverhead
	e.evict(size)
	e.compact()
	at := uint32(len(e.text))
	e.text = append(e.text, e.lower...)
	e.entries = append(e.entries, entry{hash, at, uint32(len(e.text)), uint32(name)})
	e.size += size
}

// evict drops the oldest until there is room for more.
func (e *encoder) evict(more int) {
	for e.size+more > e.limit && e.first < len(e.entries) {
		x := &e.entries[e.first]
		e.size -= int(x.end-x.at) + entryOverhead
		e.first++
	}
}

// compact takes the room of what was dropped, when it is as much as what is left.
func (e *encoder) compact() {
	if e.first == 0 || e.first < len(e.entries)-e.first {
		return
	}
	gone := uint32(len(e.text))
	if e.first < len(e.entries) {
		gone = e.entries[e.first].at
	}
	e.text = e.text[:copy(e.text, e.text[gone:])]
	e.entries = e.entries[:copy(e.entries, e.entries[e.first:])]
	e.first = 0
	for i := range e.entries {
		e.entries[i].at -= gone
		e.entries[i].end -= gone
	}
}

// appendInt appends n behind the flags of its first byte (RFC 7541, section 5.1).
func appendInt(b []byte, flags byte, prefix, n int) []byte {
	most := 1<<prefix - 1
	if n < most {
		return append(b, flags|byte(n))
	}
	b = append(b, flags|byte(most))
	for n -= most; n >= 0x80; n >>= 7 {
		b = append(b, 0x80|byte(n))
	}
	return append(b, byte(n))
}

func appendString(b, s []byte) []byte { return append(appendInt(b, 0, 7, len(s)), s...) }

// What is a secret, and never indexed.
const (
	authorization = 23
	cookie        = 32
	setCookie     = 55
)

// staticName is the index of a name in the static table; 0: it is not there, or seldom used.
func staticName(name []byte) int {
	switch string(name) {
	case "accept-ranges":
		return 18
	case "access-control-allow-origin":
		return 20
	case "age":
		return 21
	case "allow":
		return 22
	case "cache-control":
		return 24
	case "content-disposition":
		return 25
	case "content-encoding":
		return 26
	case "content-language":
		return 27
	case "content-length":
		return 28
	case "content-location":
		return 29
	case "content-range":
		return 30
	case "content-type":
		return 31
	case "date":
		return 33
	case "etag":
		return 34
	case "expires":
		return 36
	case "last-modified":
		return 44
	case "link":
		return 45
	case "location":
		return 46
	case "proxy-authenticate":
		return 48
	case "refresh":
		return 52
	case "retry-after":
		return 53
	case "server":
		return 54
	case "set-cookie":
		return setCookie
	case "strict-transport-security":
		return 56
	case "vary":
		return 59
	case "via":
		return 60
	case "www-authenticate":
		return 61
	}
	return askedName(name)
}

// askedName is staticName for what only requests have.
func askedName(name []byte) int {
	switch string(name) {
	case ":authority":
		return 1
	case ":method":
		return 2
	case ":path":
		return 4
	case ":scheme":
		return 6
	case "accept-charset":
		return 15
	case "accept-encoding":
		return 16
	case "accept-language":
		return 17
	case "accept":
		return 19
	case "authorization":
		return authorization
	case "cookie":
		return cookie
	case "expect":
		return 35
	case "from":
		return 37
	case "if-match":
		return 39
	case "if-modified-since":
		return 40
	case "if-none-match":
		return 41
	case "if-range":
		return 42
	case "if-unmodified-since":
		return 43
	case "range":
		return 50
	case "referer":
		return 51
	case "user-agent":
		return 58
	}
	return 0
}
