package h2

import (
	"net"
	"runtime"
	"sync"
	"syscall"

	"weir/internal/socket"
)

// input is what was read of a connection and not taken yet. It has a buffer only while there is something.
type input struct {
	nc   net.Conn
	raw  syscall.RawConn // of a socket in clear text: waits without a buffer
	try  func(fd uintptr) bool
	few  [32]byte // where raw is nil: to wait in
	buf  []byte
	r, w int

	took bool // something has come since somebody looked
	want int  // of the read that is under way
	n    int
	err  error
}

// Sizes of buffers: of little, and of whatever a frame may be.
const (
	smallBuffer = 4 << 10
	largeBuffer = 2 * (frameHeader + maxFrame)
)

var (
	small = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	large = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// begin reads nc, of which already was read.
func (in *input) begin(nc net.Conn, already []byte) {
	in.nc, in.try = nc, in.attempt
	if t, ok := nc.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			in.raw = raw
		}
	}
	if len(already) > 0 {
		in.room(len(already))
		if len(already) > len(in.buf) { // no client sends so much before it is answered
			in.buf = make([]byte, len(already))
		}
		in.w = copy(in.buf, already)
	}
}

func (in *input) buffered() int { return in.w - in.r }
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// room returns where to read into: so much that n bytes fit in all.
func (in *input) room(n int) []byte {
	if in.buf == nil {
		in.r, in.w = 0, 0
		if n > smallBuffer {
			in.buf = large.Get().(*[largeBuffer]byte)[:]
		} else {
			in.buf = small.Get().(*[smallBuffer]byte)[:]
		}
	}
	switch {
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.r+n <= len(in.buf):
	case n > len(in.buf):
		b := large.Get().(*[largeBuffer]byte)[:]
		w := copy(b, in.bytes())
		in.free()
		in.buf, in.r, in.w = b, 0, w
	default:
		in.w = copy(in.buf, in.bytes())
		in.r = 0
	}
	return in.buf[in.w:]
}

// release gives the buffer back, if there is nothing in it.
func (in *input) release() {
	if in.r == in.w {
		in.free()
	}
}

func (in *input) free() {
	switch len(in.buf) {
	case smallBuffer:
		small.Put((*[smallBuffer]byte)(in.buf))
	case largeBuffer:
		large.Put((*[largeBuffer]byte)(in.buf))
	}
	in.buf, in.r, in.w = nil, 0, 0
}

// read waits for bytes, so that there may be n in all, and returns how many came; 0 and no error is the end.
func (in *input) read(n int) (int, error) {
	if in.buffered() == 0 {
		if n = frameHeader; in.w == len(in.buf) && in.buf != nil { // it was full: a client that sends a lot
			n = largeBuffer
		}
		in.release()
	}
	in.want = n
	if in.raw == nil {
		return in.readBuffered()
	}
	runtime.Gosched() // what has just been asked for is begun first; meanwhile more may come
	if err := in.raw.Read(in.try); err != nil {
		return 0, err
	}
	in.w += in.n
	in.took = in.took || in.n > 0
	return in.n, in.err
}

func (in *input) readBuffered() (int, error) {
	if in.buffered() == 0 {
		n, err := in.nc.Read(in.few[:])
		if n > 0 {
			in.w += copy(in.room(in.want), in.few[:n])
			in.took = true
		}
		return n, err
	}
	n, err := in.nc.Read(in.room(in.want))
	in.w += n
	in.took = in.took || n > 0
	return n, err
}

// attempt reads what the socket has. It cannot block, so the scheduler is not told.
func (in *input) attempt(fd uintptr) bool {
	n, err := socket.Recv(fd, in.room(in.want), 0)
	if err == syscall.EAGAIN {
		in.release()
		return false
	}
	if in.n, in.err = n, nil; err != 0 {
		in.err = err
	}
	return true
}
