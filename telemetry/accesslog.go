package telemetry

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

const (
	logBuffer  = 1 << 20                // lines waiting, in bytes; as much again is being written
	flushAfter = 100 * time.Millisecond // a line waits at most this long for company
	stuckAfter = 2 * time.Second        // Reopen and Close wait at most this long for the writer
)

// ErrStuck says that the access log's output takes nothing, so that it can neither be reopened nor written out.
var ErrStuck = errors.New("access log: the output is stuck")

// AccessLogOptions say where an access log goes and what goes into it.
type AccessLogOptions struct {
	Output      string       // stdout, stderr, off, or the path of a file to append to
	Sample      float64      // share of requests written, 0 to 1
	SecretQuery []string     // names of query parameters whose values are secret
	Log         *slog.Logger // told when writing begins to fail, and when it works again; nil: nobody
}

// AccessLog writes a line per request. Wants, Log and Dropped are safe for concurrent use and never wait for the output.
type AccessLog struct {
	secretQuery []string
	always      bool   // every request is wanted
	threshold   uint64 // of 2^64: the share of requests wanted

	scratch sync.Pool // *[]byte, a line
	dropped atomic.Uint64

	mu      sync.Mutex
	waiting []byte // whole lines, at most logBuffer bytes
	lines   uint64 // in waiting
	closed  bool

	w *logWriter // nil: off
}

// OpenAccessLog opens an access log and starts its writer, which Close ends. A file is made if it does not exist
// (mode 0640). It refuses a sample outside 0 to 1 and an empty output.
func OpenAccessLog(o AccessLogOptions) (*AccessLog, error) {
	if !(o.Sample >= 0 && o.Sample <= 1) {
		return nil, fmt.Errorf("access log: sample %v is not between 0 and 1", o.Sample)
	}
	l := &AccessLog{secretQuery: o.SecretQuery, always: o.Sample == 1, threshold: uint64(o.Sample*(1<<63)) << 1}
	l.scratch.New = func() any { return new([]byte) }
	if o.Output == "off" {
		return l, nil
	}
	file, err := openOutput(o.Output)
	if err != nil {
		return nil, err
	}
	l.start(file, o)
	return l, nil
}

func openOutput(output string) (*os.File, error) {
	switch output {
	case "":
		return nil, errors.New("access log: no output")
	case "stdout":
		return os.Stdout, nil
	case "stderr":
		return os.Stderr, nil
	}
	f, err := os.OpenFile(output, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640)
	if err != nil {
		return nil, fmt.Errorf("access log: %w", err)
	}
	return f, nil
}

// Wants reports whether a request is to be logged, so that an entry for one that isn't need not be made: those that the
// gateway refused and those answered 5xx always, others by lot. It costs about 5 ns.
func (l *AccessLog) Wants(status int, refused bool) bool {
	if l.w == nil {
		return false
	}
	return l.always || refused || status >= 500 || rand.Uint64() < l.threshold
}

// Log writes e, whether it is wanted or not. It copies all it needs before it returns, and never waits for the output:
// if a mebibyte of lines is waiting already, or the log is closed, the line is dropped and counted. It does not allocate
// in steady state. It does nothing if the output is off.
func (l *AccessLog) Log(e *Entry) {
	if l.w == nil {
		return
	}
	line := l.scratch.Get().(*[]byte)
	*line = appendEntry((*line)[:0], e, l.secretQuery)
	l.put(*line)
	l.scratch.Put(line)
}

func (l *AccessLog) put(line []byte) {
	l.mu.Lock()
	before := len(l.waiting)
	if l.closed || before+len(line) > logBuffer {
		l.mu.Unlock()
		l.dropped.Add(1)
		return
	}
	l.waiting = append(l.waiting, line...)
	l.lines++
	after := len(l.waiting)
	l.mu.Unlock()

	// The writer is woken twice per buffer at most: a wake-up may cost a system call.
	if before == 0 {
		signal(l.w.first)
	}
	if before < logBuffer/2 && after >= logBuffer/2 {
		signal(l.w.half)
	}
}

// swap takes what is waiting and leaves empty in its place.
func (l *AccessLog) swap(empty []byte) (full []byte, lines uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full, lines = l.waiting, l.lines
	l.waiting, l.lines = empty[:0], 0
	return full, lines
}

// Reopen writes out what is waiting and opens the output's path again, after something has moved the file away. If
// that fails the old file stays in use. It waits for the writer, at most 2 s (ErrStuck).
func (l *AccessLog) Reopen() error {
	if l.w == nil || l.w.output == "stdout" || l.w.output == "stderr" {
		return nil
	}
	reply := make(chan error, 1)
	timeout := time.NewTimer(stuckAfter)
	defer timeout.Stop()
	select {
	case l.w.reopen <- reply:
	case <-l.w.done:
		return os.ErrClosed
	case <-timeout.C:
		return ErrStuck
	}
	select {
	case err := <-reply:
		return err
	case <-timeout.C:
		return ErrStuck
	}
}

// Close writes out what is waiting, closes the file and ends the writer. It waits at most 2 s (ErrStuck: the writer
// ends when the output lets it). Lines that come later are dropped. A second Close does nothing.
func (l *AccessLog) Close() error {
	if l.w == nil {
		return nil
	}
	l.mu.Lock()
	again := l.closed
	l.closed = true
	l.mu.Unlock()
	if again {
		return nil
	}
	close(l.w.stop)
	timeout := time.NewTimer(stuckAfter)
	defer timeout.Stop()
	select {
	case <-l.w.done:
		return l.w.err
	case <-timeout.C:
		return ErrStuck
	}
}

// Dropped returns how many lines were lost: no room, closed, or not written.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// signal wakes the receiver of c, once however often it is signalled before it looks.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
