package cache

import "strconv"

// Outcome says what is to be done about a request.
type Outcome uint8

// The outcomes.
const (
	Pass        Outcome = iota // forward it; the cache has no part in it, but for what Invalidate is for
	Hit                        // send the answer
	Stale                      // send the answer; with a Flight, fetch anew behind it, with the Flight's conditions in place of its own
	Miss                       // forward it, and let the Flight see the response
	Revalidate                 // forward it with the Flight's conditions in place of its own, and let the Flight see the response
	Wait                       // another request fetches the same: wait for Await, then ask again
	Unavailable                // the client wants nothing but what is stored: send the answer, an empty 504
)

var outcomeText = [...]string{"pass", "hit", "stale", "miss", "revalidate", "wait", "unavailable"}

func (o Outcome) String() string { return outcomeText[o] }

// Outcomes are all there are, for counters.
func Outcomes() []Outcome { return []Outcome{Pass, Hit, Stale, Miss, Revalidate, Wait, Unavailable} }

// forward says why a request was forwarded, in the words of RFC 9211, section 2.2.
type forward uint8

const (
	notForwarded forward = iota
	forBypass
	forMethod
	forURI
	forVary
	forRequest
	forStale
)

var forwardText = [...]string{"", "bypass", "method", "uri-miss", "vary-miss", "request", "stale"}

// An Answer is what Lookup says. Head and Body are of the cache's memory: they may be kept and must not be changed. It is a value;
// Status, Head, Body and Length are set if there is something to send.
type Answer struct {
	Outcome Outcome
	Status  int
	Head    []byte // header lines, each with its CRLF; neither framing nor what AppendFields appends
	Body    []byte // what to send: the part that was asked for, nothing for HEAD
	Length  int64  // for Content-Length, of HEAD too; -1: none (204, 304)
	Flight  *Flight
	Await   *Flight // somebody else's, to wait for and nothing else

	cache     *Cache
	why       forward
	fwdStatus int // of the response that came when it was forwarded; 0: none did
	collapsed bool
	detail    string

	age, left int64 // seconds
	part      span
	size      int64
	kind      rangeKind
	body      *body
}

// Lend notes that Body is being sent, which may take long; Return that it is over. A body that is lent and not stored any more is memory
// beyond MaxSize: while more is lent than may be stored, nothing is, so that clients that read slowly cannot have more and more kept for them.
func (a *Answer) Lend() {
	if b := a.body; b != nil && b.lent.Add(1) == 1 {
		a.cache.lent.Add(int64(cap(b.bytes)))
	}
}

// Return ends what Lend began.
func (a *Answer) Return() {
	if b := a.body; b != nil && b.lent.Add(-1) == 0 {
		a.cache.lent.Add(-int64(cap(b.bytes)))
	}
}

// AppendFields appends the header lines that are another for every answer: Age, Content-Range, Cache-Status (RFC 9211).
func (a *Answer) AppendFields(b []byte) []byte {
	if a.Outcome != Unavailable && a.Status != 416 {
		b = append(b, "Age: "...)
		b = strconv.AppendInt(b, a.age, 10)
		b = append(b, '\r', '\n')
	}
	switch a.kind {
	case onePart:
		b = append(b, "Content-Range: bytes "...)
		b = strconv.AppendInt(b, a.part.from, 10)
		b = append(b, '-')
		b = strconv.AppendInt(b, a.part.to-1, 10)
		b = append(b, '/')
		b = strconv.AppendInt(b, a.size, 10)
		b = append(b, '\r', '\n')
	case unsatisfiable:
		b = append(b, "Content-Range: bytes */"...)
		b = strconv.AppendInt(b, a.size, 10)
		b = append(b, '\r', '\n')
	}
	b = append(b, a.cache.status...)
	switch {
	case a.Outcome == Unavailable:
	case a.why == notForwarded:
		b = append(b, "; hit"...)
	default:
		b = a.appendForward(b)
	}
	if a.Outcome != Unavailable {
		b = append(b, "; ttl="...)
		b = strconv.AppendInt(b, a.left, 10)
	}
	if a.detail != "" {
		b = append(b, "; detail="...)
		b = append(b, a.detail...)
	}
	return append(b, '\r', '\n')
}

// AppendForwarded appends the Cache-Status line for a response that is sent as the upstream gave it; fate is what the flight's Begin
// said, NotAsked if there was none.
func (a *Answer) AppendForwarded(b []byte, status int, fate Fate) []byte {
	a.fwdStatus = status
	b = append(b, a.cache.status...)
	b = a.appendForward(b)
	if fate == Stores {
		b = append(b, "; stored"...)
	}
	return append(b, '\r', '\n')
}

func (a *Answer) appendForward(b []byte) []byte {
	b = append(b, "; fwd="...)
	b = append(b, forwardText[a.why]...)
	if a.fwdStatus != 0 {
		b = append(b, "; fwd-status="...)
		b = strconv.AppendInt(b, int64(a.fwdStatus), 10)
	}
	if a.collapsed {
		b = append(b, "; collapsed"...)
	}
	return b
}

// serve fills a with what is stored, as the request asks for it: with 304 if the client has it, with the part that it wants, or whole.
func (a *Answer) serve(q *Query, s *stored) {
	a.age, a.left = s.age(q.Now), s.left(q.Now)
	if s.unchanged(q.Request) {
		a.Status, a.Head, a.Length = 304, s.brief, -1
		return
	}
	a.Status, a.Head, a.Body, a.Length = s.status, s.head, s.body.bytes, int64(len(s.body.bytes))
	a.body = s.body
	if s.status == 204 {
		a.Length = -1
	}
	if q.Request.Method() == "HEAD" {
		a.Body = nil
		return
	}
	a.part, a.kind = s.part(q.Request)
	a.size = a.Length
	switch a.kind {
	case onePart:
		a.Status, a.Body, a.Length = 206, s.body.bytes[a.part.from:a.part.to], a.part.to-a.part.from
	case unsatisfiable:
		a.Status, a.Head, a.Body, a.Length = 416, nil, nil, 0
	}
}
