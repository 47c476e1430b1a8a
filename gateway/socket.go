package gateway

import (
	"syscall"

	"weir/internal/socket"
)

// rawWriter writes to a socket as net.Conn does, with socket.Send. One goroutine at a time.
type rawWriter struct {
	raw  syscall.RawConn
	rest []byte
	err  error
	try  func(fd uintptr) bool
}

func newRawWriter(raw syscall.RawConn) *rawWriter {
	w := &rawWriter{raw: raw}
	w.try = w.attempt
	return w
}

// attempt reports whether the write is over: false waits for the socket to take more.
func (w *rawWriter) attempt(fd uintptr) bool {
	for len(w.rest) > 0 {
		n, err := socket.Send(fd, w.rest)
		switch err {
		case 0:
			w.rest = w.rest[n:]
		case syscall.EAGAIN:
			return false
		default:
			w.err = err
			return true
		}
	}
	return true
}

// Write writes all of p, or returns how much went and why no more: os.ErrDeadlineExceeded at the socket's write deadline.
func (w *rawWriter) Write(p []byte) (int, error) {
	w.rest, w.err = p, nil
	err := w.raw.Write(w.try)
	if err == nil {
		err = w.err
	}
	n := len(p) - len(w.rest)
	w.rest = nil
	return n, err
}

// peeker looks at a socket without reading from it, and without allocating.
type peeker struct {
	raw  syscall.RawConn
	n    int
	err  syscall.Errno
	b    [1]byte
	look func(fd uintptr)
}

func newPeeker(raw syscall.RawConn) *peeker {
	p := &peeker{raw: raw}
	p.look = func(fd uintptr) { p.n, p.err = socket.Recv(fd, p.b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT) }
	return p
}

// gone reports whether the peer has ended its side with nothing left to read.
func (p *peeker) gone() bool {
	if p.raw.Control(p.look) != nil {
		return true
	}
	return p.err == 0 && p.n == 0 || p.err != 0 && p.err != syscall.EAGAIN
}

// stale reports whether an idle upstream connection is of no more use: ended, broken, or holding bytes nobody asked for.
func (p *peeker) stale() bool { return p.raw.Control(p.look) != nil || p.err != syscall.EAGAIN }
