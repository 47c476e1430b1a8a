package h2

import "weir/internal/mono"

// Call is a request to a server, and its answer. One goroutine may read, one may write; Cancel is for any. The zero value is for Begin, and so is
// what was closed while nobody else used it.
type Call struct {
	stream
	conn     *Client
	reserved bool
	opened   bool
	toHead   bool // a HEAD
	tunnel   bool // a CONNECT

	// Under the connection's lock.
	heads    []answerHead // from taken on
	taken    int
	interims int
	final    bool   // the last of heads is the answer's own
	lines    []byte // of heads
}

// answerHead is a head that came.
type answerHead struct {
	status    int
	at, end   int // of its lines
	length    int64
	announces bool
	ends      bool
}

// Request is what a request's head says. Fields' names may be in any case.
type Request struct {
	Method, Scheme, Authority, Path []byte
	Protocol                        []byte // of an extended CONNECT; nil: it is none
	Fields                          []Field
	End                             bool // no body follows
}

// Answer is the head of an answer, or of an interim one.
type Answer struct {
	Status    int
	Fields    []byte // each a line as HTTP/1 writes it, in order, but for Content-Length; valid until the call is closed
	Length    int64  // what Content-Length says; -1: nothing, or two things
	Announces bool   // it names its trailers
	Ends      bool   // no body follows
	Here      bool   // something of the body has come, or its end: Read does not wait
}

// mostInterim is how many interim answers an endpoint may send before its answer.
const mostInterim = 32

// Begin makes k a call on c, of which a stream was reserved.
func (k *Call) Begin(c *Client) {
	if cap(k.lines) > mostKept {
		k.lines = nil
	}
	k.stream.begin(&c.base)
	k.stream.call, k.conn = k, c
	k.reserved, k.opened, k.toHead, k.tunnel = true, false, false, false
	k.heads, k.taken, k.interims, k.final, k.lines = k.heads[:0], 0, 0, false, k.lines[:0]
}

// Ask sends a request's head, or returns why not: [ErrNotActedOn], [ErrTooLong], [ErrNoConnect], or that the call was cancelled. It does not wait. It
// is on its way after Flush at the latest.
func (k *Call) Ask(a *Request) error {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	size := a.size()
	switch {
	case k.err != nil:
		return k.err
	case c.err != nil, c.gone, c.running+c.unheard >= c.limitLocked(), len(c.out) > 0 && int64(len(c.out))+size > mostHeads+32<<10:
		return ErrNotActedOn
	case size > int64(c.allows.headList):
		return ErrTooLong
	case len(a.Protocol) > 0 && !c.allows.connect:
		return ErrNoConnect
	}
	k.releaseLocked()
	k.open(a)
	flags := uint8(flagEndHeaders)
	if a.End {
		flags |= flagEndStream
	}
	c.growLocked(1 << 10)
	at := len(c.out)
	b := c.enc.request(c.enc.begin(appendHeader(c.out, 0, frameHeaders, flags, k.id)), a)
	for i := range a.Fields {
		b = c.enc.field(b, a.Fields[i].Name, a.Fields[i].Value)
	}
	c.out = endHead(b, at)
	return nil
}

// open makes k the next stream. The lock is held.
func (k *Call) open(a *Request) {
	c := k.conn
	k.opened, k.toHead, k.tunnel = true, string(a.Method) == "HEAD", len(a.Protocol) > 0
	k.id, c.last = c.next, c.next
	c.next += 2
	k.sendWindow, k.left, k.localEnd = c.peerWindow, noLength, a.End
	c.streams[k.id] = &k.stream
	if c.running++; c.silent == 0 {
		c.silent = mono.Now()
	}
	c.gate.asked()
}

// size is what RFC 9113, section 6.5.2, counts.
func (a *Request) size() int64 {
	n := 4*entryOverhead + len(":method:scheme:authority:path") + len(a.Method) + len(a.Scheme) + len(a.Authority) + len(a.Path)
	if len(a.Protocol) > 0 {
		n += entryOverhead + len(":protocol") + len(a.Protocol)
	}
	for i := range a.Fields {
		n += entryOverhead + len(a.Fields[i].Name) + len(a.Fields[i].Value)
	}
	return int64(n)
}

// releaseLocked takes a promise back.
func (k *Call) releaseLocked() {
	if k.reserved {
		k.reserved = false
		k.conn.reserved--
	}
}

// AddData adds as much of a piece of the request's body as there is a window and room for, and returns how much. It does not wait. end: it is the
// last.
func (k *Call) AddData(p []byte, end bool) (int, error) {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for done := 0; ; {
		if err := k.writeErrLocked(); err != nil {
			return done, err
		}
		want := len(p) - done
		if want > 0 && (k.stream.sendWindow <= 0 || len(c.turns) > 0 || !c.fitsLocked(want)) {
			return done, nil
		}
		n := 0
		if want > 0 {
			n = k.mayLocked(want)
		}
		k.addLocked(p[done:done+n], end && n == want)
		if done += n; n == want {
			return done, nil
		}
	}
}

