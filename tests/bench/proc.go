package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// procStat is the part of /proc/<pid>/stat that a benchmark needs. Times are in clock ticks (1/100 s).
type procStat struct {
	PPID         int
	Utime, Stime uint64
}

// parseStat reads one /proc/<pid>/stat line. The command may hold spaces and parentheses: the last ")" ends it.
func parseStat(line []byte) (procStat, error) {
	end := bytes.LastIndexByte(line, ')')
	if end < 0 {
		return procStat{}, fmt.Errorf("stat %q: no command", line)
	}
	f := strings.Fields(string(line[end+1:])) // f[0] is field 3, the state
	if len(f) < 13 {
		return procStat{}, fmt.Errorf("stat %q: %d fields after the command", line, len(f))
	}
	ppid, err := strconv.Atoi(f[1])
	if err != nil {
		return procStat{}, fmt.Errorf("stat ppid: %w", err)
	}
	utime, err := strconv.ParseUint(f[11], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat utime: %w", err)
	}
	stime, err := strconv.ParseUint(f[12], 10, 64)
	if err != nil {
		return procStat{}, fmt.Errorf("stat stime: %w", err)
	}
	return procStat{PPID: ppid, Utime: utime, Stime: stime}, nil
}

// cpuTime is what a process and its descendants have used.
type cpuTime struct {
	Total  time.Duration // the scheduler's clock, in nanoseconds
	System float64       // share of kernel mode in all ticks, 0 to 1; meaningful for differences of seconds
	ticks  [2]uint64     // user, system
}

// Sub is what was used between before and c.
func (c cpuTime) Sub(before cpuTime) cpuTime {
	d := cpuTime{Total: c.Total - before.Total}
	d.ticks = [2]uint64{c.ticks[0] - before.ticks[0], c.ticks[1] - before.ticks[1]}
	if all := d.ticks[0] + d.ticks[1]; all > 0 {
		d.System = float64(d.ticks[1]) / float64(all)
	}
	return d
}

// readCPU adds up the CPU time of pid and of its living descendants.
func readCPU(pid int) (cpuTime, error) {
	var sum cpuTime
	pids, err := tree(pid)
	if err != nil {
		return cpuTime{}, err
	}
	for _, p := range pids {
		ns, err := processClock(p)
		if err != nil {
			return cpuTime{}, fmt.Errorf("cpu clock of %d: %w", p, err)
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p))
		if err != nil {
			return cpuTime{}, err
		}
		st, err := parseStat(line)
		if err != nil {
			return cpuTime{}, err
		}
		sum.Total += ns
		sum.ticks[0] += st.Utime
		sum.ticks[1] += st.Stime
	}
	return sum, nil
}

// processClock reads the CPU-time clock of a process with all its threads, also those that ended: clock_gettime on the
// clock that clock_getcpuclockid(3) gives for pid.
func processClock(pid int) (time.Duration, error) {
	const sched = 2 // CPUCLOCK_SCHED, of a process
	clock := uintptr(int32(^pid<<3 | sched))
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clock, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, errno
	}
	return time.Duration(ts.Nano()), nil
}

// tree lists pid and all its descendants.
func tree(pid int) ([]int, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	children := map[int][]int{}
	for _, path := range stats {
		line, err := os.ReadFile(path)
		if err != nil {
			continue // it ended since the listing
		}
		st, err := parseStat(line)
		if err != nil {
			return nil, err
		}
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			return nil, err
		}
		children[st.PPID] = append(children[st.PPID], child)
	}
	pids := []int{pid}
	for i := 0; i < len(pids); i++ {
		pids = append(pids, children[pids[i]]...)
	}
	return pids, nil
}

// residentMiB is the resident memory of pid and its descendants. Pages that they share count for each.
func residentMiB(pid int) (float64, error) {
	pids, err := tree(pid)
	if err != nil {
		return 0, err
	}
	var kib uint64
	for _, p := range pids {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p))
		if err != nil {
			return 0, err
		}
		n, err := parseResident(string(status))
		if err != nil {
			return 0, err
		}
		kib += n
	}
	return float64(kib) / 1024, nil
}

// parseResident reads VmRSS, in KiB, from /proc/<pid>/status.
func parseResident(status string) (uint64, error) {
	for line := range strings.Lines(status) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strconv.ParseUint(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
		}
	}
	return 0, fmt.Errorf("status has no VmRSS")
}
