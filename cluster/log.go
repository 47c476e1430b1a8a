package cluster

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

const (
	logQueue   = 128
	logBurst   = 20                     // lines of memberlist at once
	logEvery   = 500 * time.Millisecond // and then one each
	onceEvery  = time.Minute
	onceMemory = 512 // things that once remembers
)

// logs writes to a slog.Logger from a goroutine of its own, since much is logged under memberlist's lock. What does not fit into
// its queue is dropped and counted, and strangers' packets cannot flood the log: lines of memberlist's are limited in rate.
type logs struct {
	to      *slog.Logger
	queue   chan entry
	dropped atomic.Uint64

	mu   sync.Mutex
	said map[string]mono.Time // when once said something
	next mono.Time            // GCRA of memberlist's lines: when the burst is all there again
}

type entry struct {
	level slog.Level
	msg   string
	attrs []any
}

func newLogs(to *slog.Logger) *logs {
	return &logs{to: to, queue: make(chan entry, logQueue), said: map[string]mono.Time{}}
}

// run writes until done, and then what is left.
func (l *logs) run(done <-chan struct{}) {
	var told uint64
	for {
		select {
		case e := <-l.queue:
			l.to.Log(context.Background(), e.level, e.msg, e.attrs...)
			if n := l.dropped.Load(); n != told && len(l.queue) == 0 {
				l.to.Debug("cluster log lines dropped", "lines", n-told)
				told = n
			}
			continue
		case <-done:
		}
		for len(l.queue) > 0 {
			e := <-l.queue
			l.to.Log(context.Background(), e.level, e.msg, e.attrs...)
		}
		return
	}
}

// say logs without waiting.
func (l *logs) say(level slog.Level, msg string, attrs ...any) {
	if !l.to.Enabled(context.Background(), level) {
		return
	}
	select {
	case l.queue <- entry{level, msg, attrs}:
	default:
		l.dropped.Add(1)
	}
}

// once is say, at most each minute for a thing.
func (l *logs) once(thing string, level slog.Level, msg string, attrs ...any) {
	now := mono.Now()
	l.mu.Lock()
	last, said := l.said[thing]
	again := !said || now.Sub(last) >= onceEvery
	if again {
		if len(l.said) >= onceMemory {
			clear(l.said)
		}
		l.said[thing] = now
	}
	l.mu.Unlock()
	if again {
		l.say(level, msg, attrs...)
	}
}

// Write takes a line of memberlist's: "[WARN] memberlist: what happened". Its errors are mostly other nodes' doing, and not
// worse than a warning here.
func (l *logs) Write(line []byte) (int, error) {
	text := string(bytes.TrimSpace(line))
	level := slog.LevelInfo
	if strings.HasPrefix(text, "[") {
		if tag, rest, ok := strings.Cut(text[1:], "] "); ok {
			text = rest
			switch tag {
			case "DEBUG":
				level = slog.LevelDebug
			case "WARN", "ERR", "ERROR":
				level = slog.LevelWarn
			}
		}
	}
	if l.to.Enabled(context.Background(), level) {
		if l.mayWrite(mono.Now()) {
			l.say(level, strings.TrimPrefix(text, "memberlist: "), "by", "memberlist")
		} else {
			l.dropped.Add(1)
		}
	}
	return len(line), nil
}

func (l *logs) mayWrite(now mono.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := max(l.next, now).Add(logEvery)
	if next.Sub(now) > logBurst*logEvery {
		return false
	}
	l.next = next
	return true
}
