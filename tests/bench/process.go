package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// benchNice is the scheduling priority of everything measured, so that a busy machine disturbs less. It takes root.
const benchNice = "-20"

// pinned is the command args on one core; a negative core pins nothing. Its pid is that of the program: taskset replaces
// itself.
func pinned(ctx context.Context, core int, args ...string) *exec.Cmd {
	if core >= 0 {
		args = append([]string{"taskset", "-c", strconv.Itoa(core)}, args...)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // a session, and so a scheduling group, of its own
	return cmd
}

// startPreferred starts cmd and, for root, gives its scheduling group benchNice. (Where Linux groups tasks by session, a
// nice value only counts within a group.)
func startPreferred(cmd *exec.Cmd) error {
	if err := cmd.Start(); err != nil || os.Geteuid() != 0 {
		return err
	}
	err := os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", cmd.Process.Pid), []byte(benchNice), 0)
	if err == nil || errors.Is(err, os.ErrNotExist) {
		return nil // without groups there is nothing to prefer
	}
	return fmt.Errorf("priority of %s: %w", cmd.Path, err)
}

// server is a process of the benchmark that takes requests.
type server struct {
	name   string
	cmd    *exec.Cmd
	stderr bytes.Buffer
	exited chan struct{} // closed when the process has ended
}

// startServer runs args on core and returns when something accepts on address. env is added to this process's.
func startServer(ctx context.Context, name string, core int, address string, env []string, args ...string) (*server, error) {
	s := &server{name: name, cmd: pinned(ctx, core, args...), exited: make(chan struct{})}
	s.cmd.Env = append(os.Environ(), env...)
	s.cmd.Stderr = &s.stderr
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	if err := startPreferred(s.cmd); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(s.exited)
		_ = s.cmd.Wait() // how it ended is read from ProcessState
	}()
	if err := s.waitAccept(address, 15*time.Second); err != nil {
		s.stop()
		return nil, fmt.Errorf("start %s: %w: %s", name, err, s.stderr.String())
	}
	return s, nil
}

func (s *server) waitAccept(address string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		conn, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-s.exited:
			return errors.New("it ended at once")
		case <-time.After(20 * time.Millisecond):
		}
	}
	return fmt.Errorf("nothing accepts on %s after %v", address, limit)
}

// pid of the process; its descendants are found from it.
func (s *server) pid() int { return s.cmd.Process.Pid }

// stop ends the process: SIGTERM, and SIGKILL after 10 s.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	select {
	case <-s.exited:
	case <-time.After(10 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.exited
	}
}

// freePort is a TCP port of 127.0.0.1 that nobody listens on now.
func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	return l.Addr().(*net.TCPAddr).Port, l.Close()
}
