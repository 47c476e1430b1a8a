package h2

import "strings"

// head is the head of a request or an answer as it comes, field by field: the fields as lines of HTTP/1, what stands in pseudo-fields apart.
type head struct {
	text    []byte // lines
	pseudo  []byte // values of pseudo-fields
	cookies []byte // one list of all of them

	method, scheme, authority, path, protocol, status span

	length  int64 // what Content-Length says; noLength, badLength
	most    int   // bytes of text and pseudo; more are not kept
	trailer bool  // fields behind a body
	answer  bool  // an answer's
	host    bool  // there was one
	names   bool  // so was a Trailer field
	regular bool  // a field that is none of the pseudo-fields has come
	bad     bool  // malformed
	long    bool  // it is longer than most, and would be in HTTP/1's words, and not kept whole
}

// span is a part of pseudo. The zero value is none.
type span struct{ at, end uint32 }

func (s span) there() bool { return s.end > 0 }

const (
	noLength  = -1
	badLength = -2
)

// begin makes h ready for a head of most bytes.
func (h *head) begin(most int, trailer, answer bool) {
	*h = head{text: h.text[:0], pseudo: append(h.pseudo[:0], 0), cookies: h.cookies[:0], length: noLength, most: most, trailer: trailer, answer: answer}
}

// add takes a field, and reports whether more are of interest.
func (h *head) add(name, value string) bool {
	switch {
	case !cleanValue(value):
		h.bad = true
	case len(name) > 0 && name[0] == ':':
		h.addPseudo(name, value)
	case !fieldName(name):
		h.bad = true
	default:
		if h.regular = true; h.answer {
			h.addAnswerField(name, value)
		} else {
			h.addField(name, value)
		}
	}
	h.long = len(h.text)+len(h.pseudo)+len(h.cookies) > h.most
	return !h.bad && !h.long
}

func (h *head) addPseudo(name, value string) {
	var to *span
	switch {
	case name == ":status":
		to = &h.status
	case name == ":method":
		to = &h.method
	case name == ":scheme":
		to = &h.scheme
	case name == ":authority":
		to = &h.authority
	case name == ":path":
		to = &h.path
	case name == ":protocol":
		to = &h.protocol
	}
	if (to == &h.status) != h.answer {
		to = nil
	}
	if to == nil || to.there() || h.regular || h.trailer {
		h.bad = true
		return
	}
	*to = h.keep(value)
}

// keep takes a value apart from the fields'.
func (h *head) keep(value string) span {
	at := uint32(len(h.pseudo))
	h.pseudo = append(h.pseudo, value...)
	return span{at, uint32(len(h.pseudo))}
}

func (h *head) addField(name, value string) {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.bad = true
	case "te":
		if value != "trailers" {
			h.bad = true
		}
		h.line(name, value)
	case "host":
		if h.host || h.authority.there() && !strings.EqualFold(value, string(h.view(h.authority))) {
			h.bad = true
		}
		if h.host = true; !h.authority.there() {
			h.authority = h.keep(value)
		}
	case "trailer":
		h.names = true
		h.line(name, value)
	case "cookie":
		if len(h.cookies) > 0 {
			h.cookies = append(h.cookies, "; "...)
		}
		h.cookies = append(h.cookies, value...)
	case "content-length":
		if h.length == noLength && !h.trailer {
			if h.length = parseLength(value); h.length != badLength {
				return // it is said apart
			}
		} else if h.length = badLength; !h.trailer {
			h.line(name, value) // twice: whoever reads the lines refuses them
		}
		h.line(name, value)
	default:
		h.line(name, value)
	}
}

// addAnswerField takes a field of an answer. What would frame it in HTTP/1 makes a head malformed, and is left out of trailers, where nobody
// believes it; a length that says two things says nothing.
func (h *head) addAnswerField(name, value string) {
	switch name {
	case "connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade":
		h.bad = h.bad || !h.trailer
	case "content-length":
		switch {
		case h.trailer:
		case h.length == noLength:
			h.length = parseLength(value)
		default:
			h.length = badLength
		}
	case "trailer":
		h.names = true
		h.line(name, value)
	default:
		h.line(name, value)
	}
}

