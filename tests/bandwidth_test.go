package tests

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	kib = 1 << 10
	mib = 1 << 20
)

// shapedConfig has a route for each rate, one whose tenants have a rate each, and one whose tenants share a total.
const shapedConfig = base + `
listeners: [{name: web, address: "@web", limits: {body: 0}}]
dimensions: [{name: tenant, from: "header:x-tenant", default: nobody}]
pools: [{name: up, endpoints: [{address: "@up"}]}]
routes:
  - {name: r64k, match: {path: /64KiB}, pool: up}
  - {name: r1m, match: {path: /1MiB}, pool: up}
  - {name: r10m, match: {path: /10MiB}, pool: up}
  - {name: r100m, match: {path: /100MiB}, pool: up}
  - {name: each, match: {path: /each}, pool: up}
  - {name: shared, match: {path: /shared}, pool: up}
  - {name: free, match: {path: /free}, pool: up}
shaping:
  - {name: s64k, routes: [r64k], download: 64KiB, upload: 64KiB, burst: 64KiB}
  - {name: s1m, routes: [r1m], download: 1MiB, upload: 1MiB, burst: 64KiB}
  - {name: s10m, routes: [r10m], download: 10MiB, upload: 10MiB, burst: 1MiB}
  - {name: s100m, routes: [r100m], download: 100MiB, upload: 100MiB, burst: 4MiB}
  - {name: each, routes: [each], by: tenant, download: 1MiB, upload: 1MiB, burst: 64KiB}
  - {name: shared, routes: [shared], by: tenant, download: 3MiB, burst: 64KiB, guarantee: 512KiB, total_download: 3MiB}
`

// meter notes when bytes of one flow came. Several connections may share one.
type meter struct {
	mu    sync.Mutex
	marks []mark // in order
	total int64
}

type mark struct {
	at  time.Time
	sum int64 // with what came then
}

// read takes all that r gives, until its end.
func (m *meter) read(r io.Reader) error {
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		m.add(n)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// add counts n bytes that came now. What comes within half a millisecond is one piece.
func (m *meter) add(n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.total += int64(n)
	if last := len(m.marks) - 1; last >= 0 && now.Sub(m.marks[last].at) < time.Millisecond/2 {
		m.marks[last].sum = m.total
		return
	}
	m.marks = append(m.marks, mark{at: now, sum: m.total})
}

// rate is how many bytes a second came after the first skip ones: from the piece that completes those to the last.
func (m *meter) rate(skip int64) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	i := slices.IndexFunc(m.marks, func(x mark) bool { return x.sum >= skip })
	if i < 0 || i == len(m.marks)-1 {
		return 0
	}
	a, b := m.marks[i], m.marks[len(m.marks)-1]
	return float64(b.sum-a.sum) / b.at.Sub(a.at).Seconds()
}

// between is how many bytes a second came from a to b.
func (m *meter) between(a, b time.Time) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	at := func(t time.Time) (sum int64) {
		for _, x := range m.marks {
			if x.at.After(t) {
				break
			}
			sum = x.sum
		}
		return sum
	}
	return float64(at(b)-at(a)) / b.Sub(a).Seconds()
}

// wide is a server that sends as many bytes as it is asked for, as fast as they are taken, and meters what it is sent by the X-Flow of the request.
type wide struct {
	*server
	meters sync.Map // X-Flow → *meter
}

func serveWide(t testing.TB) *wide {
	t.Helper()
	s := &wide{}
	s.server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == "POST" {
			m, _ := s.meters.LoadOrStore(r.Header.Get("X-Flow"), &meter{})
			m.(*meter).read(r.Body)
			return
		}
		n, _ := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		io.Copy(w, &zeros{n})
	})
	return s
}

// wideClient opens a connection per request and waits long.
var wideClient = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10}}

// download takes n bytes of path as tenant, into m, until stop is closed if that is not nil.
func download(w *weir, m *meter, path, tenant string, n int64, stop <-chan struct{}) error {
	req, err := http.NewRequest("GET", fmt.Sprintf("%s?n=%d", w.url(path), n), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-Tenant", tenant)
	resp, err := wideClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Weir-Reason"))
	}
	if stop == nil {
		return m.read(resp.Body)
	}
	go func() { <-stop; resp.Body.Close() }()
	m.read(resp.Body) // ends when it is closed
	return nil
}

// upload sends n bytes to path as tenant, to the meter flow of the server.
func upload(w *weir, flow, path, tenant string, n int64) error {
	req, err := http.NewRequest("POST", w.url(path), &zeros{n})
	if err != nil {
		return err
	}
	req.ContentLength = n
	req.Header.Set("X-Tenant", tenant)
	req.Header.Set("X-Flow", flow)
	resp, err := wideClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 {
		return fmt.Errorf("%s: %d %s", path, resp.StatusCode, resp.Header.Get("Weir-Reason"))
	}
	return nil
}

// shapes are the rates that are measured, and what may go at once.
var shapes = []struct {
	path        string
	rate, burst int64
}{{"/64KiB", 64 * kib, 64 * kib}, {"/1MiB", mib, 64 * kib}, {"/10MiB", 10 * mib, mib}, {"/100MiB", 100 * mib, 4 * mib}}

const rateColumns = "direction | what | connections | set | measured | off by"

// rate records a rate that was measured, and expects it to be what was set within a tolerance.
func (r *trial) rate(direction, what string, conns int, set, got, tolerance float64) {
	r.row("Bandwidth", rateColumns, direction, what, conns, fmt.Sprintf("%.3f MiB/s", set/mib), fmt.Sprintf("%.3f MiB/s", got/mib), percent(got/set-1))
	r.expect(math.Abs(got/set-1) <= tolerance, "%s, %s: %.3f MiB/s, %.3f MiB/s are set: %s", direction, what, got/mib, set/mib, percent(got/set-1))
}

