package body

// Memory counts the bytes that documents in work hold, and has a bound.
type Memory interface {
	// Hold reports whether there is room for n bytes more, which then are held. A negative n gives bytes back.
	Hold(n int) bool
}

// unbounded is what holds for whoever counts nothing.
type unbounded struct{}

func (unbounded) Hold(int) bool { return true }

// grown returns b with room for n bytes more, in a buffer of at most most bytes, and how many bytes that one has; 0 if b has the room. The old
// buffer is not given back: it is there until the collector comes. It is not ok if mem has no room.
func grown(mem Memory, b []byte, n, most int) (_ []byte, size int, ok bool) {
	if len(b)+n <= cap(b) {
		return b, 0, true
	}
	size = max(len(b)+n, min(2*cap(b), most))
	if !mem.Hold(size) {
		return b, 0, false
	}
	return append(make([]byte, 0, size), b...), size, true
}
