package main

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"syscall"
	"time"
	"unsafe"
)

// paceConfig describes a load of requests at a constant rate.
type paceConfig struct {
	Address  string        // IPv4 address and port
	Request  []byte        // sent as it is
	Rate     float64       // requests per second
	Duration time.Duration // of sending
	Conns    int           // keep-alive connections
}

// sample is one answered request.
type sample struct {
	At      time.Duration // when it was due, from the start of the load
	Latency time.Duration // to the last byte of the answer
	Status  int16
}

// paceResult is what a load at a constant rate met.
type paceResult struct {
	Samples []sample // in order of completion
	Failed  int      // requests without a whole answer
	Why     string   // what went wrong with the first of them
}

// latencies are those of samples due in [from, to), sorted.
func (r *paceResult) latencies(from, to time.Duration) []time.Duration {
	var out []time.Duration
	for _, s := range r.Samples {
		if s.At >= from && s.At < to {
			out = append(out, s.Latency)
		}
	}
	slices.Sort(out)
	return out
}

// count tells how many answers have a status in [low, high].
func (r *paceResult) count(low, high int16) int {
	n := 0
	for _, s := range r.Samples {
		if s.Status >= low && s.Status <= high {
			n++
		}
	}
	return n
}

// pacer drives a constant-rate load from one thread: an epoll loop that sleeps to the next due instant with nanosecond
// resolution. Requests are due at fixed instants, whatever became of those before (open loop). A request that finds no idle
// connection waits for one, and its latency counts from when it was due; one that the pacer itself sends late counts
// from when it was sent, so that the pacer's own sleep is not blamed on the server.
type pacer struct {
	cfg     paceConfig
	addr    syscall.SockaddrInet4
	poll    int
	start   time.Time
	idle    []*paceConn
	byFD    map[int32]*paceConn
	blocked bool // requests are due that found no idle connection
	out     paceResult
}

type paceConn struct {
	fd      int
	busy    bool
	due     time.Duration
	started time.Duration
	buf     []byte
}

// pace runs the load and returns what it met; an error means that it could not run at all.
func pace(cfg paceConfig) (*paceResult, error) {
	ap, err := netip.ParseAddrPort(cfg.Address)
	if err != nil {
		return nil, err
	}
	if !ap.Addr().Is4() || cfg.Rate <= 0 || cfg.Conns <= 0 {
		return nil, fmt.Errorf("pace %+v: want an IPv4 address, a rate and connections", cfg)
	}
	p := &pacer{cfg: cfg, addr: syscall.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}, byFD: map[int32]*paceConn{}}
	p.out.Samples = make([]sample, 0, int(cfg.Rate*cfg.Duration.Seconds())+1)
	if p.poll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	defer p.close()
	runtime.LockOSThread() // the timer slack belongs to the thread
	defer runtime.UnlockOSThread()
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, syscall.PR_SET_TIMERSLACK, 1, 0); errno != 0 {
		return nil, fmt.Errorf("timer slack: %w", errno)
	}
	for range cfg.Conns {
		if err := p.open(); err != nil {
			return nil, err
		}
	}
	p.run()
	return &p.out, nil
}

// open dials another connection and makes it idle. Over loopback a blocking connect takes microseconds.
func (p *pacer) open() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	c := &paceConn{fd: fd, buf: make([]byte, 0, 16<<10)}
	if err := p.connect(fd); err != nil {
		_ = syscall.Close(fd) // nothing was sent on it
		return fmt.Errorf("connect %s: %w", p.cfg.Address, err)
	}
	p.byFD[int32(fd)] = c
	p.idle = append(p.idle, c)
	return nil
}

