package h2

import (
	"encoding/binary"

	"weir/internal/mono"
)

// frame reads a frame and does what it asks for. An error ends the connection.
func (c *base) frame() error {
	b, err := c.peek(frameHeader)
	if err != nil {
		return err
	}
	h := parseHeader(b)
	switch {
	case h.length > maxFrame:
		return connError(FrameSizeError)
	case c.opening.stream != 0 && (h.kind != frameContinuation || h.stream != c.opening.stream):
		return connError(ProtocolError)
	case c.opening.stream == 0 && h.kind == frameContinuation:
		return connError(ProtocolError)
	case !c.greeted && (h.kind != frameSettings || h.has(flagAck)):
		return connError(ProtocolError)
	}
	if b, err = c.peek(frameHeader + h.length); err != nil {
		return err
	}
	c.in.r += frameHeader + h.length
	err = c.take(h, b[frameHeader:frameHeader+h.length])
	if c.opening.stream == 0 {
		c.headSince = 0
	}
	return err
}

func (c *base) take(h header, p []byte) error {
	switch h.kind {
	case frameHeaders:
		return c.takeHeaders(h, p)
	case frameContinuation:
		return c.takeContinuation(h, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gate.sent(h, mono.Now)
	var err error
	switch h.kind {
	case frameData:
		err = c.takeData(h, p)
	case framePriority:
		err = c.takePriority(h, p)
	case frameRSTStream:
		err = c.takeReset(h, p)
	case frameSettings:
		err = c.takeSettings(h, p)
	case framePushPromise:
		err = connError(ProtocolError)
	case framePing:
		err = c.takePing(h, p)
	case frameGoAway:
		err = c.takeGoAway(h, p)
	case frameWindowUpdate:
		err = c.takeWindowUpdate(h, p)
	}
	if err == nil {
		err = c.calmLocked()
	}
	c.kickLocked()
	return err
}

// calmLocked ends the connection of a peer that floods it, or reads nothing of what it has the connection say.
func (c *base) calmLocked() error {
	if c.gate.over != NoFlood || len(c.out) > c.queue {
		return connError(EnhanceYourCalm)
	}
	return c.err
}

func (c *base) takeData(h header, p []byte) error {
	if c.neverLocked(h.stream) {
		return connError(ProtocolError)
	}
	c.stirred = true
	p, ok := unpad(h, p)
	if !ok {
		return connError(ProtocolError)
	}
	if int64(h.length) > c.recvWindow {
		return connError(FlowControlError)
	}
	c.recvWindow -= int64(h.length)
	end := h.has(flagEndStream)
	if len(p) == 0 && !end {
		c.gate.barren(mono.Now())
	}
	s := c.streams[h.stream]
	if s == nil {
		c.oweLocked(h.length)
		c.gate.behind(h.length, mono.Now())
		if how := c.past.of(h.stream); (how == endedByBoth || how == endedUnknown && !c.client) && !c.told { // a client cancels a lot
			c.out = appendReset(c.roomLocked(), h.stream, StreamClosed)
		}
		return nil
	}
	if c.client {
		c.oweLocked(h.length)
	}
	if code := s.faultLocked(h, len(p)); code != NoError {
		c.readLocked(h.length)
		if code == ProtocolError && c.client && s.headed {
			s.putLocked(p[:min(int64(len(p)), s.left)]) // as much as was announced
		}
		c.blameLocked(s, code)
		return nil
	}
	s.recvWindow -= int64(h.length)
	if s.left >= 0 {
		s.left -= int64(len(p))
	}
	if end {
		s.endRemoteLocked()
	}
	s.tookLocked(h.length - len(p))
	if s.readErr != nil {
		c.readLocked(len(p)) // nobody reads it, and no more of it is asked for
		return nil
	}
	s.putLocked(p)
	return nil
}

// faultLocked returns what is wrong with n bytes of data for s, if anything is.
func (s *stream) faultLocked(h header, n int) Code {
	switch data := int64(n); {
	case s.remoteEnd:
		return StreamClosed
	case int64(h.length) > s.recvWindow:
		return FlowControlError
	case !s.headed, s.left >= 0 && (data > s.left || h.has(flagEndStream) && data < s.left):
		return ProtocolError
	}
	return NoError
}

func (c *base) takePriority(h header, p []byte) error {
	switch {
	case h.stream == 0:
		return connError(ProtocolError)
	case h.length != 5:
		return c.faultLocked(h.stream, FrameSizeError)
	case binary.BigEndian.Uint32(p)&maxStreamID == h.stream:
		return c.faultLocked(h.stream, ProtocolError)
	}
	return nil
}

// faultLocked resets a stream for what it was sent, even if it is over.
func (c *base) faultLocked(id uint32, code Code) error {
	if id > c.last {
		return connError(code)
	}
	if s := c.streams[id]; s != nil {
		c.blameLocked(s, code)
		return nil
	}
	c.gate.provoked(mono.Now())
	c.out = appendReset(c.roomLocked(), id, code)
	return nil
}

// neverLocked reports whether a stream was never opened.
func (c *base) neverLocked(id uint32) bool { return id > c.last || id%2 == 0 }

// blameLocked resets a stream for a fault of its peer's.
func (c *base) blameLocked(s *stream, code Code) {
	c.gate.provoked(mono.Now())
	c.tellResetLocked(s, code)
	c.closeLocked(s, c.side.blamedLocked(code), true)
}

// tellResetLocked tells the peer that a stream is over.
func (c *base) tellResetLocked(s *stream, code Code) {
	c.out = appendReset(c.roomLocked(), s.id, code)
	c.past.add(s.id, endedHere)
}

func (c *base) takeGoAway(h header, p []byte) error {
	switch {
	case h.stream != 0:
		return connError(ProtocolError)
	case h.length < 8:
		return connError(FrameSizeError)
	}
	return c.side.goAwayLocked(binary.BigEndian.Uint32(p)&maxStreamID, Code(binary.BigEndian.Uint32(p[4:])))
}

func (c *base) takeReset(h header, p []byte) error {
	switch {
	case h.length != 4:
		return connError(FrameSizeError)
	case c.neverLocked(h.stream):
		return connError(ProtocolError)
	}
	if s := c.streams[h.stream]; s != nil {
		c.past.add(s.id, endedByBoth)
		c.closeLocked(s, c.side.resetLocked(s, Code(binary.BigEndian.Uint32(p))), true)
	}
	return nil
}

func (c *base) takePing(h header, p []byte) error {
	switch {
	case h.stream != 0:
		return connError(ProtocolError)
	case h.length != 8:
		return connError(FrameSizeError)
	case !h.has(flagAck):
		c.out = append(appendHeader(c.roomLocked(), len(p), framePing, flagAck, 0), p...)
	case c.side.heardLocked(p):
		c.gate.awaited()
	}
	return nil
}

func (c *base) takeWindowUpdate(h header, p []byte) error {
	if h.length != 4 {
		return connError(FrameSizeError)
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if h.stream == 0 {
		switch {
		case n == 0:
			return connError(ProtocolError)
		case c.sendWindow+n > maxWindow:
			return connError(FlowControlError)
		}
		c.sendWindow += n
		c.passLocked()
		return nil
	}
	if c.neverLocked(h.stream) {
		return connError(ProtocolError)
	}
	switch s := c.streams[h.stream]; {
	case s == nil:
	case n == 0:
		c.blameLocked(s, ProtocolError)
	case s.sendWindow+n > maxWindow:
		c.blameLocked(s, FlowControlError)
	default:
		s.sendWindow += n
		s.writable.Signal()
	}
	return nil
}

func (c *base) takeSettings(h header, p []byte) error {
	switch {
	case h.stream != 0:
		return connError(ProtocolError)
	case h.has(flagAck):
		if h.length != 0 {
			return connError(FrameSizeError)
		}
		return nil
	case h.length%settingLength != 0:
		return connError(FrameSizeError)
	}
	window := c.peerWindow
	for ; len(p) > 0; p = p[settingLength:] {
		value := binary.BigEndian.Uint32(p[2:])
		switch binary.BigEndian.Uint16(p) {
		case settingTableSize:
			c.enc.resize(value)
		case settingPush:
			if value > 1 || value == 1 && c.client { // a server must not (RFC 9113, section 6.5.2)
				return connError(ProtocolError)
			}
		case settingConnect:
			if value > 1 || value == 0 && c.allows.connect { // it cannot be taken back (RFC 8441, section 3)
				return connError(ProtocolError)
			}
			c.allows.connect = value == 1
		case settingStreams:
			c.allows.streams = value
		case settingHeadSize:
			c.allows.headList = value
		case settingWindow:
			if value > maxWindow {
				return connError(FlowControlError)
			}
			window = int64(value)
		case settingFrameSize:
			if value < maxFrame || value > 1<<24-1 {
				return connError(ProtocolError)
			}
		}
	}
	c.greeted = true
	c.out = appendHeader(c.roomLocked(), 0, frameSettings, flagAck, 0)
	return c.moveWindowsLocked(window)
}

// moveWindowsLocked takes what the peer says of the windows of its streams; those that there are may become negative.
func (c *base) moveWindowsLocked(window int64) error {
	by := window - c.peerWindow
	if by == 0 {
		return nil
	}
	c.peerWindow = window
	for _, s := range c.streams {
		if s.sendWindow += by; s.sendWindow > maxWindow {
			return connError(FlowControlError)
		}
		s.writable.Signal()
	}
	return nil
}
