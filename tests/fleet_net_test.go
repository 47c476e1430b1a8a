package tests

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// network joins spaces that have nothing else in common. It is a switch in this process: a packet that one space sends is handed to the
// other, late, or not at all, as the rules say at that moment. Unlike tc netem it needs nothing of the kernel but network namespaces and
// TUN devices, and all of it is gone when this process is.
type network struct {
	spaces []*space

	mu    sync.Mutex
	rules map[link]rule
	rng   *rand.Rand
	sent  []traffic // by sender: what was handed over or lost
	wg    sync.WaitGroup
}

// link is one direction between two spaces.
type link struct{ from, to int }

// rule is what happens to the packets of a link.
type rule struct {
	loss  float64 // 0 to 1
	delay time.Duration
}

type traffic struct{ packets, bytes int }

// space is a network namespace of its own, with a loopback and one device.
type space struct {
	number int // address: 10.77.0.number+1
	ns     *os.File
	tun    *os.File
	client *http.Client
}

// newNetwork makes n spaces. Where that is not allowed it skips the test.
func newNetwork(t testing.TB, n int) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces take root")
	}
	nw := &network{rules: map[link]rule{}, rng: rand.New(rand.NewPCG(1, 2)), sent: make([]traffic, n)}
	t.Cleanup(nw.close)
	for i := range n {
		s, err := newSpace(i)
		if err != nil {
			t.Skipf("no network namespace with a TUN device here: %v", err)
		}
		nw.spaces = append(nw.spaces, s)
	}
	for _, s := range nw.spaces {
		lines := make([]chan parcel, n)
		for to := range lines {
			lines[to] = make(chan parcel, 4096)
			nw.wg.Go(func() { nw.deliver(lines[to], nw.spaces[to]) })
		}
		nw.wg.Go(func() { nw.forward(s, lines) })
	}
	return nw
}

func newSpace(number int) (*space, error) {
	s := &space{number: number}
	err := elsewhere(func() error { return unix.Unshare(unix.CLONE_NEWNET) }, func() (err error) {
		if s.ns, err = os.Open("/proc/thread-self/ns/net"); err != nil {
			return err
		}
		if s.tun, err = openTUN("weir0"); err != nil {
			return err
		}
		for _, args := range [][]string{{"addr", "add", s.addr() + "/24", "dev", "weir0"}, {"link", "set", "weir0", "up"}, {"link", "set", "lo", "up"}} {
			if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
				return fmt.Errorf("ip %v: %w: %s", args, err, out)
			}
		}
		return nil
	})
	if err != nil {
		s.close()
		return nil, err
	}
	s.client = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, addr string) (net.Conn, error) {
		return s.dial(network, addr, 5*time.Second)
	}}}
	return s, nil
}

func (s *space) addr() string { return "10.77.0." + strconv.Itoa(s.number+1) }

func (s *space) close() {
	if s.tun != nil {
		s.tun.Close()
	}
	if s.ns != nil {
		s.ns.Close()
	}
}

// do runs f on a thread that is in the space: sockets that it opens and processes that it starts are there for good. A nil space is
// where this process is.
func (s *space) do(f func() error) error {
	if s == nil {
		return f()
	}
	return elsewhere(func() error { return unix.Setns(int(s.ns.Fd()), unix.CLONE_NEWNET) }, f)
}

// elsewhere runs f on a thread that enter has moved, and moves it back.
func elsewhere(enter, f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err == nil {
		defer home.Close()
		err = enter()
	}
	if err == nil {
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			return errors.Join(err, back) // still locked: the thread ends with its goroutine
		}
	}
	runtime.UnlockOSThread()
	return err
}

// dial connects from within the space.
func (s *space) dial(network, addr string, timeout time.Duration) (c net.Conn, err error) {
	err = s.do(func() (err error) {
		c, err = net.DialTimeout(network, addr, timeout)
		return err
	})
	return c, err
}

