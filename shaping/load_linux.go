package shaping

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/internal/mono"
)

// memoryEvery is how often memory is read: memory.stat costs the kernel up to milliseconds on large machines.
const memoryEvery = 500 * time.Millisecond

// Machine reads how much CPU and memory this process uses of what it may use, from /proc and the control groups (cgroup v2, v1, or a mix).
// Not safe for concurrent use.
//
// CPU: what counts as full is, for every control group above the process that has a quota, that quota, used by all that runs in the group; and for the
// process alone GOMAXPROCS, or the CPUs it may run on if they are fewer. The worst of these counts. An interval in which a group was throttled counts
// as full. What others use of a machine does not count: where they starve us, fewer requests of ours leave no more of it.
//
// Memory: for every control group above the process with a limit below the machine's memory, its working set (what is charged to it without inactive
// page cache, as kubelet counts) over memory.max, or memory.high if lower. Without any, the process's resident memory over that and
// what the machine has available. If GOMEMLIMIT is set, also what the garbage collector cannot free over it, and garbage does not count in the other
// figures: the runtime frees it before it passes its limit, and may never do so earlier (GOGC=off).
//
// The control groups are found once, their limits are read anew each time. CPU is read at every call, memory twice a
// second.
type Machine struct {
	root   fs.FS
	self   func() (time.Duration, error) // CPU time of this process
	procs  func() int                    // CPUs that it can use at once
	golang func() goMemory

	cpu, memory hierarchy
	groupsErr   error

	own     cpuUse
	spent   map[string]cpuUse // by directory of a group with a quota, as last read
	used    Reading           // memory
	usedDue mono.Time
}

// hierarchy is the control groups above the process for one controller: none, or directories from its own up to the root.
type hierarchy struct {
	v1   bool
	dirs []string // in root, without leading slash
}

// cpuUse is what a process or a group had used at an instant, and how often it had been throttled.
type cpuUse struct {
	at        mono.Time
	usage     time.Duration
	known     bool // usage is
	throttled uint64
}

// NewMachine returns a reader of the system whose root directory is given; nil is this system's.
func NewMachine(root fs.FS) *Machine {
	if root == nil {
		root = os.DirFS("/")
	}
	m := &Machine{root: root, self: ownCPU, golang: readGoMemory, spent: map[string]cpuUse{}}
	m.procs = func() int { return min(runtime.GOMAXPROCS(0), runtime.NumCPU()) }
	m.cpu, m.memory, m.groupsErr = findGroups(root)
	return m
}

