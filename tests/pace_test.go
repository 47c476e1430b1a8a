package tests

import (
	"bufio"
	"bytes"
	"errors"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// shot is one request of a pacer: when it was sent, when its answer was there, and what that was; 0: there was none.
type shot struct {
	sent, received time.Time
	status         int
}

// pacer sends requests at a rate that the answers do not change (open loop): what is due is sent by the next connection that
// is free, late rather than never. Without a rate every connection sends again as soon as it has an answer (closed loop).
type pacer struct {
	addr  string
	path  string
	rate  int // per second
	conns int

	free []*shooter

	mu    sync.Mutex
	shots []shot
}

// connect opens the connections, so that the run does not begin with that.
func (p *pacer) connect(t testing.TB) {
	for range p.conns {
		s, err := newShooter(p.addr, p.path)
		if err != nil {
			t.Fatalf("%s: %v", p.path, err)
		}
		p.free = append(p.free, s)
	}
}

// run sends for d and returns when every answer is there.
func (p *pacer) run(d time.Duration) {
	end := time.Now().Add(d)
	due := make(chan struct{}, int(float64(p.rate)*d.Seconds())+1)
	var wg sync.WaitGroup
	for _, s := range p.free {
		wg.Go(func() {
			defer s.c.Close()
			var own []shot
			for range due {
				for {
					own = append(own, s.shoot())
					if p.rate > 0 || !time.Now().Before(end) {
						break
					}
				}
			}
			p.mu.Lock()
			p.shots = append(p.shots, own...)
			p.mu.Unlock()
		})
	}
	if p.rate > 0 {
		p.tick(due, end)
	} else {
		for range p.conns {
			due <- struct{}{}
		}
	}
	close(due)
	wg.Wait()
	slices.SortFunc(p.shots, func(a, b shot) int { return a.received.Compare(b.received) })
}

// tick lets one request go each 1/rate.
func (p *pacer) tick(due chan<- struct{}, end time.Time) {
	begin := time.Now()
	for n := 0; ; {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		for want := int(now.Sub(begin).Seconds()*float64(p.rate)) + 1; n < want; n++ {
			due <- struct{}{}
		}
		time.Sleep(time.Millisecond)
	}
}

// shooter is a keep-alive connection that reads as little of an answer as it must.
type shooter struct {
	addr    string
	in      *space // where it connects from; nil: this process's network
	request []byte
	c       net.Conn
	br      *bufio.Reader
}

func newShooter(addr, path string, fields ...string) (*shooter, error) {
	head := "GET " + path + " HTTP/1.1\r\nHost: a.test\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	s := &shooter{addr: addr, request: []byte(head + "\r\n")}
	return s, s.connect()
}

func (s *shooter) connect() error {
	if s.c != nil {
		s.c.Close()
	}
	c, err := s.in.dial("tcp", s.addr, 5*time.Second)
	if err != nil {
		return err
	}
	s.c = c
	s.br = bufio.NewReaderSize(s.c, 4096)
	return nil
}

// shoot sends the request and reads the answer; after a fault it connects anew.
func (s *shooter) shoot() shot {
	x := shot{sent: time.Now()}
	s.c.SetDeadline(x.sent.Add(20 * time.Second))
	_, err := s.c.Write(s.request)
	if err == nil {
		x.status, err = s.answer()
	}
	x.received = time.Now()
	if err != nil {
		x.status = 0
		time.Sleep(5 * time.Millisecond)
		s.connect() //nolint:errcheck // the next shot finds out
	}
	return x
}

func (s *shooter) answer() (status int, err error) {
	length, first := -1, true
	for {
		line, err := s.br.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		switch {
		case first:
			if len(line) < 12 {
				return 0, errors.New("no status line")
			}
			if status, err = strconv.Atoi(string(line[9:12])); err != nil {
				return 0, err
			}
			first = false
		case len(line) == 2:
			if length < 0 {
				return 0, errors.New("no Content-Length")
			}
			_, err := s.br.Discard(length)
			return status, err
		default:
			if name, value, ok := bytes.Cut(line, []byte(":")); ok && bytes.EqualFold(name, []byte("content-length")) {
				if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
					return 0, err
				}
			}
		}
	}
}

// admitted are the shots that were answered 200, in the order of their answers, and offered is how many there were in all.
func (p *pacer) admitted() (passed []shot, offered, faults int) {
	for _, s := range p.shots {
		switch s.status {
		case 200:
			passed = append(passed, s)
		case 0:
			faults++
		}
	}
	return passed, len(p.shots), faults
}

// earliest returns for each shot the earliest instant at which it or one answered later was sent. The gateway decided about a
// shot at some instant between sent and received. So what is answered from i to j was decided between earliest[i] and
// received of j: that interval, and no shorter one, is what a bound may be held against.
func earliest(shots []shot) []time.Time {
	all := make([]time.Time, len(shots))
	for i := len(shots) - 1; i >= 0; i-- {
		all[i] = shots[i].sent
		if i+1 < len(shots) && all[i+1].Before(all[i]) {
			all[i] = all[i+1]
		}
	}
	return all
}

// overRate returns the most by which any interval T holds more than burst + rate·T admitted shots: 0 or less if the bound holds.
// O(n): for i ≤ j it is (j − rate·t_j) − (i − rate·t_i) + 1 − burst.
func overRate(shots []shot, burst, rate float64) float64 {
	if len(shots) == 0 {
		return 0
	}
	from, begin := earliest(shots), shots[0].sent
	worst, low := -burst, 0.0
	for j := range shots {
		if v := float64(j) - rate*from[j].Sub(begin).Seconds(); j == 0 || v < low {
			low = v
		}
		worst = max(worst, float64(j)-rate*shots[j].received.Sub(begin).Seconds()-low+1-burst)
	}
	return worst
}

// tightest returns the shortest interval that holds n+1 admitted shots for sure: more than n in less than a window is a fault. It is
// 0 and false if there are not that many.
func tightest(shots []shot, n int) (shortest time.Duration, ok bool) {
	from := earliest(shots)
	for i := 0; i+n < len(shots); i++ {
		if d := shots[i+n].received.Sub(from[i]); !ok || d < shortest {
			shortest, ok = d, true
		}
	}
	return shortest, ok
}

// oneBucket returns what a token bucket admits of the answered shots, had it decided at the instants that when says.
func oneBucket(shots []shot, burst, rate float64, when func(*shot) time.Time) (admitted int) {
	var at []time.Time
	for i := range shots {
		if s := &shots[i]; s.status == 200 || s.status == 429 {
			at = append(at, when(s))
		}
	}
	slices.SortFunc(at, time.Time.Compare)
	level := burst
	for i := range at {
		if i > 0 {
			level = min(burst, level+rate*at[i].Sub(at[i-1]).Seconds())
		}
		if level >= 1 {
			level--
			admitted++
		}
	}
	return admitted
}
