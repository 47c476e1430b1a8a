package tests

import (
	"net"
	"syscall"
)

// socketError says whether the peer has closed or reset the connection, without reading what it sent.
//
// TCP_INFO has the state in its first byte: 1 is established, 8 (close wait) and 7 (closed) are not.
func socketError(c net.Conn) bool {
	rc, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	state := 0
	if err := rc.Control(func(fd uintptr) {
		state, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	}); err != nil {
		return true
	}
	return err != nil || state&0xff != 1
}