// ownCPU is precise to the microsecond, where /proc/self/stat counts in hundredths of a second.
func ownCPU() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, fmt.Errorf("getrusage: %w", err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// Read returns the CPU used since the last call and the memory used now, as shares of what may be used. The first call knows no CPU yet.
func (m *Machine) Read(now mono.Time) (cpu, memory Reading) {
	if now >= m.usedDue {
		m.usedDue = now.Add(memoryEvery)
		m.used = reading(m.readMemory())
	}
	return reading(m.readCPU(now)), m.used
}

// readCPU is the share of the CPU it may use that was used since the last call.
func (m *Machine) readCPU(now mono.Time) (float64, error) {
	if m.groupsErr != nil {
		return 0, m.groupsErr
	}
	usage, err := m.self()
	if err != nil {
		return 0, err
	}
	last := m.own
	m.own = cpuUse{at: now, usage: usage, known: true}
	rate, first := 0.0, !last.known || now <= last.at
	if !first {
		rate = m.own.rateSince(last)
	}
	worst := rate / float64(max(1, m.procs()))
	for _, dir := range m.cpu.dirs {
		quota, err := m.quota(dir)
		if err != nil {
			return 0, err
		}
		if quota == 0 {
			delete(m.spent, dir)
			continue
		}
		share, err := m.groupShare(dir, quota, rate, now)
		if err != nil {
			return 0, err
		}
		worst = max(worst, share)
	}
	if first {
		return 0, errFirst
	}
	return worst, nil
}

// rateSince is the number of CPUs used on average.
func (u cpuUse) rateSince(last cpuUse) float64 {
	return float64(u.usage-last.usage) / float64(u.at.Sub(last.at))
}

// groupShare is the share of its quota, in CPUs, that a group has used since the last reading. What this process alone used, own, stands in for a
// group whose use is not counted.
func (m *Machine) groupShare(dir string, quota, own float64, now mono.Time) (float64, error) {
	use, err := m.groupCPU(dir)
	if err != nil {
		return 0, err
	}
	use.at = now
	last, seen := m.spent[dir]
	m.spent[dir] = use
	if !seen || now <= last.at {
		return own / quota, nil
	}
	if use.known && last.known {
		own = max(own, use.rateSince(last))
	}
	if use.throttled > last.throttled {
		return max(own/quota, 1), nil
	}
	return own / quota, nil
}

// quota is the number of CPUs that the group may use, 0 without limit.
func (m *Machine) quota(dir string) (float64, error) {
	if !m.cpu.v1 {
		text, err := m.optional(dir, "cpu.max")
		if err != nil || text == "" {
			return 0, err
		}
		q, err := parseCPUMax(text)
		return q, inFile(dir, "cpu.max", err)
	}
	quota, err := m.number(dir, "cpu.cfs_quota_us")
	if err != nil || quota <= 0 { // -1: none
		return 0, err
	}
	period, err := m.number(dir, "cpu.cfs_period_us")
	if err == nil && period <= 0 {
		err = inFile(dir, "cpu.cfs_period_us", errors.New("no period beside a quota"))
	}
	if err != nil {
		return 0, err
	}
	return float64(quota) / float64(period), nil
}

func (m *Machine) groupCPU(dir string) (g cpuUse, err error) {
	text, err := m.optional(dir, "cpu.stat")
	if err != nil {
		return g, err
	}
	stat, err := parseFlat(text)
	if err != nil {
		return g, inFile(dir, "cpu.stat", err)
	}
	g.throttled = stat["nr_throttled"]
	if m.cpu.v1 {
		ns, err := m.number(dir, "cpuacct.usage") // there if cpu and cpuacct are mounted together
		g.usage, g.known = time.Duration(ns), ns > 0
		return g, err
	}
	us, ok := stat["usage_usec"]
	g.usage, g.known = time.Duration(us)*time.Microsecond, ok
	return g, nil
}

// readMemory is the share in use of the memory that may be used.
func (m *Machine) readMemory() (float64, error) {
	if m.groupsErr != nil {
		return 0, m.groupsErr
	}
	text, err := fs.ReadFile(m.root, "proc/meminfo")
	if err != nil {
		return 0, err
	}
	total, err1 := kilobytes(string(text), "MemTotal:")
	available, err2 := kilobytes(string(text), "MemAvailable:")
	if err := errors.Join(err1, err2); err != nil || total == 0 {
		return 0, errors.Join(errors.New("proc/meminfo: no total"), err)
	}
	g := m.golang()
	worst, limited := 0.0, false
	for _, dir := range m.memory.dirs {
		limit, err := m.memoryLimit(dir)
		if err != nil {
			return 0, err
		}
		if limit >= total {
			continue
		}
		limited = true
		set, err := m.workingSet(dir)
		if err != nil {
			return 0, err
		}
		worst = max(worst, float64(without(set, g.garbage))/float64(max(limit, 1)))
	}
	if g.limit > 0 {
		worst = max(worst, float64(g.needed)/float64(g.limit))
	}
	if limited {
		return worst, nil
	}
	status, err := fs.ReadFile(m.root, "proc/self/status")
	if err != nil {
		return 0, err
	}
	rss, err := kilobytes(string(status), "VmRSS:")
	if err != nil {
		return 0, fmt.Errorf("proc/self/status: %w", err)
	}
	used := without(rss, g.garbage)
	return max(worst, float64(used)/float64(max(1, used+available))), nil
}

const noMemoryLimit = 1<<64 - 1

// memoryLimit is what the group may use, noMemoryLimit if nothing is said.
func (m *Machine) memoryLimit(dir string) (uint64, error) {
	names := []string{"memory.max", "memory.high"}
	if m.memory.v1 {
		names = []string{"memory.limit_in_bytes"}
	}
	limit := uint64(noMemoryLimit)
	for _, name := range names {
		text, err := m.optional(dir, name)
		if err != nil {
			return 0, err
		}
		if text == "" || text == "max" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return 0, inFile(dir, name, err)
		}
		limit = min(limit, n)
	}
	return limit, nil
}

// workingSet is what is charged to the group without page cache that can be dropped at once.
func (m *Machine) workingSet(dir string) (uint64, error) {
	current, inactive := "memory.current", "inactive_file"
	if m.memory.v1 {
		current, inactive = "memory.usage_in_bytes", "total_inactive_file"
	}
	text, err := fs.ReadFile(m.root, path.Join(dir, current))
	if err != nil {
		return 0, err
	}
	used, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, inFile(dir, current, err)
	}
	flat, err := fs.ReadFile(m.root, path.Join(dir, "memory.stat"))
	if err != nil {
		return 0, err
	}
	stat, err := parseFlat(string(flat))
	if err != nil {
		return 0, inFile(dir, "memory.stat", err)
	}
	return without(used, stat[inactive]), nil
}

// optional returns the text of a file without space around it, "" if there is none.
func (m *Machine) optional(dir, name string) (string, error) {
	text, err := fs.ReadFile(m.root, path.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return strings.TrimSpace(string(text)), err
}

// number returns the number that a file holds, 0 if there is no file.
func (m *Machine) number(dir, name string) (int64, error) {
	text, err := m.optional(dir, name)
	if err != nil || text == "" {
		return 0, err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, inFile(dir, name, err)
}

func inFile(dir, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path.Join(dir, name), err)
}

// without is a-b, 0 if b is more.
func without(a, b uint64) uint64 { return a - min(a, b) }