func openTUN(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("/dev/net/tun: %w", err)
	}
	req, err := unix.NewIfreq(name)
	if err == nil {
		req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("TUN device: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// parcel is a packet on its way.
type parcel struct {
	due    time.Time // zero: at once
	packet []byte
}

// forward takes what s sends and gives it to the line of its receiver.
func (nw *network) forward(s *space, lines []chan parcel) {
	defer func() {
		for _, l := range lines {
			close(l)
		}
	}()
	buf := make([]byte, 4096)
	for {
		n, err := s.tun.Read(buf)
		if err != nil {
			return
		}
		if n < 20 || buf[0]>>4 != 4 {
			continue // IPv6 looks for routers
		}
		to := int(buf[19]) - 1
		if to < 0 || to >= len(lines) {
			continue
		}
		r, lost := nw.fate(link{s.number, to}, n)
		if lost {
			continue
		}
		p := parcel{packet: append([]byte(nil), buf[:n]...)}
		if r.delay > 0 {
			p.due = time.Now().Add(r.delay)
		}
		select {
		case lines[to] <- p:
		default: // a full queue loses, as a router's does
		}
	}
}

func (nw *network) fate(l link, bytes int) (r rule, lost bool) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	nw.sent[l.from].packets++
	nw.sent[l.from].bytes += bytes
	r = nw.rules[l]
	return r, r.loss > 0 && nw.rng.Float64() < r.loss
}

func (nw *network) deliver(line chan parcel, to *space) {
	for p := range line {
		if !p.due.IsZero() {
			time.Sleep(time.Until(p.due))
		}
		to.tun.Write(p.packet) //nolint:errcheck // its queue is full, or the network is closed
	}
}

// rule sets what happens on both directions between two spaces; -1 stands for every space.
func (nw *network) rule(a, b int, r rule) {
	nw.oneWay(a, b, r)
	nw.oneWay(b, a, r)
}

func (nw *network) oneWay(from, to int, r rule) {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	for i := range nw.spaces {
		for j := range nw.spaces {
			if i != j && (from < 0 || from == i) && (to < 0 || to == j) {
				nw.rules[link{i, j}] = r
			}
		}
	}
}

// traffic is what the spaces have sent so far, IP packets with their headers.
func (nw *network) traffic() []traffic {
	nw.mu.Lock()
	defer nw.mu.Unlock()
	return append([]traffic(nil), nw.sent...)
}

func (nw *network) close() {
	for _, s := range nw.spaces {
		s.tun.Close() // ends forward, which ends its lines
	}
	nw.wg.Wait()
	for _, s := range nw.spaces {
		s.close()
	}
}

// TestNetwork: a rule holds in its direction and only there, and processes can be started in a space.
func TestNetwork(t *testing.T) {
	nw := newNetwork(t, 3)
	ping := func(from, to int) bool {
		var in, out net.PacketConn
		noError(t, nw.spaces[to].do(func() (err error) {
			in, err = net.ListenPacket("udp4", nw.spaces[to].addr()+":5000")
			return err
		}))
		defer in.Close()
		noError(t, nw.spaces[from].do(func() (err error) {
			out, err = net.ListenPacket("udp4", nw.spaces[from].addr()+":0")
			return err
		}))
		defer out.Close()
		_, err := out.WriteTo([]byte("ping"), in.LocalAddr())
		noError(t, err)
		in.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		n, _, err := in.ReadFrom(make([]byte, 10))
		return err == nil && n == 4
	}
	f := func(from, to int, want bool) {
		t.Helper()
		if got := ping(from, to); got != want {
			t.Errorf("%d to %d: arrives %v, want %v", from, to, got, want)
		}
	}
	f(0, 1, true)
	f(1, 2, true)
	nw.oneWay(0, 1, rule{loss: 1})
	f(0, 1, false)
	f(1, 0, true)
	f(0, 2, true)
	nw.rule(-1, -1, rule{delay: 50 * time.Millisecond})
	start := time.Now()
	f(0, 1, true)
	if d := time.Since(start); d < 50*time.Millisecond || d > 150*time.Millisecond {
		t.Errorf("delay of 50 ms took %v", d)
	}
}