func (h *head) line(name, value string) {
	h.text = append(h.text, name...)
	h.text = append(h.text, ": "...)
	h.text = append(h.text, value...)
	h.text = append(h.text, '\r', '\n')
}

// end judges a head that has come whole: ok, unless it is malformed.
func (h *head) end() (ok bool) {
	if h.answer {
		return !h.bad && (h.trailer || h.statusCode() > 0)
	}
	if len(h.cookies) > 0 {
		h.text = append(h.text, "cookie: "...)
		h.text = append(h.text, h.cookies...)
		h.text = append(h.text, '\r', '\n')
	}
	if h.bad || h.trailer {
		return !h.bad
	}
	method, path := h.view(h.method), h.view(h.path)
	if len(method) == 0 {
		return false
	}
	connect := string(method) == "CONNECT"
	if connect && !h.protocol.there() {
		return h.authority.there() && !h.scheme.there() && !h.path.there()
	}
	if h.protocol.there() && (!connect || !h.authority.there()) {
		return false
	}
	scheme := string(h.view(h.scheme))
	return (scheme == "http" || scheme == "https") && len(path) > 0 && (path[0] == '/' || string(path) == "*" && string(method) == "OPTIONS")
}

// statusCode is what :status says; 0 if it is none, or 101, which HTTP/2 does not have (RFC 9113, section 8.6).
func (h *head) statusCode() int {
	v := h.view(h.status)
	if len(v) != 3 || string(v) == "101" {
		return 0
	}
	n := 0
	for _, c := range v {
		if c < '0' || c > '9' {
			return 0
		}
		n = 10*n + int(c-'0')
	}
	if n < 100 || n > 599 {
		return 0
	}
	return n
}

func (h *head) view(s span) []byte { return h.pseudo[s.at:s.end] }

// Method returns the request's method. This and other views are valid until the stream's handler returns.
func (h *head) Method() []byte { return h.view(h.method) }

// Path returns the request's path with its query; nothing for CONNECT without a protocol.
func (h *head) Path() []byte { return h.view(h.path) }

// Authority returns what :authority says, or else Host; nothing if neither is there.
func (h *head) Authority() []byte { return h.view(h.authority) }

// Protocol returns what an extended CONNECT (RFC 8441) asks for; nothing if the request is none.
func (h *head) Protocol() []byte { return h.view(h.protocol) }

// Fields returns the other fields, each a line as HTTP/1 writes it, in order, but for Host; cookies are one list at the end. A Content-Length is
// here only if it is none, and there twice if it was repeated. A head that is longer than Options.HeadBytes is not whole, but as HTTP/1 writes it
// still longer than that.
func (h *head) Fields() []byte { return h.text }

// Length returns what Content-Length says; -1 if there is none, or it cannot be understood.
func (h *head) Length() int64 { return max(h.length, noLength) }

// Announces reports whether the request names its trailers.
func (h *head) Announces() bool { return h.names }

func parseLength(value string) int64 {
	if len(value) == 0 || len(value) > 18 {
		return badLength
	}
	n := int64(0)
	for i := range len(value) {
		c := value[i]
		if c < '0' || c > '9' {
			return badLength
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// fieldName reports whether a name is one that HTTP/2 allows: a token without upper case (RFC 9113, section 8.2.1).
func fieldName(name string) bool {
	for i := range len(name) {
		if !nameChars[name[i]] {
			return false
		}
	}
	return len(name) > 0
}

var nameChars = func() (t [256]bool) {
	for _, c := range "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz" {
		t[c] = true
	}
	return t
}()

// cleanValue reports whether a value has neither control characters nor space around it.
func cleanValue(value string) bool {
	n := len(value)
	if n == 0 {
		return true
	}
	if blank(value[0]) || blank(value[n-1]) {
		return false
	}
	for i := range n {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func blank(c byte) bool { return c == ' ' || c == '\t' }
