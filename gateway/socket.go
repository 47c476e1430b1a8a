package gateway

import (
	"syscall"
	"unsafe"
)

// What follows reads and writes non-blocking sockets with recvfrom(2) and sendto(2): on Linux they are cheaper than read(2)
// and write(2), which pass the file layer first (docs/adr/005). None of them can block, so the scheduler is not told either.

// recv reads what the socket has into p, which must not be empty. It returns 0 at the end of the stream, EAGAIN if there is nothing yet.
func recv(fd uintptr, p []byte, flags int) (int, syscall.Errno) {
	for {
		n, _, err := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), uintptr(flags), 0, 0)
		if err == 0 {
			return int(n), 0
		}
		if err != syscall.EINTR {
			return 0, err
		}
	}
}

// send writes as much of p as the socket takes; EAGAIN if that is nothing. A peer that is gone gives EPIPE and no signal.
func send(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, err := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		if err == 0 {
			return int(n), 0
		}
		if err != syscall.EINTR {
			return 0, err
		}
	}
}

// rawWriter writes to a socket as net.Conn does, with send. One goroutine at a time.
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
		n, err := send(fd, w.rest)
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
	p.look = func(fd uintptr) { p.n, p.err = recv(fd, p.b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT) }
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
