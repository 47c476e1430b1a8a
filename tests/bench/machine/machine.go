// Package machine tells what a benchmark ran on: machine, load, and versions.
package machine

import (
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
)

// Machine is what figures were measured on.
type Machine struct{ CPU, Kernel, OS string }

// This is the machine that runs the program.
func This() Machine {
	m := Machine{CPU: "unknown CPU", Kernel: "unknown kernel", OS: runtime.GOOS}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		m.CPU = field(string(info), "model name", ":")
	}
	m.CPU = fmt.Sprintf("%s, %d cores", m.CPU, runtime.NumCPU())
	if release, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = "Linux " + strings.TrimSpace(string(release))
	}
	if release, err := os.ReadFile("/etc/os-release"); err == nil {
		m.OS = strings.Trim(field(string(release), "PRETTY_NAME", "="), `"`)
	}
	return m
}

// LoadAverage is the number of runnable threads over the last minute, as the system says it.
func LoadAverage() string {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	one, _, _ := strings.Cut(string(text), " ")
	return one
}

// field is the value of the first line "name<sep>value" of text.
func field(text, name, sep string) string {
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, sep); ok && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// Version is the first line that a program prints about itself.
func Version(name string, args ...string) string {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil && len(out) == 0 {
		return name + ": " + err.Error()
	}
	first, _, _ := strings.Cut(string(out), "\n")
	return strings.TrimSpace(first)
}

// Build tells how a Go binary was built: toolchain, instruction set, profile, and the versions of deps.
func Build(path string, deps ...string) string {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return "no build information"
	}
	said := []string{info.GoVersion}
	pgo := "no -pgo"
	for _, s := range info.Settings {
		switch s.Key {
		case "GOAMD64":
			said = append(said, "GOAMD64="+s.Value)
		case "-pgo":
			pgo = "-pgo"
		}
	}
	said = append(said, pgo)
	for _, d := range info.Deps {
		for _, name := range deps {
			if d.Path == name {
				said = append(said, name+" "+d.Version)
			}
		}
	}
	return strings.Join(said, ", ")
}

// Commit names the revision of the tree in dir, with "+" if files differ from it.
func Commit(dir string) string {
	out, err := exec.Command("git", "-C", dir, "rev-parse", "--short", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	rev := strings.TrimSpace(string(out))
	if exec.Command("git", "-C", dir, "diff", "--quiet", "HEAD").Run() != nil {
		rev += "+"
	}
	return rev
}
