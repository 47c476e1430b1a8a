// Package socket reads and writes non-blocking sockets with recvfrom(2) and sendto(2): on Linux they are cheaper than read(2) and write(2), which
// pass the file layer first (docs/adr/005-lazy-deadlines-and-yield.md). None of them can block, so the scheduler is not told either. It does not wait:
// that is for whoever has the syscall.RawConn.
package socket

import (
	"syscall"
	"unsafe"
)

// Recv reads what the socket has into p, which must not be empty. It returns 0 at the end of the stream, EAGAIN if there is nothing yet.
func Recv(fd uintptr, p []byte, flags int) (int, syscall.Errno) {
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

// Send writes as much of p as the socket takes; EAGAIN if that is nothing. A peer that is gone gives EPIPE and no signal.
func Send(fd uintptr, p []byte) (int, syscall.Errno) {
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