// TestBandwidth measures bodies at rates from 64 KiB/s to 100 MiB/s both ways, beside each other.
func TestBandwidth(t *testing.T) {
	for _, direction := range []string{"download", "upload"} {
		t.Run(direction, func(t *testing.T) {
			steadily(t, func(r *trial) {
				up := serveWide(t)
				w := startWeir(t, shapedConfig, map[string]string{"up": up.addr})
				long := either(int64(2), 8) // seconds
				meters, errs := make([]*meter, len(shapes)), make([]error, len(shapes))
				var wg sync.WaitGroup
				for i, s := range shapes {
					n := s.burst + s.rate/4 + s.rate*long
					wg.Go(func() {
						if direction == "download" {
							meters[i] = &meter{}
							errs[i] = download(w, meters[i], s.path, "a", n, nil)
							return
						}
						errs[i] = upload(w, s.path, s.path, "a", n)
						if m, ok := up.meters.Load(s.path); ok {
							meters[i] = m.(*meter)
						}
					})
				}
				wg.Wait()
				for i, s := range shapes {
					if errs[i] != nil || meters[i] == nil {
						r.expect(false, "%s %s: %v", direction, s.path, errs[i])
						continue
					}
					r.rate(direction, "one flow of "+strings.TrimPrefix(s.path, "/")+"/s", 1, float64(s.rate), meters[i].rate(s.burst+s.rate/4), either(0.03, 0.02))
				}
				w.stop()
			})
		})
	}
}

// TestBandwidthFlows checks that tenants have a rate each whatever others take, and that the connections of one share it.
func TestBandwidthFlows(t *testing.T) {
	steadily(t, func(r *trial) {
		up := serveWide(t)
		w := startWeir(t, shapedConfig, map[string]string{"up": up.addr})
		tenants := []struct {
			name  string
			conns int
		}{{"one", 1}, {"two", 2}, {"eight", 8}}
		meters, stop := map[string]*meter{}, make(chan struct{})
		var wg sync.WaitGroup
		begin := time.Now()
		for _, x := range tenants {
			m := &meter{}
			meters[x.name] = m
			for range x.conns {
				wg.Go(func() {
					if err := download(w, m, "/each", x.name, 1<<40, stop); err != nil {
						t.Error(err)
					}
				})
			}
		}
		settle, long := time.Second, either(3500*time.Millisecond, 12*time.Second)
		time.Sleep(long)
		close(stop)
		wg.Wait()
		for _, x := range tenants {
			r.rate("download", "a tenant beside two others, 1 MiB/s each", x.conns, mib, meters[x.name].between(begin.Add(settle), begin.Add(long)), either(0.04, 0.02))
		}
		w.stop()
	})
}

// TestBandwidthShared has tenants share a total: one alone has all of it, three have a third each, however many connections they have.
func TestBandwidthShared(t *testing.T) {
	steadily(t, func(r *trial) {
		up := serveWide(t)
		w := startWeir(t, shapedConfig, map[string]string{"up": up.addr})
		one, two, six, stop := &meter{}, &meter{}, &meter{}, make(chan struct{})
		var wg sync.WaitGroup
		take := func(m *meter, name string, conns int) {
			for range conns {
				wg.Go(func() {
					if err := download(w, m, "/shared", name, 1<<40, stop); err != nil {
						t.Error(err)
					}
				})
			}
		}
		begin := time.Now()
		at := func(d time.Duration) time.Time { return begin.Add(d) }
		alone, end := 1500*time.Millisecond, 1500*time.Millisecond+either(3500*time.Millisecond, 12*time.Second)
		take(one, "one", 1)
		time.Sleep(time.Until(at(alone)))
		take(two, "two", 1)
		take(six, "six", 6)
		time.Sleep(time.Until(at(end)))
		close(stop)
		wg.Wait()
		r.rate("download", "a tenant alone, all tenants have 3 MiB/s", 1, 3*mib, one.between(at(alone/2), at(alone)), either(0.06, 0.03))
		settle, sum := alone+time.Second, 0.0
		for _, x := range []struct {
			m     *meter
			conns int
		}{{one, 1}, {two, 1}, {six, 6}} {
			got := x.m.between(at(settle), at(end))
			sum += got
			r.rate("download", "one of three tenants, all tenants have 3 MiB/s", x.conns, mib, got, either(0.1, 0.05))
		}
		r.rate("download", "the three together", 8, 3*mib, sum, either(0.04, 0.02))
		w.stop()
	})
}

// TestMeter checks the meter by a pace that is known.
func TestMeter(t *testing.T) {
	begin := time.Now()
	m := &meter{}
	for i := range 101 { // 1000 bytes each 10 ms, after 5000 at once
		at := begin.Add(time.Duration(i) * 10 * time.Millisecond)
		m.total += 1000
		if i == 0 {
			m.total += 4000
		}
		m.marks = append(m.marks, mark{at: at, sum: m.total})
	}
	if got := m.rate(5000); math.Abs(got-100_000) > 1 {
		t.Errorf("%.0f/s, want 100000", got)
	}
	if got := m.between(begin.Add(200*time.Millisecond), begin.Add(700*time.Millisecond)); math.Abs(got-100_000) > 1 {
		t.Errorf("%.0f/s, want 100000", got)
	}
	if got := m.rate(1 << 30); got != 0 {
		t.Errorf("%.0f/s of nothing", got)
	}
}
