package h2

import (
	"encoding/binary"

	"weir/internal/mono"
)

// frame reads a frame and does what it asks for. An error ends the connection.
func (c *Conn) frame() error {
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

func (c *Conn) take(h header, p []byte) error {
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
		if h.stream != 0 {
			err = connError(ProtocolError)
		} else if h.length < 8 {
			err = connError(FrameSizeError)
		}
	case frameWindowUpdate:
		err = c.takeWindowUpdate(h, p)
	}
	if err == nil {
		err = c.calmLocked()
	}
	c.kickLocked()
	return err
}

// calmLocked ends the connection of a client that floods it, or reads nothing of what it has the connection say.
func (c *Conn) calmLocked() error {
	if c.gate.over != NoFlood || len(c.out) > mostQueued {
		return connError(EnhanceYourCalm)
	}
	return c.err
}

func (c *Conn) takeData(h header, p []byte) error {
	if h.stream == 0 || h.stream > c.last {
		return connError(ProtocolError)
	}
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
		c.gate.behind(mono.Now())
		if c.past.of(h.stream) != endedHere && !c.told {
			c.out = appendReset(c.roomLocked(), h.stream, StreamClosed)
		}
		return nil
	}
	code := NoError
	switch {
	case s.remoteEnd:
		code = StreamClosed
	case int64(h.length) > s.recvWindow:
		code = FlowControlError
	case s.left >= 0 && (int64(len(p)) > s.left || end && int64(len(p)) < s.left):
		code = ProtocolError
	}
	if code != NoError {
		c.oweLocked(h.length)
		c.blameLocked(s, code)
		return nil
	}
	s.recvWindow -= int64(h.length)
	if s.left >= 0 {
		s.left -= int64(len(p))
	}
	if end {
		s.remoteEnd = true
		s.wholeLocked()
		s.readable.Signal()
	}
	s.tookLocked(h.length - len(p))
	if s.readErr != nil {
		c.oweLocked(len(p)) // nobody reads it, and no more of it is asked for
		return nil
	}
	s.putLocked(p)
	return nil
}

func (c *Conn) takePriority(h header, p []byte) error {
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
func (c *Conn) faultLocked(id uint32, code Code) error {
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

// blameLocked resets a stream for a fault of its client's.
func (c *Conn) blameLocked(s *Stream, code Code) {
	c.gate.provoked(mono.Now())
	c.resetLocked(s, code)
	c.closeLocked(s, errReset, true)
}

// resetLocked tells the client that a stream is over.
func (c *Conn) resetLocked(s *Stream, code Code) {
	c.out = appendReset(c.roomLocked(), s.id, code)
	c.past.add(s.id, endedHere)
}

func (c *Conn) takeReset(h header, p []byte) error {
	switch {
	case h.length != 4:
		return connError(FrameSizeError)
	case h.stream == 0 || h.stream > c.last:
		return connError(ProtocolError)
	}
	if s := c.streams[h.stream]; s != nil {
		c.past.add(s.id, endedByBoth)
		c.closeLocked(s, errReset, true)
	}
	return nil
}

func (c *Conn) takePing(h header, p []byte) error {
	switch {
	case h.stream != 0:
		return connError(ProtocolError)
	case h.length != 8:
		return connError(FrameSizeError)
	case !h.has(flagAck):
		c.out = append(appendHeader(c.roomLocked(), len(p), framePing, flagAck, 0), p...)
	case c.heardLocked(p):
		c.gate.awaited()
	}
	return nil
}

func (c *Conn) takeWindowUpdate(h header, p []byte) error {
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
	if h.stream > c.last {
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

func (c *Conn) takeSettings(h header, p []byte) error {
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
		case settingPush, settingConnect:
			if value > 1 {
				return connError(ProtocolError)
			}
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

// moveWindowsLocked takes what the client says of the windows of its streams; those that there are may become negative.
func (c *Conn) moveWindowsLocked(window int64) error {
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
