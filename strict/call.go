package strict

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9"
)

// ErrAway means that Redis gave no answer in time: nothing is known to be spent, and at most the chain is.
var ErrAway = errors.New("strict: no answer from redis")

// away is an ErrAway with its cause.
type away struct{ cause error }

func (a away) Error() string        { return ErrAway.Error() + ": " + a.cause.Error() }
func (a away) Is(target error) bool { return target == ErrAway }
func (a away) Unwrap() error        { return a.cause }

// errGaveUp is the cause of a timeout: the call may still be on its way.
var errGaveUp = errors.New("timeout")

// These need no allocation.
var (
	errOpen     error = away{errors.New("it is down")}
	errNoServer error = away{errors.New("no server is known yet")}
	errFull     error = away{errors.New("too many requests wait for it")}
	errTimeout  error = away{errGaveUp}
	errNonsense error = away{errors.New("the script gave nonsense")}
	errClosed   error = away{errors.New("the store is closed")}
)

// call is one command on its way: of a caller who waits, up to its deadline. Who gives it up leaves it to its sender.
type call struct {
	mode   string
	steps  []step
	index  []int // of the steps in the chain
	args   []any
	turns  int  // how often it was sent on
	asking bool // the slot is about to move, and this server knows it as the target

	state atomic.Uint32
	done  chan struct{} // of one element
	timer *time.Timer

	// from the sender, once done
	reply reply
	err   error
	moved string // the server to ask instead
}

// states of a call.
const (
	waiting uint32 = iota
	finished
	abandoned
)

var calls = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &call{done: make(chan struct{}, 1), timer: t}
}}

func acquireCall(mode string) *call {
	c := calls.Get().(*call)
	c.mode = mode
	return c
}

// releaseCall is for whoever has c last: the caller once it is done, else the sender.
func releaseCall(c *call) {
	c.timer.Stop()
	clear(c.steps)
	clear(c.args)
	*c = call{steps: c.steps[:0], index: c.index[:0], args: c.args[:0], done: c.done, timer: c.timer, reply: reply{raw: c.reply.raw[:0]}}
	calls.Put(c)
}

// again makes c, which is done, ready to be sent anew.
func (c *call) again() {
	clear(c.args)
	c.args, c.err, c.moved, c.asking = c.args[:0], nil, "", false
	c.state.Store(waiting)
}

// finish hands c to its caller, or reports false if that is gone; then c is the sender's.
func (c *call) finish(err error) bool {
	c.err = err
	if !c.state.CompareAndSwap(waiting, finished) {
		return false
	}
	c.done <- struct{}{}
	return true
}

// wait waits until c is done, up to the deadline. If it reports false, c is no longer the caller's.
func (c *call) wait(ctx context.Context, deadline time.Time) (error, bool) {
	c.timer.Reset(time.Until(deadline))
	var err error
	select {
	case <-c.done:
		return c.err, true
	case <-c.timer.C:
		err = errTimeout
	case <-ctx.Done():
		err = away{ctx.Err()}
	}
	if c.state.CompareAndSwap(waiting, abandoned) {
		return err, false
	}
	<-c.done // it came just now
	return c.err, true
}

// verdict of an error.
type verdict uint8

const (
	fine     verdict = iota // a reply, or an error that says nothing about the server
	slow                    // it did not answer in time, or hung up
	refusing                // nobody is there, or it says that it cannot serve
)

// states are the first words of replies that say that the server cannot serve now, whatever is asked.
var states = []string{"LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "NOAUTH", "WRONGPASS", "NOPERM", "MISCONF", "OOM", "NOREPLICAS", "BUSY"}

// judge says what err means for the server.
func judge(err error) verdict {
	if err == nil {
		return fine
	}
	var answer redis.Error
	if errors.As(err, &answer) {
		for _, s := range states {
			if strings.HasPrefix(answer.Error(), s) {
				return refusing
			}
		}
		if strings.HasPrefix(answer.Error(), "ERR AUTH") || strings.HasPrefix(answer.Error(), "ERR invalid password") {
			return refusing
		}
		return fine
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return refusing
	}
	return slow
}

// redirect reads the server that a MOVED or ASK names; from is who said so.
func redirect(err error, from string) (addr string, ask, ok bool) {
	var answer redis.Error
	if !errors.As(err, &answer) {
		return "", false, false
	}
	words := strings.Fields(answer.Error())
	if len(words) != 3 || words[0] != "MOVED" && words[0] != "ASK" {
		return "", false, false
	}
	return withHost(words[2], from), words[0] == "ASK", true
}

// withHost completes an address without a host, which means that of the server who said it.
func withHost(addr, from string) string {
	if strings.HasPrefix(addr, ":") {
		if host, _, err := net.SplitHostPort(from); err == nil {
			return net.JoinHostPort(host, addr[1:])
		}
	}
	return addr
}

// answered is the error of a call to which the server said no.
func answered(err error) error { return away{fmt.Errorf("it answered %w", err)} }
