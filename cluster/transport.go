package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

const (
	dialTimeout  = 1500 * time.Millisecond // one lost SYN is sent again within; memberlist's own 10 s would delay healing
	maxPacket    = 2048                    // memberlist sends at most 1,400 bytes, and a checksum
	receiveBytes = 2 << 20                 // of the UDP socket
	maxStreams   = 24                      // accepted connections at a time
	maxStreamsIP = 8                       // and from one address
	maxStream    = MaxState + 1<<20        // bytes read from a connection: a state, and the list of nodes
)

// transport carries memberlist's packets and streams over one UDP and one TCP socket. It stands in for memberlist's own,
// which gives 64 KiB to every packet, accepts any number of connections, and cannot break off one that is being made.
type transport struct {
	udp       *net.UDPConn
	tcp       *net.TCPListener
	bound     netip.AddrPort
	advertise netip.AddrPort

	packets chan *memberlist.Packet
	streams chan net.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu    sync.Mutex
	open  map[*stream]struct{}
	perIP map[netip.Addr]int      // accepted connections
	dials map[netip.AddrPort]bool // addresses being joined: whether the last attempt got no connection

	sent, received     traffic // packets
	streamOut, inBytes atomic.Uint64
	refused            atomic.Uint64 // connections over the bounds, and oversized packets

	block atomic.Pointer[func(netip.AddrPort) bool] // tests cut the network with it
}

var _ memberlist.NodeAwareTransport = (*transport)(nil)

// listen opens both sockets on one port.
func listen(cfg *Config) (*transport, error) {
	bind, err := parseBind(cfg.Bind)
	if err != nil {
		return nil, err
	}
	t := &transport{
		packets: make(chan *memberlist.Packet), streams: make(chan net.Conn),
		open: map[*stream]struct{}{}, perIP: map[netip.Addr]int{}, dials: map[netip.AddrPort]bool{},
	}
	for try := 0; ; try++ { // the free port of one protocol may be taken in the other
		err = t.bind(bind)
		if err == nil || bind.Port() != 0 || try == 10 {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	_ = t.udp.SetReadBuffer(receiveBytes) // as much as the system allows
	if t.advertise, err = advertised(cfg.Advertise, t.bound); err != nil {
		t.udp.Close()
		t.tcp.Close()
		return nil, err
	}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	t.wg.Go(t.readPackets)
	t.wg.Go(t.accept)
	return t, nil
}

func (t *transport) bind(at netip.AddrPort) error {
	tcp, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
	if err != nil {
		return err
	}
	port := tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	at = netip.AddrPortFrom(at.Addr(), port)
	udp, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
	if err != nil {
		tcp.Close()
		return err
	}
	t.tcp, t.udp, t.bound = tcp, udp, at
	return nil
}

// advertised returns the address to tell the others.
func advertised(s string, bound netip.AddrPort) (netip.AddrPort, error) {
	at, err := parseAdvertise(s, bound.Port())
	if err != nil || at.IsValid() {
		return at, err
	}
	if !bound.Addr().IsUnspecified() {
		return bound, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return at, fmt.Errorf("cluster: addresses of this machine: %w", err)
	}
	for _, private := range []bool{true, false} {
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().IsGlobalUnicast() && p.Addr().IsPrivate() == private && (bound.Addr().Is6() || p.Addr().Is4()) {
				return netip.AddrPortFrom(p.Addr().Unmap(), bound.Port()), nil
			}
		}
	}
	return at, errors.New("cluster: this machine has no address to advertise: set advertise")
}

func (t *transport) readPackets() {
	buf := make([]byte, maxPacket+1)
	for {
		n, from, err := t.udp.ReadFromUDPAddrPort(buf)
		now := time.Now()
		if t.ctx.Err() != nil {
			return
		}
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			t.pause(5 * time.Millisecond) // an ICMP error, or no memory: nothing to be done about either
			continue
		}
		if n == 0 || n > maxPacket {
			t.refused.Add(1)
			continue
		}
		t.received.add(n)
		p := &memberlist.Packet{Buf: append(make([]byte, 0, n), buf[:n]...), From: net.UDPAddrFromAddrPort(from), Timestamp: now}
		select {
		case t.packets <- p:
		case <-t.ctx.Done():
			return
		}
	}
}

func (t *transport) accept() {
	for {
		conn, err := t.tcp.AcceptTCP()
		if t.ctx.Err() != nil {
			if err == nil {
				conn.Close()
			}
			return
		}
		if err != nil {
			t.pause(100 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		s := t.admit(conn, conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr().Unmap())
		if s == nil {
			t.refused.Add(1)
			conn.Close()
			continue
		}
		select {
		case t.streams <- s:
		case <-t.ctx.Done():
			s.Close()
			return
		}
	}
}

func (t *transport) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-t.ctx.Done():
	}
}

