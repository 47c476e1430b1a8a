package gateway

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// socketPair returns both ends of a loopback connection.
func socketPair(t *testing.T) (a, b *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	y, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close(); y.Close() })
	return x.(*net.TCPConn), y.(*net.TCPConn)
}

func writerOf(t *testing.T, c *net.TCPConn) *rawWriter {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return newRawWriter(raw)
}

func TestRawWriterWaitsForRoom(t *testing.T) {
	a, b := socketPair(t)
	want := make([]byte, 16<<20) // more than the buffers of both ends hold
	for i := range want {
		want[i] = byte(i * 7 / 3)
	}
	got := make(chan []byte)
	go func() {
		all, _ := io.ReadAll(b) //nolint:errcheck // the comparison tells
		got <- all
	}()
	if n, err := writerOf(t, a).Write(want); n != len(want) || err != nil {
		t.Fatalf("wrote %d of %d, %v", n, len(want), err)
	}
	a.Close()
	if all := <-got; !bytes.Equal(all, want) {
		t.Errorf("%d bytes came, or they differ", len(all))
	}
}

func TestRawWriterEndsAtTheDeadline(t *testing.T) {
	a, b := socketPair(t)
	w := writerOf(t, a)
	much := make([]byte, 64<<20)
	a.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)) //nolint:errcheck // the write reports it
	n, err := w.Write(much)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n == len(much) {
		t.Fatalf("wrote %d, %v; want a part and the deadline", n, err)
	}
	a.CloseWrite() //nolint:errcheck // the count tells
	if all, err := io.Copy(io.Discard, b); all != int64(n) || err != nil {
		t.Errorf("%d bytes came of the %d said to be written, %v", all, n, err)
	}
}

func TestRawWriterTellsAPeerThatIsGone(t *testing.T) {
	a, b := socketPair(t)
	w := writerOf(t, a)
	b.SetLinger(0) //nolint:errcheck // the write reports it
	b.Close()
	for range 1000 { // the reset takes its time
		if _, err := w.Write([]byte("x")); err != nil {
			if !errors.Is(err, syscall.EPIPE) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("error %v", err)
			}
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("writes to a peer that is gone succeed")
}

func TestPeeker(t *testing.T) {
	a, b := socketPair(t)
	raw, err := a.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	p := newPeeker(raw)
	if p.stale() || p.gone() {
		t.Error("a silent connection counts as ended")
	}
	b.Write([]byte("x")) //nolint:errcheck // the look tells
	eventually(t, p.stale)
	if p.gone() {
		t.Error("bytes unread, yet it counts as gone")
	}
	var one [1]byte
	if _, err := a.Read(one[:]); err != nil || one[0] != 'x' {
		t.Errorf("read %q, %v: the look must not take it", one, err)
	}
	b.Close()
	eventually(t, p.gone)
}

// eventually waits for what the kernel is about to do.
func eventually(t *testing.T, holds func() bool) {
	t.Helper()
	for range 2000 {
		if holds() {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("it never held")
}
