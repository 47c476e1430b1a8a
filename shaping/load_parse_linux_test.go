package shaping

import (
	"math"
	"slices"
	"testing"
)

func TestCPUMax(t *testing.T) {
	f := func(text string, want float64) {
		t.Helper()
		if got, err := parseCPUMax(text); err != nil || got != want {
			t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
		}
	}
	f("max 100000", 0)
	f("50000 100000", 0.5)
	f("400000 100000", 4)
	bad := func(text string) {
		t.Helper()
		if got, err := parseCPUMax(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, got)
		}
	}
	bad("")
	bad("max")
	bad("1000 0")
	bad("0 1000")
	bad("-1 1000")
	bad("1 2 3")
}

func TestUpFrom(t *testing.T) {
	f := func(root, dir, group string, want ...string) {
		t.Helper()
		if got := (mountPoint{root, dir}).upFrom(group); !slices.Equal(got, want) {
			t.Errorf("%s at %s, %s: got %q, want %q", root, dir, group, got, want)
		}
	}
	f("/", "/sys/fs/cgroup", "/", "sys/fs/cgroup")
	f("/", "/sys/fs/cgroup", "/a/b", "sys/fs/cgroup/a/b", "sys/fs/cgroup/a", "sys/fs/cgroup")
	f("/docker/x", "/sys/fs/cgroup", "/docker/x", "sys/fs/cgroup")
	f("/docker/x", "/sys/fs/cgroup", "/docker/x/y", "sys/fs/cgroup/y", "sys/fs/cgroup")
	f("/docker/x", "/sys/fs/cgroup", "/docker/xyz", "sys/fs/cgroup") // beside it
	f("/", "/sys/fs/cgroup", "/../../a", "sys/fs/cgroup")            // above the namespace
	f("/", "/", "/a", "a", ".")
}

func TestMounts(t *testing.T) {
	got := parseMounts("nonsense\n1 2 0:1 / /a\\040b rw shared:1 master:2 - cgroup2 x rw\n" +
		"1 2 0:1 / /later rw - cgroup2 x rw\n1 2 0:1 /r /v1 rw - cgroup x rw,cpu,cpuacct\n1 2 0:1 / /y rw - ext4 x rw,memory\n")
	if got[""] != (mountPoint{"/", "/a b"}) || got["cpu"] != (mountPoint{"/r", "/v1"}) {
		t.Errorf("%v", got)
	}
	if p, ok := got["memory"]; ok {
		t.Errorf("memory at %v", p)
	}
}

func TestGroups(t *testing.T) {
	got, err := parseGroups("4:memory:/m\n2:cpu,cpuacct:/a:b/c\n0::/u\n")
	if err != nil || got["memory"] != "/m" || got["cpu"] != "/a:b/c" || got["cpuacct"] != "/a:b/c" || got[""] != "/u" {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"x", "1:cpu", "1:cpu:relative", "\n"} {
		if got, err := parseGroups(bad); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

// FuzzParsers: nothing that the kernel could say panics, and what is understood is an amount.
func FuzzParsers(f *testing.F) {
	for _, s := range []string{"max 100000", "50000 100000", "usage_usec 5\n", "MemTotal: 5 kB\n",
		"0::/a/b\n4:memory:/x", "1 2 0:1 / /sys rw - cgroup2 x rw\n", "1 2 0:1 / /sys rw - cgroup x rw,cpu\n", "18446744073709551615 1"} {
		f.Add(s, "0-3")
	}
	f.Fuzz(func(t *testing.T, text, other string) {
		if v, err := parseCPUMax(text); err == nil && !(v >= 0 && v <= math.MaxFloat64) {
			t.Errorf("%q allows %v", text, v)
		}
		_, _ = parseFlat(text)
		if n, err := kilobytes(text, "MemTotal:"); err == nil && n%1024 != 0 {
			t.Errorf("%d bytes", n)
		}
		groups, _ := parseGroups(text)
		mounts := parseMounts(other)
		for _, c := range []string{"cpu", "memory"} {
			for _, dir := range hierarchyOf(c, groups, mounts).dirs {
				if dir == "" || dir[0] == '/' {
					t.Errorf("directory %q", dir)
				}
			}
		}
	})
}
