// The race detector adds its own memory, so the budgets hold without it.

//go:build unix && !race

package tls

import (
	stdtls "crypto/tls"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
)

// idle keeps a client's end as nothing but a descriptor, so that what is measured is the server's.
func idle(t testing.TB, addr string, cfg *stdtls.Config) *os.File {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	must(t, err)
	if cfg != nil {
		must(t, stdtls.Client(c, cfg).Handshake())
	}
	f, err := c.(*net.TCPConn).File()
	must(t, err)
	must(t, c.Close())
	return f
}

func inUse() uint64 {
	for range 6 { // each collection halves stacks that are mostly unused
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}

// Bytes per connection that waits for its first byte, all in but the handler's buffers and the kernel's.
func TestCostOfAnIdleConnection(t *testing.T) {
	c := newCA(t, "root")
	store := newStore(t, Options{Certificates: []Pair{c.files("a", ask{names: []string{"a.example"}})}})
	f := func(name string, o MuxOptions, cfg *stdtls.Config, budget uint64) {
		t.Helper()
		const conns = 400
		var in sync.WaitGroup
		in.Add(conns)
		_, addr := serve(t, o, func(c *Conn) {
			defer c.Close()
			in.Done()
			var b [1]byte
			c.Read(b[:])
		})
		before := inUse()
		var files []*os.File
		for range conns {
			files = append(files, idle(t, addr, cfg))
		}
		in.Wait()
		if each := (inUse() - before) / conns; each > budget {
			t.Errorf("%s: %d bytes, want %d at most", name, each, budget)
		} else {
			t.Logf("%s: %d bytes", name, each)
		}
		for _, f := range files {
			f.Close()
		}
	}
	f("clear text", MuxOptions{}, nil, 5<<10)
	f("TLS", MuxOptions{TLS: store}, &stdtls.Config{RootCAs: c.pool(), ServerName: "a.example"}, 20<<10)
}

func BenchmarkAcceptClearText(b *testing.B) {
	_, addr := serve(b, MuxOptions{Connections: 1000, PerIP: 1000}, func(c *Conn) { c.Close() })
	b.ReportAllocs()
	for b.Loop() {
		c, err := net.Dial("tcp", addr)
		must(b, err)
		var one [1]byte
		c.Read(one[:])
		c.Close()
	}
}
