package socket

import (
	"bytes"
	"syscall"
	"testing"
)

func TestSendAndRecv(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := uintptr(fds[0]), uintptr(fds[1])
	t.Cleanup(func() { syscall.Close(fds[1]) })
	p := make([]byte, 64<<10)
	if n, err := Recv(b, p, 0); n != 0 || err != syscall.EAGAIN {
		t.Errorf("nothing is there: %d, %v", n, err)
	}
	if n, err := Send(a, []byte("hello")); n != 5 || err != 0 {
		t.Fatalf("%d, %v", n, err)
	}
	for _, flags := range []int{syscall.MSG_PEEK, 0} {
		if n, err := Recv(b, p, flags); err != 0 || string(p[:n]) != "hello" {
			t.Errorf("%q, %v", p[:n], err)
		}
	}
	sent, whole := 0, make([]byte, 64<<10)
	for {
		n, err := Send(a, whole)
		if sent += n; err == syscall.EAGAIN {
			break
		}
		if err != 0 || sent > 64<<20 {
			t.Fatalf("%d sent, %v", sent, err)
		}
	}
	syscall.Close(fds[0])
	got := 0
	for {
		n, err := Recv(b, p, 0)
		if err != 0 {
			t.Fatal(err)
		}
		if n == 0 {
			break // the end
		}
		if !bytes.Equal(p[:n], whole[:n]) {
			t.Fatal("other bytes came")
		}
		got += n
	}
	if got != sent {
		t.Errorf("%d of %d bytes came", got, sent)
	}
	if n, err := Send(b, whole); n != 0 || err != syscall.EPIPE { // and no signal
		t.Errorf("the peer is gone: %d, %v", n, err)
	}
}
