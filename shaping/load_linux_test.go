package shaping

import (
	"io/fs"
	"math"
	"os"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"weir/internal/mono"
)

// recorded is a copy of a recorded tree that a test may change.
func recorded(t *testing.T, name string) fstest.MapFS {
	t.Helper()
	tree, from := fstest.MapFS{}, os.DirFS("testdata/load/"+name)
	err := fs.WalkDir(from, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(from, path)
		tree[path] = &fstest.MapFile{Data: text}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func set(tree fstest.MapFS, path, text string) { tree[path] = &fstest.MapFile{Data: []byte(text)} }

// at is a machine over a tree, whose process has used so much CPU and may use two at once.
func at(tree fs.FS, own *time.Duration) *Machine {
	m := NewMachine(tree)
	m.self = func() (time.Duration, error) { return *own, nil }
	m.procs = func() int { return 2 }
	m.golang = func() goMemory { return goMemory{} }
	return m
}

func want(t *testing.T, what string, got Reading, value float64) {
	t.Helper()
	if got.Err != nil || math.Abs(got.Value-value) > 1e-9 {
		t.Errorf("%s: got %v, %v; want %v", what, got.Value, got.Err, value)
	}
}

func wantUnread(t *testing.T, what string, got Reading, text string) {
	t.Helper()
	if got.Err == nil || got.Value != 0 || !strings.Contains(got.Err.Error(), text) {
		t.Errorf("%s: got %+v, want an error about %q", what, got, text)
	}
}

const tick = mono.Time(100 * time.Millisecond)

// TestNestedGroups: the tightest of the groups counts, with all that runs in it.
func TestNestedGroups(t *testing.T) {
	tree, own := recorded(t, "v2"), time.Second
	m := at(tree, &own)
	cpu, memory := m.Read(tick)
	wantUnread(t, "first", cpu, "second reading")
	want(t, "memory", memory, 0.5) // the pod: (768-256)/1024 MiB; the container: (200-100)/800

	const pod, app = "sys/fs/cgroup/kubepods.slice/pod1/", "sys/fs/cgroup/kubepods.slice/pod1/app/"
	own += 50 * time.Millisecond
	set(tree, app+"cpu.stat", "usage_usec 1060000\nnr_throttled 0\n")
	set(tree, pod+"cpu.stat", "usage_usec 5160000\nnr_throttled 3\n")
	cpu, _ = m.Read(2 * tick)
	want(t, "a neighbour in the pod", cpu, 0.8)

	own += 150 * time.Millisecond
	cpu, _ = m.Read(3 * tick)
	want(t, "the group's own counter is late", cpu, 1)

	set(tree, pod+"cpu.stat", "usage_usec 5170000\nnr_throttled 4\n")
	cpu, _ = m.Read(4 * tick)
	want(t, "throttled", cpu, 1)
	cpu, _ = m.Read(5 * tick)
	want(t, "no longer", cpu, 0)

	set(tree, pod+"cpu.max", "10000 100000")
	set(tree, pod+"cpu.stat", "usage_usec 5190000\nnr_throttled 4\n")
	cpu, _ = m.Read(6 * tick)
	want(t, "quota made smaller", cpu, 2)

	set(tree, app+"memory.max", "209715200")
	m.golang = func() goMemory { return goMemory{} }
	_, memory = m.Read(12 * tick)
	want(t, "limit made smaller", memory, 0.5)
	set(tree, app+"memory.high", "131072000")
	_, memory = m.Read(18 * tick)
	want(t, "memory.high", memory, 0.8)
}

func TestVersion1(t *testing.T) {
	tree, own := recorded(t, "v1"), time.Duration(0)
	m := at(tree, &own)
	_, memory := m.Read(tick)
	want(t, "memory", memory, 0.5) // (384-128)/512 MiB
	set(tree, "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "2020000000\n")
	cpu, _ := m.Read(2 * tick)
	want(t, "cpu", cpu, 0.4)
	set(tree, "sys/fs/cgroup/cpu,cpuacct/cpu.stat", "nr_throttled 2\n")
	cpu, _ = m.Read(3 * tick)
	want(t, "throttled", cpu, 1)
	delete(tree, "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage")
	own += 10 * time.Millisecond
	cpu, _ = m.Read(4 * tick)
	want(t, "a group that does not count", cpu, 0.2)
	set(tree, "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
	set(tree, "sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n")
	own += 60 * time.Millisecond
	cpu, memory = m.Read(10 * tick)
	want(t, "no quota: the process", cpu, 0.05)
	if memory.Err != nil || memory.Value > 0.4 {
		t.Errorf("no limit: %+v", memory)
	}
}

// TestWithoutGroups: without a quota or a limit the process alone counts, over what it could have.
func TestWithoutGroups(t *testing.T) {
	tree, own := recorded(t, "none"), time.Duration(0)
	m := at(tree, &own)
	if cpu, _ := m.Read(tick); cpu.Err == nil {
		t.Errorf("known at once: %+v", cpu)
	}
	own += 50 * time.Millisecond
	cpu, memory := m.Read(2 * tick)
	want(t, "cpu", cpu, 0.25)                   // half of one of two
	want(t, "memory", memory, 200.0/(200+4096)) // MiB
	set(tree, "proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 20480 kB\n")
	_, memory = m.Read(3 * tick)
	want(t, "memory is read seldom", memory, 200.0/(200+4096))
	_, memory = m.Read(6 * tick)
	want(t, "others have taken the rest", memory, 200.0/220)
}

// TestUnreadable: what cannot be read is an error, never a load of 0.
func TestUnreadable(t *testing.T) {
	own := time.Duration(0)
	m := at(recorded(t, "malformed"), &own)
	m.Read(tick)
	cpu, memory := m.Read(2 * tick)
	wantUnread(t, "cpu", cpu, "pod1/cpu.max")
	wantUnread(t, "memory", memory, "pod1/memory.max")

	m = at(fstest.MapFS{}, &own)
	m.Read(tick)
	_, memory = m.Read(9 * tick)
	wantUnread(t, "no /proc", memory, "proc/meminfo")

	f := func(path, text, cpuError, memoryError string) {
		t.Helper()
		tree := recorded(t, "none")
		set(tree, path, text)
		m := at(tree, &own)
		m.Read(tick)
		cpu, memory := m.Read(9 * tick)
		if cpuError != "" {
			wantUnread(t, path, cpu, cpuError)
		}
		if memoryError != "" {
			wantUnread(t, path, memory, memoryError)
		}
	}
	f("proc/self/cgroup", "nonsense", "proc/self/cgroup", "proc/self/cgroup")
	f("proc/self/status", "VmRSS: many\n", "", "VmRSS")
	f("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB\n", "", "no total")
	f("proc/meminfo", "MemTotal: 5 kB\n", "", "MemAvailable")
}

// TestGoMemoryLimit: what the collector can free does not count where it will be freed in time.
func TestGoMemoryLimit(t *testing.T) {
	f := func(tree string, g goMemory, share float64) {
		t.Helper()
		own := time.Duration(0)
		m := at(recorded(t, tree), &own)
		m.golang = func() goMemory { return g }
		_, memory := m.Read(tick)
		want(t, tree, memory, share)
	}
	f("v1", goMemory{limit: 400 << 20, needed: 100 << 20, garbage: 128 << 20}, 0.25)
	f("v1", goMemory{limit: 400 << 20, needed: 320 << 20, garbage: 1 << 40}, 0.8)
	f("none", goMemory{limit: 400 << 20, needed: 320 << 20}, 0.8)
}

func TestThisMachine(t *testing.T) {
	m := NewMachine(nil)
	m.Read(mono.Now())
	for start, _ := ownCPU(); ; {
		if used, err := ownCPU(); err != nil || used > start+20*time.Millisecond {
			break
		}
	}
	cpu, memory := m.Read(mono.Now())
	if cpu.Err == nil && cpu.Value <= 0 {
		t.Error("no CPU used by a busy loop")
	}
	if memory.Err == nil && memory.Value <= 0 {
		t.Error("no memory used")
	}
	t.Log(cpu, memory)
}