// AddTrailers adds the fields that end a request if there is room for them, and reports whether it has. It does not wait.
func (k *Call) AddTrailers(fields []Field) (bool, error) {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := k.writeErrLocked(); err != nil {
		return false, err
	}
	if len(c.turns) > 0 || !c.fitsLocked(0) {
		return false, nil
	}
	k.addFieldsLocked(0, fields, true)
	return true, nil
}

// WriteTrailers adds them, and waits for room.
func (k *Call) WriteTrailers(fields []Field) error {
	k.c.mu.Lock()
	defer k.c.mu.Unlock()
	if _, err := k.turnLocked(0); err != nil {
		return err
	}
	k.addFieldsLocked(0, fields, true)
	return nil
}

// ReadHead waits for a head, and returns it.
func (k *Call) ReadHead() (Answer, error) {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if k.readErr != nil {
			return Answer{}, k.readErr
		}
		if k.taken < len(k.heads) {
			h := &k.heads[k.taken]
			k.taken++
			here := k.r < len(k.in) || k.remoteEnd || k.err != nil
			return Answer{h.status, k.lines[h.at:h.end:h.end], h.length, h.announces, h.ends, here}, nil
		}
		if k.err != nil {
			return Answer{}, k.err
		}
		k.readable.Wait()
	}
}

// Cancel ends the call at once, in both directions, and tells the server if it has heard of it. What waits in it fails.
func (k *Call) Cancel() {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	k.cancelLocked()
	c.kickLocked()
}

func (k *Call) cancelLocked() {
	c := k.conn
	switch {
	case k.err != nil:
	case k.whole:
		k.err = errCut
	case !k.opened:
		k.err = errCut
		k.releaseLocked()
		c.leaveLocked()
	default:
		c.tellResetLocked(&k.stream, Cancel)
		c.gate.cancelledOf(k.recvWindow)
		if c.closeLocked(&k.stream, errCut, false); !c.patient {
			c.awaitLocked()
		}
	}
	k.dropLocked()
	k.readErr = errCut
	k.readable.Signal()
	k.writable.Signal()
}

// awaitLocked counts a stream that was reset against those that may be open until the server has surely heard of it: it may still be working for
// it, and takes more of that for an attack.
func (c *Client) awaitLocked() {
	if c.unheard++; !c.asked {
		c.asked = true
		c.pingLocked(resetPing)
	}
}

// Close ends the call, as Cancel does if it is not whole, unless only its end has not come. Nothing of it is to be used any more, unless other
// goroutines still do.
func (k *Call) Close() {
	c := k.conn
	c.mu.Lock()
	defer c.mu.Unlock()
	if k.err == nil && k.localEnd && k.final && k.left == 0 && !k.remoteEnd {
		k.trailLocked()
	}
	k.cancelLocked()
	k.releaseLocked()
	c.leaveLocked()
	c.kickLocked()
}

func (c *Client) beginHead() error {
	o := &c.opening
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.neverLocked(o.stream) {
		return connError(ProtocolError)
	}
	o.head = &o.own
	s := c.streams[o.stream]
	if o.trailers = s != nil && s.call.final; s == nil {
		c.gate.behind(lateHead, mono.Now())
	}
	o.head.begin(c.most, o.trailers, true)
	return nil
}

func (c *Client) endHead(id uint32, ok bool) error {
	o := &c.opening
	c.mu.Lock()
	defer c.mu.Unlock()
	switch s := c.streams[id]; {
	case s == nil:
		if c.past.of(id) == endedByBoth {
			c.gate.provoked(mono.Now()) // nobody asked for it
		}
	case s.remoteEnd:
		c.blameLocked(s, StreamClosed)
	case !ok || o.head.long || o.trailers && (!o.end || s.left > 0):
		c.blameLocked(s, ProtocolError)
	case o.trailers:
		s.trailers = append(s.trailers, o.head.text...)
		s.endRemoteLocked()
	default:
		c.headLocked(s.call, o.end)
	}
	c.kickLocked()
	return c.calmLocked()
}

// headLocked gives a call a head.
func (c *Client) headLocked(k *Call, end bool) {
	h := c.opening.head
	status := h.statusCode()
	interim := status < 200
	if interim {
		k.interims++
	}
	if interim && (end || k.interims > mostInterim) || len(k.lines)+len(h.text) > c.most {
		c.blameLocked(&k.stream, ProtocolError)
		return
	}
	at := len(k.lines)
	k.lines = append(k.lines, h.text...)
	k.heads = append(k.heads, answerHead{status, at, len(k.lines), h.Length(), h.names, end})
	if interim {
		k.readable.Signal()
		return
	}
	k.final, k.headed = true, true
	switch {
	case k.toHead || status == 204 || status == 304:
		k.left = 0
	case k.tunnel && status < 300: // it has none
	default:
		k.left = h.Length()
	}
	switch {
	case end && k.left > 0:
		c.blameLocked(&k.stream, ProtocolError) // behind the head: it can be seen that the answer is cut
	case end:
		k.endRemoteLocked()
	default:
		k.readable.Signal()
	}
}