func (p *pacer) connect(fd int) error {
	if err := syscall.Connect(fd, &p.addr); err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		return err
	}
	if err := syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1); err != nil {
		return err
	}
	return syscall.EpollCtl(p.poll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

func (p *pacer) close() {
	for _, c := range p.byFD {
		_ = syscall.Close(c.fd) // the load is over
	}
	_ = syscall.Close(p.poll)
}

// run sends until the duration is over, then waits up to 5 s for what is under way.
func (p *pacer) run() {
	interval := time.Duration(float64(time.Second) / p.cfg.Rate)
	total := int(p.cfg.Rate * p.cfg.Duration.Seconds())
	p.start = time.Now()
	next := 0
	grace := p.cfg.Duration + 5*time.Second
	for {
		now := time.Since(p.start)
		for next < total && time.Duration(next)*interval <= now {
			if len(p.idle) == 0 {
				p.blocked = true
				break
			}
			p.send(time.Duration(next)*interval, now)
			next++
		}
		p.blocked = p.blocked && len(p.idle) == 0
		busy := len(p.byFD) - len(p.idle)
		if next == total && busy == 0 {
			return
		}
		if now > grace || len(p.byFD) == 0 {
			p.fail(busy+total-next, fmt.Errorf("%d requests unanswered, %d never sent", busy, total-next))
			return
		}
		sleep := grace - now
		if next < total && len(p.idle) > 0 {
			sleep = time.Duration(next)*interval - now
		}
		p.wait(max(sleep, 0))
	}
}

// send writes the request that was due at due on an idle connection.
func (p *pacer) send(due, now time.Duration) {
	c := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	c.busy, c.due, c.started = true, due, now
	if p.blocked {
		c.started = due
	}
	if n, err := syscall.Write(c.fd, p.cfg.Request); err != nil || n != len(p.cfg.Request) {
		p.fail(1, fmt.Errorf("write %d of %d bytes: %w", n, len(p.cfg.Request), err))
		p.replace(c)
	}
}

// wait sleeps until an answer arrives or d has passed, and reads what arrived.
func (p *pacer) wait(d time.Duration) {
	var events [128]syscall.EpollEvent
	ts := syscall.NsecToTimespec(int64(d))
	n, _, errno := syscall.Syscall6(sysEpollPwait2, uintptr(p.poll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)),
		uintptr(unsafe.Pointer(&ts)), 0, 0)
	if errno != 0 {
		return // EINTR: the loop comes again
	}
	for _, e := range events[:n] {
		if c := p.byFD[e.Fd]; c != nil {
			p.read(c)
		}
	}
}

// sysEpollPwait2 is epoll_pwait2(2) (Linux 5.11), the epoll wait with a timeout in nanoseconds. The number is the same on
// all architectures.
const sysEpollPwait2 = 441

func (p *pacer) read(c *paceConn) {
	n, err := syscall.Read(c.fd, c.buf[len(c.buf):cap(c.buf)])
	if err == syscall.EAGAIN || err == syscall.EINTR {
		return
	}
	if n <= 0 {
		if c.busy {
			p.fail(1, fmt.Errorf("connection ended before the answer: %w", err))
		}
		p.replace(c)
		return
	}
	c.buf = c.buf[:len(c.buf)+n]
	r, ok, err := parseResponse(c.buf)
	switch {
	case err != nil || !c.busy || (ok && len(c.buf) > r.Size) || len(c.buf) == cap(c.buf):
		p.fail(1, fmt.Errorf("answer of %d bytes, asked %v: %w", len(c.buf), c.busy, err))
		p.replace(c)
	case ok && len(c.buf) == r.Size:
		now := time.Since(p.start)
		p.out.Samples = append(p.out.Samples, sample{At: c.due, Latency: now - c.started, Status: int16(r.Status)})
		c.busy, c.buf = false, c.buf[:0]
		if r.Close {
			p.replace(c)
			return
		}
		p.idle = append(p.idle, c)
	}
}

// replace closes c and opens another in its place, if the server still accepts.
func (p *pacer) replace(c *paceConn) {
	delete(p.byFD, int32(c.fd))
	p.idle = slices.DeleteFunc(p.idle, func(o *paceConn) bool { return o == c })
	_ = syscall.Close(c.fd) // what failed on it is counted
	if err := p.open(); err != nil {
		p.fail(1, err)
	}
}

func (p *pacer) fail(n int, why error) {
	p.out.Failed += n
	if p.out.Why == "" {
		p.out.Why = why.Error()
	}
}
