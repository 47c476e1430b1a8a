//go:build !linux

package shaping

import (
	"errors"
	"io/fs"
	"runtime"

	"weir/internal/mono"
)

// Machine reads how much CPU and memory this process uses of what it may use. On this system it knows no CPU, and memory only if GOMEMLIMIT is set.
// Not safe for concurrent use.
type Machine struct{}

// NewMachine returns a reader of this system; the root has no meaning here.
func NewMachine(fs.FS) *Machine { return &Machine{} }

// Read returns the shares used.
func (m *Machine) Read(mono.Time) (cpu, memory Reading) {
	cpu = Unread(errors.New("cpu: not known on " + runtime.GOOS))
	g := readGoMemory()
	if g.limit == 0 {
		return cpu, Unread(errors.New("memory: not known on " + runtime.GOOS + " without GOMEMLIMIT"))
	}
	return cpu, Reading{Value: float64(g.needed) / float64(g.limit)}
}
