package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// output is a file that can be told to fail or to block.
type output struct {
	mu      sync.Mutex
	written bytes.Buffer
	writes  int
	room    int           // bytes it takes before it fails, if full is set
	full    error         //
	block   chan struct{} // a write waits until it is closed
	closed  bool
}

func (o *output) Write(b []byte) (int, error) {
	if o.block != nil {
		<-o.block
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.writes++
	n := len(b)
	if o.full != nil {
		n = min(n, o.room)
		o.room -= n
	}
	o.written.Write(b[:n])
	if n < len(b) {
		return n, o.full
	}
	return n, nil
}

func (o *output) Close() error { o.closed = true; return nil }

func (o *output) text() string { o.mu.Lock(); defer o.mu.Unlock(); return o.written.String() }

// logTo returns an access log that writes to o and complains to complaints.
func logTo(o *output, complaints *bytes.Buffer) *AccessLog {
	l, err := OpenAccessLog(AccessLogOptions{Output: "off", Sample: 1})
	if err != nil {
		panic(err)
	}
	l.start(o, AccessLogOptions{Output: "test", Log: slog.New(slog.NewTextHandler(complaints, nil))})
	return l
}

func TestALineWaits100msForCompany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o output
		l := logTo(&o, new(bytes.Buffer))
		l.Log(someEntry())
		synctest.Wait()
		time.Sleep(flushAfter - 1)
		l.Log(someEntry())
		synctest.Wait()
		if o.text() != "" {
			t.Error("written at once")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if n := strings.Count(o.text(), "\n"); n != 2 || o.writes != 1 {
			t.Errorf("%d lines in %d writes", n, o.writes)
		}
		time.Sleep(time.Hour)
		if o.writes != 1 {
			t.Error("it writes while nothing happens")
		}
		l.Log(someEntry())
		if err := l.Close(); err != nil || !o.closed || strings.Count(o.text(), "\n") != 3 {
			t.Errorf("close: %v, closed %v, %q", err, o.closed, o.text())
		}
		if err := l.Close(); err != nil {
			t.Errorf("second close: %v", err)
		}
		if l.Log(someEntry()); l.Dropped() != 1 {
			t.Errorf("a line after the close: %d dropped", l.Dropped())
		}
		if err := l.Reopen(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("reopen after close: %v", err)
		}
	})
}

func TestAHalfFullBufferIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o output
		l := logTo(&o, new(bytes.Buffer))
		e := someEntry()
		for size := len(appendEntry(nil, e, nil)); size < logBuffer/2+1000; size += len(appendEntry(nil, e, nil)) {
			l.Log(e)
		}
		synctest.Wait()
		if o.writes != 1 || len(o.text()) < logBuffer/2 {
			t.Errorf("%d writes, %d bytes", o.writes, len(o.text()))
		}
		l.Close()
	})
}

func TestAStuckOutputCostsLinesAndNotTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := output{block: make(chan struct{})}
		l := logTo(&o, new(bytes.Buffer))
		line := uint64(len(appendEntry(nil, someEntry(), nil)))
		start := time.Now()
		const sent = 10_000
		l.Log(someEntry())
		time.Sleep(flushAfter)
		synctest.Wait() // the writer is in Write with the first line
		for range sent - 1 {
			l.Log(someEntry())
		}
		kept := 1 + logBuffer/line
		if got := l.Dropped(); got != sent-kept {
			t.Errorf("%d dropped, want %d", got, sent-kept)
		}
		if d := time.Since(start); d != flushAfter {
			t.Errorf("logging took %v", d)
		}
		if err := l.Reopen(); !errors.Is(err, ErrStuck) {
			t.Errorf("reopen: %v", err)
		}
		if err := l.Close(); !errors.Is(err, ErrStuck) {
			t.Errorf("close: %v", err)
		}
		close(o.block)
		<-l.w.done
		if n := uint64(strings.Count(o.text(), "\n")); n != kept {
			t.Errorf("%d lines written, want %d", n, kept)
		}
	})
}

func TestAFailingOutputIsReportedOnceAndMended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		line := string(appendEntry(nil, someEntry(), nil))
		o := output{full: errors.New("no space left"), room: len(line) + 10}
		var complaints bytes.Buffer
		l := logTo(&o, &complaints)
		log := func() {
			for range 3 {
				l.Log(someEntry())
			}
			time.Sleep(flushAfter)
			synctest.Wait()
		}
		log()
		if l.Dropped() != 2 {
			t.Errorf("%d dropped of 3 of which 1 has room", l.Dropped())
		}
		log()
		if l.Dropped() != 5 || strings.Count(complaints.String(), "\n") != 1 || !strings.Contains(complaints.String(), "no space left") {
			t.Errorf("%d dropped, complaints:\n%s", l.Dropped(), &complaints)
		}
		o.full = nil
		log()
		if want := line + line[:10] + "\n" + line + line + line; o.text() != want {
			t.Errorf("got\n%s\nwant\n%s", o.text(), want)
		}
		if n := strings.Count(complaints.String(), "\n"); n != 2 || l.Dropped() != 5 {
			t.Errorf("%d dropped, complaints:\n%s", l.Dropped(), &complaints)
		}
		l.Close()
	})
}

