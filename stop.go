package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"weir/config"
)

// shutdownTimeout is that of the configuration in force, or of first if none is yet.
func (a *app) shutdownTimeout(first *config.Config) time.Duration {
	if conf := a.conf.Load(); conf != nil {
		return conf.ShutdownTimeout
	}
	return first.ShutdownTimeout
}

// A signal to the process goes to its first thread whenever that has none pending (Linux, complete_signal), also when the thread is stuck in
// a write to a disk that hangs: nobody would see a SIGTERM then. So that thread is kept for the goroutine which waits for signals.
func init() { runtime.LockOSThread() }

// What the end may take beyond shutdown_timeout: when that has passed, what it has cut is still to be put in order.
const (
	stopGrace  = time.Second            // in all; the first 300 ms are Drain's
	adminGrace = 100 * time.Millisecond // for answers of the admin API
	fleetGrace = 500 * time.Millisecond // to say goodbye to the other gateways, meanwhile
	diskGrace  = 500 * time.Millisecond // for the last write
)

// stopOn ends the gateway; an interrupt meanwhile (a second Ctrl-C) ends it at once. It does not wait for ever for what does not end.
func (a *app) stopOn(signals <-chan os.Signal, cancel func(), timeout time.Duration) error {
	done := make(chan error, 1)
	go func() {
		err := a.stop(timeout)
		cancel()
		a.tasks.Wait()
		done <- err
	}()
	late := time.After(timeout + stopGrace)
	for {
		select {
		case err := <-done:
			return err
		case <-late:
			err := errors.New("stopped after shutdown_timeout, before everything had ended: a disk or a peer does not answer")
			a.log.Error("stopped too early", "error", err)
			return err
		case s := <-signals:
			if s == syscall.SIGINT {
				return errors.New("stopped before requests in flight had finished")
			}
		}
	}
}

// stop drains: unready, no new connections, what is in flight finishes within timeout. All that comes before it takes a lock which a
// reload may hold, and nothing waits much longer than timeout.
func (a *app) stop(timeout time.Duration) error {
	end := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	a.stopped.Store(true)
	if f := a.impatient.Load(); f != nil {
		(*f)() // a reload that waits for the disk fails
	}
	var sockets []*socket
	if s := a.serving.Load(); s != nil {
		sockets = *s
	}
	left := a.drain(ctx, sockets)
	a.admin.now.Load().close(max(min(time.Until(end), time.Second), adminGrace)) // what it would grant from now on would be forgotten
	gone := a.leaveFleet(max(min(time.Until(end), time.Second), fleetGrace))
	last, cancelLast := context.WithTimeout(context.Background(), max(time.Until(end), diskGrace))
	defer cancelLast()
	unsaved := a.gw.ReleaseQuotas(last)
	<-gone
	if unsaved != nil {
		a.log.Error("not all that was spent is on disk", "error", unsaved)
	}
	if !lockBefore(last, &a.mu) {
		return errors.Join(unsaved, errors.New("a reload was under way and did not end within shutdown_timeout"))
	}
	defer a.mu.Unlock()
	a.drain(last, slices.Collect(maps.Values(a.sockets))) // those that a last reload has added
	a.gw.Close()
	a.admin.now.Load().close(adminGrace) // one that a last reload has opened
	if a.access.log != nil {
		a.access.log.Close() //nolint:errcheck // its writer has logged why
	}
	if left > 0 {
		return errors.Join(unsaved, fmt.Errorf("%d connections were cut after shutdown_timeout", left))
	}
	if a.conf.Load() != nil && unsaved == nil {
		a.log.Info("stopped")
	}
	return unsaved
}

// leaveFleet says goodbye to the other gateways, if there are any.
func (a *app) leaveFleet(timeout time.Duration) (done <-chan struct{}) {
	c := make(chan struct{})
	go func() {
		defer close(c)
		if a.fleet == nil {
			return
		}
		if err := a.fleet.leave(timeout); err != nil {
			a.log.Warn("not every other gateway has been told that this one goes: those take it for dead in some seconds, unless they stop as well", "error", err)
		}
	}()
	return c
}

// drain takes no more connections and ends those there are, until ctx ends. It returns how many that has cut.
func (a *app) drain(ctx context.Context, sockets []*socket) (left int) {
	for _, s := range sockets {
		s.mux.Close() //nolint:errcheck // it is going away
	}
	left = a.gw.Drain(ctx)
	for _, s := range sockets {
		s.mux.Wait(ctx) //nolint:errcheck // Drain has said what is left
	}
	return left
}

// lockBefore locks mu, unless ctx ends before it can.
func lockBefore(ctx context.Context, mu *sync.Mutex) bool {
	for !mu.TryLock() {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
	return true
}
