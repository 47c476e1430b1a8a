package compress

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// each runs f for every coding and level.
func each(t *testing.T, f func(t *testing.T, c Coding, l Level)) {
	for c := Gzip; c < codings; c++ {
		for l := range levels {
			t.Run(fmt.Sprint(c, "/", l), func(t *testing.T) { f(t, c, l) })
		}
	}
}

// decoder reads what an encoder wrote; the standard library's where there is one.
func decoder(c Coding, r io.Reader) (io.Reader, error) {
	switch c {
	case Gzip:
		return stdgzip.NewReader(r)
	case Brotli:
		return brotli.NewReader(r), nil
	case Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, errors.New("no decoder")
}

func decode(c Coding, b []byte) ([]byte, error) {
	r, err := decoder(c, bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// rows returns n bytes of JSON that compresses like an answer of an API.
func rows(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	words := strings.Fields("alpha bravo order shipped pending customer street berlin paris london product category available")
	word := func() string { return words[r.IntN(len(words))] }
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, `{"id":%d,"name":"%s %s","price":%d.%02d,"tags":["%s","%s"],"at":"2026-%02d-%02dT%02d:00:00Z"},`,
			r.IntN(1e6), word(), word(), r.IntN(999), r.IntN(99), word(), word(), r.IntN(12)+1, r.IntN(28)+1, r.IntN(24))
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// TestRoundTrip: whatever is written, in whatever pieces, is read again; and what was flushed can be read at once.
func TestRoundTrip(t *testing.T) {
	text, random := rows(140_000), noise(140_000)
	rapid.Check(t, func(t *rapid.T) {
		c, l := Coding(rapid.IntRange(1, int(codings)-1).Draw(t, "coding")), Level(rapid.IntRange(0, int(levels)-1).Draw(t, "level"))
		var out, in bytes.Buffer
		e := NewEncoder(c, l, &out)
		for range rapid.IntRange(0, 5).Draw(t, "pieces") {
			source := rapid.SampledFrom([][]byte{text, random}).Draw(t, "source")[:rapid.SampledFrom([]int{0, 1, 30, 5000, 140_000}).Draw(t, "bytes")]
			in.Write(source)
			if n, err := e.Write(source); n != len(source) || err != nil {
				t.Fatalf("took %d of %d: %v", n, len(source), err)
			}
			if rapid.Bool().Draw(t, "flush") {
				if err := e.Flush(); err != nil {
					t.Fatal(err)
				}
				if err := begins(c, out.Bytes(), in.Bytes()); err != nil {
					t.Fatalf("flushed after %d bytes: %v", in.Len(), err)
				}
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "give up") == 0 {
			e.Release() // the next one must not see anything of it
			return
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		e.Release()
		got, err := decode(c, out.Bytes())
		if err != nil || !bytes.Equal(got, in.Bytes()) {
			t.Fatalf("%d bytes became %d: %v", in.Len(), len(got), err)
		}
	})
}

// begins returns an error unless what is encoded so far already gives all of want.
func begins(c Coding, encoded, want []byte) error {
	if len(want) == 0 {
		return nil
	}
	r, err := decoder(c, bytes.NewReader(encoded))
	if err != nil {
		return err
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(r, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("other bytes")
	}
	return nil
}

// TestEmpty: an empty body is a whole stream, not no bytes.
func TestEmpty(t *testing.T) {
	each(t, func(t *testing.T, c Coding, l Level) {
		var out bytes.Buffer
		e := NewEncoder(c, l, &out)
		defer e.Release()
		if _, err := e.Write(nil); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(e.Flush(), e.Close(), e.Close(), e.Flush()); err != nil {
			t.Fatal(err)
		}
		if got, err := decode(c, out.Bytes()); out.Len() == 0 || len(got) != 0 || err != nil {
			t.Errorf("%x: %d bytes, %v", out.Bytes(), len(got), err)
		}
		if _, err := e.Write([]byte("x")); err != errClosed {
			t.Errorf("a write after the end: %v", err)
		}
	})
}

// TestCut: a stream that was not closed does not read as a whole one.
func TestCut(t *testing.T) {
	each(t, func(t *testing.T, c Coding, l Level) {
		var out bytes.Buffer
		e := NewEncoder(c, l, &out)
		defer e.Release()
		if _, err := e.Write(rows(5000)); err != nil {
			t.Fatal(err)
		}
		if err := e.Flush(); err != nil {
			t.Fatal(err)
		}
		if got, err := decode(c, out.Bytes()); err == nil {
			t.Errorf("%d bytes, and no error", len(got))
		}
	})
}

// TestIdleFlush: a flush with nothing new writes nothing, and each real one costs little.
func TestIdleFlush(t *testing.T) {
	each(t, func(t *testing.T, c Coding, l Level) {
		var out bytes.Buffer
		e := NewEncoder(c, l, &out)
		defer e.Release()
		const event = "data: {\"id\":1}\n\n"
		for i := range 100 {
			if _, err := e.Write([]byte(event)); err != nil {
				t.Fatal(err)
			}
			before := out.Len()
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
			after := out.Len()
			if after == before {
				t.Fatal("a flush kept the event back")
			}
			if err := e.Flush(); err != nil || out.Len() != after {
				t.Fatalf("an idle flush wrote %d bytes: %v", out.Len()-after, err)
			}
			if i > 0 && after-before > len(event)+8 {
				t.Fatalf("an event of %d bytes took %d", len(event), after-before)
			}
		}
	})
}

// failing takes some bytes, then fails.
type failing struct{ left, calls int }

var errGone = errors.New("gone")

func (f *failing) Write(p []byte) (int, error) {
	f.calls++
	n := min(f.left, len(p))
	f.left -= n
	if n < len(p) {
		return n, errGone
	}
	return n, nil
}

// TestTargetFails: the error stays, the target is not asked again, and the encoder can be used anew.
func TestTargetFails(t *testing.T) {
	each(t, func(t *testing.T, c Coding, l Level) {
		for _, room := range []int{0, 5, 100, 60_000} {
			w := &failing{left: room}
			e := NewEncoder(c, l, w)
			var err error
			for range 10 {
				if _, err = e.Write(noise(100_000)); err != nil {
					break
				}
				if err = e.Flush(); err != nil {
					break
				}
			}
			calls := w.calls
			_, again := e.Write([]byte("x"))
			for _, err := range []error{err, again, e.Flush(), e.Close()} {
				if !errors.Is(err, errGone) {
					t.Fatalf("room for %d: %v", room, err)
				}
			}
			if w.calls != calls {
				t.Fatal("the target was asked again")
			}
			e.Release()
		}
		var out bytes.Buffer
		e := NewEncoder(c, l, &out)
		_, err := e.Write([]byte("fine"))
		if got, bad := decode(c, finish(t, e, &out)); string(got) != "fine" || err != nil || bad != nil {
			t.Errorf("%s, %v, %v", got, err, bad)
		}
	})
}

func finish(t *testing.T, e *Encoder, out *bytes.Buffer) []byte {
	t.Helper()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e.Release()
	return out.Bytes()
}

type short struct{}

func (short) Write(p []byte) (int, error) { return len(p) / 2, nil }

func TestShortWrite(t *testing.T) {
	each(t, func(t *testing.T, c Coding, l Level) {
		e := NewEncoder(c, l, short{})
		defer e.Release()
		_, _ = e.Write([]byte("x"))
		if err := e.Close(); err != io.ErrShortWrite {
			t.Error(err)
		}
	})
}

func TestMisuse(t *testing.T) {
	f := func(name string, do func()) {
		t.Helper()
		defer func() {
			if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "BUG: ") {
				t.Errorf("%s: %v", name, r)
			}
		}()
		do()
	}
	f("identity", func() { NewEncoder(Identity, Fast, io.Discard) })
	e := &Encoder{coding: Gzip}
	f("released twice", e.Release)
}

// TestConcurrent: encoders of one pool do not meet (under the race detector).
func TestConcurrent(t *testing.T) {
	text := rows(20_000)
	each(t, func(t *testing.T, c Coding, l Level) {
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for k := range 5 {
					var out bytes.Buffer
					e := NewEncoder(c, l, &out)
					want := text[i*1000+k:]
					_, err := e.Write(want)
					err = errors.Join(err, e.Close())
					e.Release()
					if got, bad := decode(c, out.Bytes()); err != nil || bad != nil || !bytes.Equal(got, want) {
						t.Errorf("%d bytes of %d: %v, %v", len(got), len(want), err, bad)
					}
				}
			})
		}
		wg.Wait()
	})
}

// TestNoAllocation: once warm, an answer costs none; zstd takes 2 for the head of a frame of several blocks.
func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random")
	}
	text := rows(20_000)
	each(t, func(t *testing.T, c Coding, l Level) {
		n := testing.AllocsPerRun(20, func() {
			e := NewEncoder(c, l, io.Discard)
			_, _ = e.Write(text)
			_ = e.Flush()
			_, _ = e.Write(text)
			_ = e.Close()
			e.Release()
		})
		if most := map[Coding]float64{Zstd: 2}[c]; n > most {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestFootprint: an encoder holds no more than is stated, and not half of it.
func TestFootprint(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes sizes")
	}
	inputs := [][]byte{rows(2 << 20), noise(2 << 20), make([]byte, 2<<20)}
	each(t, func(t *testing.T, c Coding, l Level) {
		const n = 4
		var held [n]stream
		before := heap()
		for i := range held {
			held[i] = newStream(c, l)
			for _, in := range inputs {
				held[i].Reset(io.Discard)
				for _, step := range []int{len(in), 16 << 10} { // at once, then in pieces
					for p := in; len(p) > 0; p = p[min(step, len(p)):] {
						_, _ = held[i].Write(p[:min(step, len(p))])
					}
				}
			}
		}
		got := int(heap()-before) / n
		runtime.KeepAlive(held)
		if most := Footprint(c, l); got > most || got < most/2 {
			t.Errorf("%d KiB, stated %d", got>>10, most>>10)
		}
	})
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestRelease: a waiting encoder holds on to nothing of its last user.
func TestRelease(t *testing.T) {
	each(t, func(t *testing.T, c Coding, l Level) {
		e := NewEncoder(c, l, &failing{})
		_, _ = e.Write(noise(10))
		_ = e.Close()
		e.Release()
		if e.dst != (target{}) || e.closed || e.dirty {
			t.Errorf("%+v", e)
		}
	})
}