// admit counts an accepted connection (ip is valid) or one that was made. It returns nil when there are too many.
func (t *transport) admit(conn net.Conn, ip netip.Addr) *stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &stream{Conn: conn, t: t, ip: ip}
	s.left.Store(maxStream)
	if ip.IsValid() {
		all := 0
		for _, n := range t.perIP {
			all += n
		}
		if all >= maxStreams || t.perIP[ip] >= maxStreamsIP {
			return nil
		}
		t.perIP[ip]++
	}
	t.open[s] = struct{}{}
	return s
}

func (t *transport) gone(s *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.open, s)
	if !s.ip.IsValid() {
		return
	}
	if t.perIP[s.ip]--; t.perIP[s.ip] == 0 {
		delete(t.perIP, s.ip)
	}
}

// stream is a connection with a bound on what is read from it.
type stream struct {
	net.Conn
	t    *transport
	ip   netip.Addr
	left atomic.Int64
	once sync.Once
}

func (s *stream) Read(b []byte) (int, error) {
	left := s.left.Load()
	if left <= 0 {
		return 0, fmt.Errorf("the other node sent more than %d bytes: %w", maxStream, io.ErrUnexpectedEOF)
	}
	n, err := s.Conn.Read(b[:min(int64(len(b)), left)])
	s.left.Add(-int64(n))
	s.t.inBytes.Add(uint64(n))
	return n, err
}

func (s *stream) Write(b []byte) (int, error) {
	n, err := s.Conn.Write(b)
	s.t.streamOut.Add(uint64(n))
	return n, err
}

func (s *stream) Close() error {
	s.once.Do(func() { s.t.gone(s) })
	return s.Conn.Close()
}

// FinalAdvertiseAddr ignores memberlist's configuration: ours has been read already.
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	return t.advertise.Addr().AsSlice(), int(t.advertise.Port()), nil
}

func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	return t.WriteToAddress(b, memberlist.Address{Addr: addr})
}

func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return time.Time{}, err
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if t.blocked(to) {
		return time.Now(), nil
	}
	n, err := t.udp.WriteToUDPAddrPort(b, to)
	if err == nil {
		t.sent.add(n)
	}
	return time.Now(), err
}

func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }
func (t *transport) StreamCh() <-chan net.Conn           { return t.streams }

func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	return t.DialAddressTimeout(memberlist.Address{Addr: addr}, timeout)
}

func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	to, err := netip.ParseAddrPort(a.Addr)
	if err != nil {
		return nil, err
	}
	conn, err := t.dial(netip.AddrPortFrom(to.Addr().Unmap(), to.Port()), min(timeout, dialTimeout))
	if err != nil {
		return nil, err
	}
	s := t.admit(conn, netip.Addr{})
	if t.ctx.Err() != nil { // Shutdown may have gone through the open ones already
		s.Close()
		return nil, net.ErrClosed
	}
	return s, nil
}

func (t *transport) dial(to netip.AddrPort, timeout time.Duration) (net.Conn, error) {
	var conn net.Conn
	err := errors.New("cut by a test")
	if !t.blocked(to) {
		d := net.Dialer{Timeout: timeout}
		conn, err = d.DialContext(t.ctx, "tcp", to.String())
	}
	t.mu.Lock()
	if _, ok := t.dials[to]; ok {
		t.dials[to] = err != nil
	}
	t.mu.Unlock()
	return conn, err
}

// watch makes dial note for to whether it got a connection; the func returned ends that and reports it.
func (t *transport) watch(to netip.AddrPort) (unreachable func() bool) {
	t.mu.Lock()
	t.dials[to] = false
	t.mu.Unlock()
	return func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		defer delete(t.dials, to)
		return t.dials[to]
	}
}

func (t *transport) blocked(a netip.AddrPort) bool {
	f := t.block.Load()
	return f != nil && (*f)(a)
}

// Shutdown closes the sockets and all connections, and waits for the goroutines of the transport.
func (t *transport) Shutdown() error {
	t.cancel()
	t.tcp.Close()
	t.udp.Close()
	t.mu.Lock()
	conns := make([]*stream, 0, len(t.open))
	for s := range t.open {
		conns = append(conns, s)
	}
	t.mu.Unlock()
	for _, s := range conns {
		s.Close()
	}
	t.wg.Wait()
	return nil
}
