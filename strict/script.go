package strict

import (
	"crypto/sha1"
	_ "embed"
	"encoding/hex"

	"weir/limiter"
)

//go:embed chain.lua
var script string

var scriptSHA = func() string {
	sum := sha1.Sum([]byte(script))
	return hex.EncodeToString(sum[:])
}()

// stride is how many numbers the script gives a step; before them are the server's now and the step that refused.
const (
	stride = 5
	head   = 2
)

// notCurrent is the refusedBy of a script that was passed no period with its now in it.
const notCurrent = -2

// modes of the script.
const (
	modeTake   = "take"
	modePeek   = "peek"
	modeGive   = "give"
	modeCharge = "charge"
	modeRenew  = "renew"
)

// step is an Ask as it goes to the script.
type step struct {
	Ask
	key  string
	mark Mark // modeGive: of what is given back; else only the seat's id
}

// appendArgs appends what the script reads of a step. now is about the server's, in microseconds.
func (s *step) appendArgs(args []any, mode string, now int64, lease int64) []any {
	p, n, flags := s.Policy, s.N, int64(0)
	if s.Soft {
		flags = 1
	}
	switch p.kind {
	case 't':
		if n > p.spec.Rate.Burst && mode != modeGive && mode != modeCharge {
			flags += 2
		}
		cost := p.cost(n)
		args = append(args, "t", flags, n, int64(p.num), p.full.us, int64(p.full.frac), cost.us, int64(cost.frac))
		args = append(args, p.middle...)
		if mode == modeGive {
			m := &s.mark
			first, rest := p.add(span{us: m.at}, cost), int64(0)
			if n != m.n {
				rest = 1
			}
			args = append(args, m.tat.us, int64(m.tat.frac), first.us, int64(first.frac), m.given.us, int64(m.given.frac), m.born, rest)
		}
		return args
	case 'c':
		return append(args, "c", flags, n, p.spec.Rate.N, lease, seatID(s.mark.seat))
	case 'w':
		args = append(args, "w", flags, n)
		if p.spec.Algorithm == limiter.Quota {
			from, mid, till := p.periods(now)
			args = append(args, p.spec.Rate.N, int64(0), from, mid, till)
		} else {
			args = append(args, p.middle...)
		}
	case 's':
		args = append(args, "s", flags, n)
		args = append(args, p.middle...)
	}
	if mode == modeGive {
		args = append(args, s.mark.at)
	}
	return args
}

// command is the whole command for steps whose keys are in one slot, appended to args. at is "" but in tests.
func command(args []any, mode string, at any, steps []step, now, lease int64) []any {
	args = append(args, "evalsha", scriptSHA, len(steps))
	for i := range steps {
		args = append(args, steps[i].key)
	}
	args = append(args, mode, at)
	for i := range steps {
		args = steps[i].appendArgs(args, mode, now, lease)
	}
	return args
}

// reply is what the script gave.
type reply struct {
	now       int64
	refusedBy int
	raw       [][stride]int64 // one a step
}

// parse reads v into r, and reports whether it is a reply for n steps (or none, of modes that tell nothing).
func (r *reply) parse(v any, n int) bool {
	list, ok := v.([]any)
	if !ok || len(list) < head {
		return false
	}
	num := func(i int) int64 {
		x, is := list[i].(int64)
		ok = ok && is
		return x
	}
	r.now, r.refusedBy, r.raw = num(0), int(num(1)), r.raw[:0]
	if r.refusedBy == notCurrent {
		return ok
	}
	if len(list) != head+n*stride || r.refusedBy >= n {
		return false
	}
	for i := range n {
		var raw [stride]int64
		for j := range raw {
			raw[j] = num(head + i*stride + j)
		}
		r.raw = append(r.raw, raw)
	}
	return ok
}
