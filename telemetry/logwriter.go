package telemetry

import (
	"io"
	"log/slog"
	"os"
	"time"
)

// logWriter writes what waits in an AccessLog. All fields but the channels belong to its goroutine.
type logWriter struct {
	log    *AccessLog
	output string
	file   io.WriteCloser
	report *slog.Logger
	spare  []byte // the buffer that is not waiting

	first  chan struct{} // a line came into an empty buffer
	half   chan struct{} // the buffer is half full
	reopen chan chan error
	stop   chan struct{}
	done   chan struct{}

	torn    bool  // the output may end in the middle of a line
	failing bool  // the last write failed
	err     error // of the close, to be read after done
}

// start gives l a writer to file, and runs it.
func (l *AccessLog) start(file io.WriteCloser, o AccessLogOptions) {
	l.w = &logWriter{
		log: l, output: o.Output, file: file, report: o.Log,
		first: make(chan struct{}, 1), half: make(chan struct{}, 1),
		reopen: make(chan chan error), stop: make(chan struct{}), done: make(chan struct{}),
	}
	if l.w.report == nil {
		l.w.report = slog.New(slog.DiscardHandler)
	}
	go l.w.run()
}

func (w *logWriter) run() {
	defer close(w.done)
	tick := time.NewTimer(flushAfter)
	tick.Stop()
	defer tick.Stop()
	for {
		select {
		case <-w.first:
			tick.Reset(flushAfter)
		case <-tick.C:
			w.flush()
		case <-w.half:
			w.flush()
		case reply := <-w.reopen:
			w.flush()
			reply <- w.open()
		case <-w.stop:
			w.flush()
			w.err = w.close()
			return
		}
	}
}

// flush writes what is waiting. Lines that can't be written are lost and counted.
func (w *logWriter) flush() {
	full, lines := w.log.swap(w.spare)
	w.spare = full
	if len(full) == 0 {
		return
	}
	if w.torn {
		if _, err := w.file.Write([]byte{'\n'}); err != nil {
			w.lost(lines, err)
			return
		}
		w.torn = false
	}
	n, err := w.file.Write(full)
	if err != nil {
		written := countLines(full[:n])
		w.torn = n > 0 && full[n-1] != '\n'
		w.lost(lines-written, err)
		return
	}
	if w.failing {
		w.failing = false
		w.report.Info("access log is written again", "output", w.output, "dropped", w.log.Dropped())
	}
}

func (w *logWriter) lost(lines uint64, err error) {
	w.log.dropped.Add(lines)
	if !w.failing {
		w.failing = true
		w.report.Error("access log can't be written; lines are dropped", "output", w.output, "error", err)
	}
}

// open replaces the file by the one that is now at the output's path.
func (w *logWriter) open() error {
	f, err := openOutput(w.output)
	if err != nil {
		return err
	}
	old := w.file
	w.file, w.torn = f, false
	return old.Close()
}

// close closes a file; the process's own outputs stay open.
func (w *logWriter) close() error {
	if w.file == os.Stdout || w.file == os.Stderr {
		return nil
	}
	return w.file.Close()
}

func countLines(b []byte) (n uint64) {
	for _, c := range b {
		if c == '\n' {
			n++
		}
	}
	return n
}
