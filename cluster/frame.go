package cluster

import (
	"encoding/binary"
	"sync"
)

// Kind says what a frame is about. Values cross the wire: they never change, and a node skips those it does not know.
type Kind byte

const (
	KindSpending Kind = 1 // what a node spent of the limits that the cluster shares
	KindPressure Kind = 2 // how loaded a node is, and whom it has given up
	KindPurge    Kind = 3 // what a node was told to forget of the answers it keeps

	kinds = 4 // one more than the highest kind
)

func (k Kind) known() bool { return k >= KindSpending && k < kinds }

const (
	// MaxFrame bounds a frame in bytes. With our header (14), what memberlist adds (message type 1, checksum 5, nonce, tag and
	// version 29) and IPv6 with UDP (48) it fits the 1,400 bytes that every path has.
	MaxFrame = 1300
	// MaxState bounds what State returns. Push/pull carries it in one piece through memory.
	MaxState = 8 << 20

	wireVersion = 1
	frameHeader = 14   // version, kind, instance (8), sequence number (4)
	stateHeader = 9    // version, instance (8)
	queueFrames = 1024 // frames that wait for Receive; about 1.3 MiB when full
)

func appendFrame(dst []byte, k Kind, instance uint64, seq uint32, frame []byte) []byte {
	dst = append(dst, wireVersion, byte(k))
	dst = binary.BigEndian.AppendUint64(dst, instance)
	dst = binary.BigEndian.AppendUint32(dst, seq)
	return append(dst, frame...)
}

type header struct {
	version  byte
	kind     Kind
	instance uint64
	seq      uint32
}

// parseFrame splits a frame. Not ok: it is too short to have a header, or too long.
func parseFrame(b []byte) (h header, frame []byte, ok bool) {
	if len(b) < frameHeader || len(b) > frameHeader+MaxFrame {
		return header{}, nil, false
	}
	h = header{b[0], Kind(b[1]), binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint32(b[10:])}
	return h, b[frameHeader:], true
}

func appendState(instance uint64, state []byte) []byte {
	b := make([]byte, 0, stateHeader+len(state))
	b = append(b, wireVersion)
	b = binary.BigEndian.AppendUint64(b, instance)
	return append(b, state...)
}

func parseState(b []byte) (version byte, instance uint64, state []byte, ok bool) {
	if len(b) < stateHeader || len(b) > stateHeader+MaxState {
		return 0, 0, nil, false
	}
	return b[0], binary.BigEndian.Uint64(b[1:]), b[stateHeader:], true
}

type queued struct {
	kind  Kind
	frame []byte
}

// queue holds frames between memberlist's goroutines and the one that calls Receive. It never blocks and never grows: when it
// is full the oldest frame goes. Its buffers are used again.
type queue struct {
	mu      sync.Mutex
	ring    []queued
	head, n int

	wake chan struct{} // has room for one
}

func newQueue(size int) *queue {
	return &queue{ring: make([]queued, size), wake: make(chan struct{}, 1)}
}

// push copies the frame, and reports whether an older one had to go for it.
func (q *queue) push(k Kind, frame []byte) (dropped bool) {
	q.mu.Lock()
	if q.n == len(q.ring) {
		q.head = (q.head + 1) % len(q.ring)
		q.n--
		dropped = true
	}
	slot := &q.ring[(q.head+q.n)%len(q.ring)]
	slot.kind = k
	slot.frame = append(slot.frame[:0], frame...)
	q.n++
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
	return dropped
}

// pop exchanges *into for the oldest frame. The buffer that was in *into is used for a later one.
func (q *queue) pop(into *queued) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.n == 0 {
		return false
	}
	q.ring[q.head], *into = *into, q.ring[q.head]
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	return true
}
