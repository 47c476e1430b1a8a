package expr

import (
	"slices"
	"sync"
	"weak"
)

// Programs are the same as long as somebody uses them: a configuration that is checked, compiled and changed by one policy at a time
// would else compile thousands of expressions again and again, at 20 to 100 µs each.

// envs are the environments made last.
var envs struct {
	sync.Mutex
	last []*Env
}

const maxEnvs = 4

// known returns an environment of these dimensions that is still there, or nil.
func known(dimensions []string) *Env {
	envs.Lock()
	defer envs.Unlock()
	for _, e := range envs.last {
		if slices.Equal(e.given, dimensions) {
			return e
		}
	}
	return nil
}

// remember keeps e for known.
func (e *Env) remember() {
	envs.Lock()
	defer envs.Unlock()
	if len(envs.last) == maxEnvs {
		envs.last = slices.Delete(envs.last, 0, 1)
	}
	envs.last = append(envs.last, e)
}

// programs are those of an environment that are in use.
type programs struct {
	mu    sync.Mutex
	by    map[programKey]weak.Pointer[Program]
	sweep int // the size at which those that are gone are swept out
}

type programKey struct {
	src  string
	kind Kind
}

func (c *programs) get(k programKey) *Program {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[k].Value()
}

func (c *programs) put(k programKey, p *Program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.by == nil {
		c.by, c.sweep = map[programKey]weak.Pointer[Program]{}, 64
	}
	if len(c.by) >= c.sweep {
		for k, p := range c.by {
			if p.Value() == nil {
				delete(c.by, k)
			}
		}
		c.sweep = max(64, 2*len(c.by))
	}
	c.by[k] = weak.Make(p)
}
