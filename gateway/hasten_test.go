package gateway

import (
	"net"
	"testing"
)

func TestHastenLater(t *testing.T) {
	inBubble(t, func(t *testing.T, w *wire, peer net.Conn) {
		w.readBy(in(10 * ms))
		sendIn(peer, 5*ms)
		wantRead(t, w, 5*ms, nil)
		w.hastenRead(in(500 * ms)) // the end of an upload
		sendIn(peer, 1*ms)
		wantRead(t, w, 1*ms, nil)
		w.readBy(in(20 * ms)) // the next request over the same connection
		wantRead(t, w, 20*ms, late)
	})
}
