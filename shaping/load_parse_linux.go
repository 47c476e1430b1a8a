package shaping

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// findGroups returns the control groups that this process is in: where they are mounted says /proc/self/mountinfo, which ones /proc/self/cgroup. A
// controller is in one hierarchy only: in v1 if listed there, else in v2. A kernel without control groups has neither.
func findGroups(root fs.FS) (cpu, memory hierarchy, err error) {
	groups, err1 := fs.ReadFile(root, "proc/self/cgroup")
	mounts, err2 := fs.ReadFile(root, "proc/self/mountinfo")
	if errors.Is(err1, fs.ErrNotExist) || errors.Is(err2, fs.ErrNotExist) {
		return cpu, memory, nil
	}
	if err := errors.Join(err1, err2); err != nil {
		return cpu, memory, err
	}
	paths, err := parseGroups(string(groups))
	if err != nil {
		return cpu, memory, fmt.Errorf("proc/self/cgroup: %w", err)
	}
	points := parseMounts(string(mounts))
	return hierarchyOf("cpu", paths, points), hierarchyOf("memory", paths, points), nil
}

func hierarchyOf(controller string, paths map[string]string, points map[string]mountPoint) hierarchy {
	group, v1 := paths[controller]
	key := controller
	if !v1 {
		key = ""
		var ok bool
		if group, ok = paths[""]; !ok {
			return hierarchy{}
		}
	}
	point, ok := points[key]
	if !ok {
		return hierarchy{}
	}
	return hierarchy{v1: v1, dirs: point.upFrom(group)}
}

// parseGroups returns the path of the group by controller, "" for v2, from lines such as "4:memory:/a/b" and "0::/a/b".
func parseGroups(text string) (map[string]string, error) {
	paths := map[string]string{}
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		parts := strings.SplitN(line, ":", 3)
		if len(parts) != 3 || !strings.HasPrefix(parts[2], "/") {
			return nil, fmt.Errorf("%.80q is not id:controllers:/path", line)
		}
		for controller := range strings.SplitSeq(parts[1], ",") {
			paths[controller] = parts[2]
		}
	}
	return paths, nil
}

// mountPoint is where a part of a hierarchy is to be seen: root of it at dir.
type mountPoint struct{ root, dir string }

// upFrom returns the directories of a group and of all above it as far as they are mounted, without leading slash. A group that is not below what is
// mounted (another namespace's view) is taken for the mounted one.
func (p mountPoint) upFrom(group string) []string {
	below, ok := strings.CutPrefix(path.Clean(group), strings.TrimSuffix(p.root, "/"))
	if !ok || below != "" && below[0] != '/' || strings.HasPrefix(group, "/..") {
		below = ""
	}
	top := strings.TrimPrefix(path.Clean(p.dir), "/")
	dirs := []string{}
	for below = strings.Trim(below, "/"); below != ""; below = strings.TrimPrefix(path.Dir("/"+below), "/") {
		dirs = append(dirs, path.Join(top, below))
	}
	return append(dirs, path.Join(".", top))
}

// parseMounts returns the mounts of control groups by controller, "" for v2, from lines such as
// "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu" (proc_pid_mountinfo(5)). Other lines, and such as it does not understand, are left out;
// of two mounts the first counts.
func parseMounts(text string) map[string]mountPoint {
	points := map[string]mountPoint{}
	add := func(controller string, p mountPoint) {
		if _, ok := points[controller]; !ok {
			points[controller] = p
		}
	}
	for line := range strings.Lines(text) {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		p := mountPoint{unescape(l[3]), unescape(l[4])}
		switch r[0] {
		case "cgroup2":
			add("", p)
		case "cgroup":
			for option := range strings.SplitSeq(r[2], ",") {
				if option != "" {
					add(option, p)
				}
			}
		}
	}
	return points
}

// unescape undoes the octal escapes of mountinfo.
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// parseCPUMax returns the CPUs that "50000 100000" allows, 0 for "max 100000".
func parseCPUMax(text string) (float64, error) {
	f := strings.Fields(text)
	if len(f) != 2 {
		return 0, fmt.Errorf("%.80q is not a quota and a period", text)
	}
	period, err := strconv.ParseUint(f[1], 10, 63)
	if err != nil || period == 0 {
		return 0, fmt.Errorf("period %.80q", f[1])
	}
	if f[0] == "max" {
		return 0, nil
	}
	quota, err := strconv.ParseUint(f[0], 10, 63)
	if err != nil || quota == 0 {
		return 0, fmt.Errorf("quota %.80q", f[0])
	}
	return float64(quota) / float64(period), nil
}

// parseFlat reads lines of a name and a number. Lines with more than a number, or with one below 0, are left out.
func parseFlat(text string) (map[string]uint64, error) {
	m := map[string]uint64{}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, fmt.Errorf("%.80q is not a name and a number", line)
		}
		if n, err := strconv.ParseUint(f[1], 10, 64); err == nil && len(f) == 2 {
			m[f[0]] = n
		}
	}
	return m, nil
}

// valueOf returns what stands behind a name at the start of a line, "" if nowhere.
func valueOf(text, name string) string {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return strings.TrimSpace(rest)
		}
	}
	return ""
}

// kilobytes returns, in bytes, a figure such as "MemTotal:  24684084 kB".
func kilobytes(text, name string) (uint64, error) {
	value := valueOf(text, name)
	n, err := strconv.ParseUint(strings.TrimSuffix(value, " kB"), 10, 64)
	if err != nil || n > math.MaxUint64>>10 {
		return 0, fmt.Errorf("%s %.80q", name, value)
	}
	return n << 10, nil
}