func TestFileIsAppendedAndReopened(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "access.log")
	f := func(name string, lines int) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, name))
		if n := strings.Count(string(b), "\n"); err != nil || n != lines {
			t.Errorf("%s: %v, %d lines, want %d", name, err, n, lines)
		}
	}
	if err := os.WriteFile(path, []byte("here before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := OpenAccessLog(AccessLogOptions{Output: path, Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(someEntry())
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err != nil {
		t.Fatal(err)
	}
	f("access.log.1", 2)
	l.Log(someEntry())

	// A path that can't be opened leaves the old file in use.
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := l.Reopen(); err == nil {
		t.Error("a directory was opened")
	}
	l.Log(someEntry())
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	f("access.log.2", 2)
}

func TestOpenRefuses(t *testing.T) {
	f := func(o AccessLogOptions, want string) {
		t.Helper()
		if _, err := OpenAccessLog(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", o, err, want)
		}
	}
	f(AccessLogOptions{Output: "off", Sample: 1.1}, "not between")
	f(AccessLogOptions{Output: "off", Sample: -0.1}, "not between")
	f(AccessLogOptions{Output: "off", Sample: math.NaN()}, "not between")
	f(AccessLogOptions{Sample: 1}, "no output")
	f(AccessLogOptions{Output: filepath.Join(t.TempDir(), "no", "such"), Sample: 1}, "no such file")
}

func TestStandardOutputsStayOpen(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	old := os.Stdout
	os.Stdout = null
	defer func() { os.Stdout = old }()
	l, err := OpenAccessLog(AccessLogOptions{Output: "stdout", Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(someEntry())
	if err := errors.Join(l.Reopen(), l.Close()); err != nil {
		t.Error(err)
	}
	if _, err := null.WriteString("still open"); err != nil {
		t.Error(err)
	}
}

func TestOff(t *testing.T) {
	l, err := OpenAccessLog(AccessLogOptions{Output: "off", Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(someEntry())
	if l.Wants(500, true) || l.Dropped() != 0 || l.Reopen() != nil || l.Close() != nil {
		t.Error("off is not off")
	}
}

func TestWants(t *testing.T) {
	for _, sample := range []float64{0, 0.001, 0.25, 0.999, 1} {
		l, err := OpenAccessLog(AccessLogOptions{Output: filepath.Join(t.TempDir(), "log"), Sample: sample})
		if err != nil {
			t.Fatal(err)
		}
		const n = 20_000
		got := 0
		for range n {
			if l.Wants(200, false) {
				got++
			}
			if !l.Wants(503, false) || !l.Wants(429, true) {
				t.Fatal("a refusal or a 5xx was not wanted")
			}
		}
		// Six standard deviations: wrong once in 500 million runs.
		if off := math.Abs(float64(got) - n*sample); off > 6*math.Sqrt(n*sample*(1-sample)) {
			t.Errorf("sample %v: %d of %d", sample, got, n)
		}
		l.Close()
	}
}

func TestConcurrentLinesStayWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, err := OpenAccessLog(AccessLogOptions{Output: path, Sample: 1})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 2000 {
				l.Log(someEntry())
			}
		})
	}
	for range 3 {
		if err := l.Reopen(); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := 0
	for line := range bytes.Lines(b) {
		if lines++; !json.Valid(line) {
			t.Fatalf("%s", line)
		}
	}
	if uint64(lines)+l.Dropped() != 8000 {
		t.Errorf("%d lines, %d dropped", lines, l.Dropped())
	}
}

func TestLogDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool forgets on purpose under the race detector")
	}
	l, err := OpenAccessLog(AccessLogOptions{Output: os.DevNull, Sample: 0.5, SecretQuery: []string{"key"}})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	e := someEntry()
	for range 2 { // both buffers grow to their size
		for range 3000 {
			l.Log(e)
		}
		if err := l.Reopen(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(1000, func() {
		l.Wants(200, false)
		l.Log(e)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkLog(b *testing.B) {
	l, err := OpenAccessLog(AccessLogOptions{Output: os.DevNull, Sample: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	e := someEntry()
	b.ReportAllocs()
	for b.Loop() {
		l.Log(e)
	}
}

func BenchmarkWants(b *testing.B) {
	l, err := OpenAccessLog(AccessLogOptions{Output: os.DevNull, Sample: 0.1})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	for b.Loop() {
		l.Wants(200, false)
	}
}
