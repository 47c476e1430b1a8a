package gateway

import (
	"io"
	"math/rand/v2"
	"time"

	"weir/balancer"
	"weir/internal/http1"
	"weir/internal/mono"
)

// maxMirrors bounds the copies under way: more are not sent. They must never slow down the requests they copy.
const maxMirrors = 256

// mirror sends a copy of the request to the route's mirror pool and drops the answer. It is made before the original is
// sent, from what is in memory; requests with longer bodies are not copied.
func (g *Gateway) mirror(x *Exchange) {
	e := x.route
	if rand.Float64() >= e.mirrored {
		return
	}
	long := x.car.Held() // of which a JSON body that was changed may be more than others
	if long <= smallBody {
		long = 0
	}
	if !g.holdDocuments(long) {
		g.hub.MirrorsDropped().Inc()
		return
	}
	request, ok := x.car.Copy(nil)
	if !ok || g.mirrors.Add(1) > maxMirrors {
		if ok {
			g.mirrors.Add(-1)
		}
		g.holdDocuments(-long)
		g.hub.MirrorsDropped().Inc()
		return
	}
	head := x.sentMethod() == "HEAD"
	p := e.mirror.pool
	timeout := e.mirror.header
	g.live.background.Go(func() {
		defer g.mirrors.Add(-1)
		defer g.holdDocuments(-long)
		defer g.shield("mirror", func() {})
		p.send(&shadow{request: request, toHead: head, hint: rand.Uint64(), timeout: timeout})
	})
}

// shadow is a request that is sent beside those of clients.
type shadow struct {
	request []byte
	toHead  bool
	hint    uint64 // picks the endpoint
	timeout time.Duration
	to      taker // nil: the answer is dropped
}

// taker is shown an answer that nobody waits for. There is an end only if it came whole.
type taker interface {
	head(h *http1.Head, at mono.Time)
	piece(p []byte)
	end()
}

// send sends one and reads its answer.
func (p *pool) send(s *shadow) {
	now, timeout := mono.Now(), s.timeout
	lease, miss := p.balancer.Lease(s.hint, &balancer.Set{}, now)
	if miss != balancer.OK {
		return
	}
	defer func() { lease.Done(mono.Now()) }()
	up := lease.Endpoint().Value.(*upstream)
	u, err := up.get(now, false, true)
	if err != nil {
		lease.Report(balancer.Fault, 0, mono.Now())
		return
	}
	if timeout <= 0 {
		timeout = longStall
	}
	if p.ask(s, u, &lease, now, timeout) {
		up.put(u, mono.Now())
	} else {
		up.drop(u)
	}
}

// ask sends a copy over u and reads its answer, and reports whether u can be used again.
func (p *pool) ask(s *shadow, u *upconn, lease *balancer.Lease, now mono.Time, timeout time.Duration) bool {
	if !p.gw.live.track(u) {
		return false
	}
	defer p.gw.live.untrack(u)
	u.readBy(now.Add(timeout))
	u.writeBy(now.Add(timeout))
	var head http1.Head
	var body http1.Body
	_, err := u.Write(s.request)
	if err == nil {
		err = u.rd.ReadResponse(&head, upstreamLimits)
		for err == nil && head.Status < 200 && head.Status != 101 {
			u.rd.Unpin()
			err = u.rd.ReadResponse(&head, upstreamLimits)
		}
	}
	if err != nil || head.Status == 101 {
		lease.Report(balancer.Fault, mono.Now().Sub(now), mono.Now())
		return false
	}
	at := mono.Now()
	lease.Report(balancer.Success, at.Sub(now), at)
	body.Response(&head, &u.rd, upstreamLimits, s.toHead)
	s.take(u, &head, &body, at)
	return body.Done() && !head.Close && head.Minor == 1 && !body.UntilClose() && u.rd.Buffered() == 0
}

// take reads the answer to its end.
func (s *shadow) take(u *upconn, head *http1.Head, body *http1.Body, at mono.Time) {
	if s.to != nil {
		s.to.head(head, at)
		u.readBy(at.Add(longStall))
	}
	for {
		p, err := body.Next()
		if s.to != nil {
			s.to.piece(p)
		}
		if err != nil {
			if err == io.EOF && s.to != nil {
				s.to.end()
			}
			return
		}
	}
}

// track lists a copy under way, so that it can be ended. It reports false if the gateway is closing.
func (l *live) track(u *upconn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		return false
	}
	l.shadows[u] = struct{}{}
	return true
}

func (l *live) untrack(u *upconn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.shadows, u)
}
