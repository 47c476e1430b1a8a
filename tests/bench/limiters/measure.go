package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"weir/tests/bench/stats"
)

// batch is how many decisions are made between two looks at the clock.
const batch = 256

// figures are what was measured of one contender in one scene, one element a round.
type figures struct {
	*contender
	ns     []float64 // one decision
	allocs []float64 // of one decision
	bytes  float64   // of a key, if the scene measures it
	failed float64   // share of the decisions that failed
}

// table is one scene's result.
type table struct {
	scene *scene
	rows  []*figures
}

// row is the figures of a contender, nil if it did not take part.
func (t *table) row(name string) *figures {
	for _, f := range t.rows {
		if f.name == name {
			return f
		}
	}
	return nil
}

// measure loads all contenders in turn, so that each round meets the machine in one state.
func measure(s *scene, all []*contender, rounds int, slice time.Duration) (*table, error) {
	s.prepare()
	t := &table{scene: s}
	var racks []*rack
	for _, c := range all {
		if !c.takesPart(s) {
			continue
		}
		r, err := newRack(s, c)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		r.load(slice / 4) // warm up
		racks = append(racks, r)
		t.rows = append(t.rows, &figures{contender: c, bytes: r.bytes})
	}
	for range rounds {
		for i, r := range racks {
			ns, allocs := r.load(slice)
			t.rows[i].ns = append(t.rows[i].ns, ns)
			t.rows[i].allocs = append(t.rows[i].allocs, allocs)
		}
	}
	for i, r := range racks {
		share, err := r.verify()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		t.rows[i].failed = share
		fmt.Fprintf(os.Stderr, "  %-44s %7.1f ns\n", r.name, stats.Of(t.rows[i].ns).Median)
	}
	return t, nil
}

// rack is a contender with its state and its threads.
type rack struct {
	*contender
	scene   *scene
	workers []*worker
	bytes   float64
}

// worker is one thread's part.
type worker struct {
	decide   decide
	i, keys  int
	at, step int64
	counts   [outcomes]int64
	_        [64]byte // another thread's counts are on another cache line
}

func newRack(s *scene, c *contender) (*rack, error) {
	before := uint64(0)
	if s.memory {
		before = heap()
	}
	threads, err := c.open(s)
	if err != nil {
		return nil, err
	}
	r := &rack{contender: c, scene: s}
	if s.memory {
		r.bytes = (float64(heap()) - float64(before)) / float64(s.keys)
	}
	for range s.threads {
		r.workers = append(r.workers, &worker{decide: threads(), keys: s.keys, at: start, step: step * int64(s.threads)})
	}
	return r, nil
}

// heap is how many bytes are in use when all garbage is gone.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what a finalizer or a pool held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func (w *worker) run(n int) {
	for range n {
		w.counts[w.decide(w.i, w.at)]++
		w.at += w.step
		if w.i++; w.i == w.keys {
			w.i = 0
		}
	}
}

// until runs w for d and returns the decisions made and the time it took.
func (w *worker) until(d time.Duration) (n int64, took time.Duration) {
	for began := time.Now(); took < d; took = time.Since(began) {
		w.run(batch)
		n += batch
	}
	return n, took
}

// load makes decisions for d and returns what one costs: one thread's is CPU time, for others on the machine may interrupt it, that
// of several the time that each thread needs for one of its own, for they wait for each other.
func (r *rack) load(d time.Duration) (ns, allocs float64) {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	var n int64
	var took time.Duration
	if len(r.workers) == 1 {
		cpu := cpuTime()
		n, _ = r.workers[0].until(d)
		took = cpuTime() - cpu
	} else {
		n, took = r.together(d)
	}
	runtime.ReadMemStats(&after)
	return float64(took) / float64(n), float64(after.Mallocs-before.Mallocs) / float64(n)
}

// together runs all workers at once and adds up their decisions and times.
func (r *rack) together(d time.Duration) (n int64, took time.Duration) {
	var mu sync.Mutex
	var ready, done sync.WaitGroup
	ready.Add(len(r.workers))
	latest := int64(0)
	for cpu, w := range r.workers {
		done.Go(func() {
			runtime.LockOSThread() // for good: the thread ends with this function, and its affinity with it
			pin(cpu)
			ready.Done()
			ready.Wait()
			made, needed := w.until(d)
			mu.Lock()
			defer mu.Unlock()
			n, took, latest = n+made, took+needed, max(latest, w.at)
		})
	}
	done.Wait()
	for _, w := range r.workers {
		w.at = latest
	}
	return n, took
}

// verify reports the share of failed decisions, and as an error any that was not as the scene wants it.
func (r *rack) verify() (share float64, err error) {
	var sum [outcomes]int64
	for _, w := range r.workers {
		for o, n := range w.counts {
			sum[o] += n
		}
	}
	wrong := sum[refused]
	if r.scene.refuse {
		wrong = sum[admitted]
	}
	all := sum[admitted] + sum[refused] + sum[failed]
	if wrong > 0 || all == 0 || r.weir && sum[failed] > 0 {
		return 0, fmt.Errorf("of %d decisions %d admitted, %d refused, %d failed", all, sum[admitted], sum[refused], sum[failed])
	}
	return float64(sum[failed]) / float64(all), nil
}

// pin keeps the calling thread on a processor, if it may run there: two threads are to be on two.
func pin(cpu int) {
	mask := [16]uint64{1 << cpu}
	_, _, _ = syscall.RawSyscall(syscall.SYS_SCHED_SETAFFINITY, 0, unsafe.Sizeof(mask), uintptr(unsafe.Pointer(&mask)))
}

// cpuTime is what this process has used, in nanoseconds: clock_gettime of CLOCK_PROCESS_CPUTIME_ID.
func cpuTime() time.Duration {
	const clock = 2
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic("BUG: limiters: no CPU clock: " + errno.Error())
	}
	return time.Duration(ts.Nano())
}
