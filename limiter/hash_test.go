package limiter

import (
	"encoding/binary"
	"encoding/hex"
	"slices"
	"testing"
)

// The first vectors of the reference implementation's vectors_sip128: key 00 01 … 0f, messages 00 01 … of each length.
func TestSumIsSipHash128(t *testing.T) {
	f := func(length int, want string) {
		t.Helper()
		var secret [16]byte
		var message []byte
		for i := range secret {
			secret[i] = byte(i)
		}
		for i := range length {
			message = append(message, byte(i))
		}
		k := NewHasher(secret).Sum(message)
		got := binary.LittleEndian.AppendUint64(binary.LittleEndian.AppendUint64(nil, k.Lo), k.Hi)
		if hex.EncodeToString(got) != want {
			t.Errorf("%d bytes: got %x, want %s", length, got, want)
		}
	}
	f(0, "a3817f04ba25a8e66df67214c7550293")
	f(1, "da87c1d86b99af44347659119b22fc45")
	f(2, "8177228da4a45dc7fca38bdef60affe4")
}

func TestAppendPartFrames(t *testing.T) {
	frame := func(parts ...string) (b []byte) {
		for _, p := range parts {
			b = AppendPart(b, p)
		}
		return b
	}
	f := func(a, b []string) {
		t.Helper()
		if slices.Equal(frame(a...), frame(b...)) {
			t.Errorf("%q and %q make the same bytes", a, b)
		}
	}
	f([]string{"ab", "c"}, []string{"a", "bc"})
	f([]string{""}, nil)
	f([]string{"", ""}, []string{""})
	f([]string{"a"}, []string{"a", ""})
	f([]string{"\x01a"}, []string{"", "a"})
	long := string(make([]byte, 300))
	f([]string{long}, []string{long[1:], ""})
	if h := NewHasher([16]byte{1}); h.Sum(frame("a")) == NewHasher([16]byte{2}).Sum(frame("a")) {
		t.Error("the secret makes no difference")
	}
}

// Framed bytes can be read back, part by part: that is what injective means.
func FuzzAppendPart(f *testing.F) {
	f.Add("tenant-plan", "gold", "")
	f.Add("\x00", "\x80\x01", "ab")
	f.Fuzz(func(t *testing.T, a, b, c string) {
		framed := AppendPart(AppendPart(AppendPart(nil, a), b), c)
		for _, want := range []string{a, b, c} {
			n, size := binary.Uvarint(framed)
			if size <= 0 || n > uint64(len(framed)-size) {
				t.Fatalf("%q %q %q: no part at the front of %q", a, b, c, framed)
			}
			if got := string(framed[size : size+int(n)]); got != want {
				t.Fatalf("got %q, want %q", got, want)
			}
			framed = framed[size+int(n):]
		}
		if len(framed) > 0 {
			t.Fatalf("%q is left over", framed)
		}
	})
}

func TestHashingDoesNotAllocate(t *testing.T) {
	h, buf := NewHasher([16]byte{1}), make([]byte, 0, 64)
	if n := testing.AllocsPerRun(1000, func() {
		h.Sum(AppendPart(AppendPart(buf[:0], "plan"), "198.51.100.7"))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
