//go:build unix

package tls

import (
	"io"
	"net"
	"syscall"
)

// peek waits for bytes to arrive on c and copies them into b without taking them. It honours c's read deadline.
func peek(c *net.TCPConn, b []byte) (int, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	var n int
	var failure error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, failure = syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK)
			if failure != syscall.EINTR {
				return failure != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, err
	case failure != nil:
		return 0, failure
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}
