package tls

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fsnotify/fsnotify"
)

// timing is how often the Store does what it does by itself.
type timing struct {
	settle    time.Duration // from a file's event to reading it, so that a writer can finish
	check     time.Duration // between two looks at all files, for file systems without events
	rotate    time.Duration // between two ticket keys
	acmePoll  time.Duration // between two looks at what autocert renewed
	acmeRetry time.Duration // after the first failed order; doubles up to an hour. autocert remembers a failure for a minute
}

var defaultTiming = timing{settle: 200 * time.Millisecond, check: 30 * time.Second, rotate: 12 * time.Hour,
	acmePoll: 10 * time.Minute, acmeRetry: 2 * time.Minute}

// Run picks up changed certificate files and client CA files, rotates session ticket keys, and obtains and renews ACME
// certificates, until ctx is done; it leaves no goroutine behind. A file that is gone, half-written or does not fit its
// key changes nothing and is logged once. Start it once, when the listeners accept: an authority calls back at once.
func (s *Store) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { s.rotateKeys(ctx) })
	wg.Go(func() { s.watchFiles(ctx) })
	s.runACME(ctx)
	wg.Wait()
}

func (s *Store) rotateKeys(ctx context.Context) {
	t := time.NewTicker(s.timing.rotate)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.rotate()
		}
	}
}

// runACME runs the authority in force, and the next one after a reload that brought another.
func (s *Store) runACME(ctx context.Context) {
	for ctx.Err() == nil {
		a := s.view.Load().acme
		life, end := context.WithCancel(ctx)
		var wg sync.WaitGroup
		if a != nil {
			wg.Go(func() { a.run(life, s.timing) })
		}
		for ctx.Err() == nil && s.view.Load().acme == a {
			select {
			case <-ctx.Done():
			case <-s.changedACME:
			}
		}
		end()
		wg.Wait()
	}
}

// watchFiles looks at the files soon after an event in one of their directories, and every timing.check in any case:
// events can be lost, and network file systems have none.
func (s *Store) watchFiles(ctx context.Context) {
	var events chan fsnotify.Event
	var failures chan error
	w, err := fsnotify.NewWatcher()
	if err == nil {
		defer w.Close()
		events, failures = w.Events, w.Errors
	} else {
		s.view.Load().o.Log.Warn("no file events: changed certificates are picked up later", "error", err, "within", s.timing.check)
	}
	check := time.NewTicker(s.timing.check)
	defer check.Stop()
	var due <-chan time.Time
	var watched *view
	for {
		if v := s.view.Load(); w != nil && v != watched {
			watchDirs(w, v)
			watched = v
		}
		select {
		case <-ctx.Done():
			return
		case <-s.changedFiles:
		case e := <-events:
			if due == nil && concerns(watched, e) {
				due = time.After(s.timing.settle)
			}
		case <-failures:
			due = time.After(s.timing.settle)
		case <-due:
			due = nil
			s.refresh()
		case <-check.C:
			s.refresh()
			watched = nil // a directory that was replaced is watched again
		}
	}
}

// files lists what v was loaded from.
func (v *view) files() []string {
	var out []string
	for _, p := range v.pairs {
		out = append(out, p.files.Cert, p.files.Key)
	}
	if v.o.ClientAuth != None {
		out = append(out, v.o.ClientCA)
	}
	return out
}

// watchDirs watches the directories of v's files, not the files: most writers replace a file, and a watch dies with it.
func watchDirs(w *fsnotify.Watcher, v *view) {
	want := map[string]bool{}
	for _, f := range v.files() {
		want[filepath.Dir(f)] = true
	}
	had := w.WatchList()
	for _, d := range had {
		if !want[d] {
			w.Remove(d)
		}
	}
	for d := range want {
		if err := w.Add(d); err != nil {
			v.o.Log.Warn("cannot watch a certificate directory: changes are picked up later", "dir", d, "error", err)
			continue
		}
		if !slices.Contains(had, d) {
			v.o.Log.Debug("watching certificate files", "dir", d)
		}
	}
}

// concerns reports whether an event may be about one of v's files. Mounted Kubernetes secrets change by a link whose name
// starts with "..".
func concerns(v *view, e fsnotify.Event) bool {
	if e.Op == fsnotify.Chmod || v == nil {
		return v == nil
	}
	name := filepath.Base(e.Name)
	return strings.HasPrefix(name, "..") ||
		slices.ContainsFunc(v.files(), func(f string) bool { return filepath.Base(f) == name })
}

// report is a log line that waits until its subject is in force and no lock is held.
type report struct {
	level slog.Level
	text  string
	args  []any
}

// refresh puts in force what changed on disk and is good; the rest stays as it is.
func (s *Store) refresh() {
	s.mu.Lock()
	reports := s.refreshLocked()
	s.mu.Unlock()
	for _, r := range reports {
		s.view.Load().o.Log.Log(context.Background(), r.level, r.text, r.args...)
	}
}

func (s *Store) refreshLocked() []report {
	old := s.view.Load()
	v := &view{o: old.o, acme: old.acme, pairs: slices.Clone(old.pairs), clientSum: old.clientSum, clientRoots: old.clientRoots}
	changed, reports := s.refreshClientCALocked(v)
	for i, p := range v.pairs {
		next, r := s.refreshPairLocked(p)
		reports = append(reports, r...)
		if next != nil {
			v.pairs[i], changed = next, true
		}
	}
	if !changed {
		return reports
	}
	if err := v.index(); err != nil {
		return []report{{slog.LevelError, "changed certificate files are not used", []any{"error", err}}}
	}
	v.configure()
	s.installLocked(v)
	return reports
}

// refreshPairLocked returns the pair as it is on disk now, or nil if that is the same or no good.
func (s *Store) refreshPairLocked(p *pair) (*pair, []report) {
	cert, key, sum, err := readPair(p.files)
	if err == nil && sum == p.sum {
		delete(s.bad, p.files)
		return nil, nil
	}
	if seen, ok := s.bad[p.files]; ok && seen == sum {
		return nil, nil
	}
	var next *pair
	if err == nil {
		next, err = parsePair(p.files, cert, key, sum)
	}
	if err != nil {
		s.bad[p.files] = sum
		return nil, []report{{slog.LevelError, "changed certificate is not used, the former one stays",
			[]any{"error", err, "not_after", p.cert.Leaf.NotAfter}}}
	}
	delete(s.bad, p.files)
	return next, []report{{slog.LevelInfo, "certificate picked up",
		[]any{"file", p.files.Cert, "names", next.names, "not_after", next.cert.Leaf.NotAfter}}}
}

// refreshClientCALocked puts the client CA file as it is on disk into v and reports whether it differs and is good.
func (s *Store) refreshClientCALocked(v *view) (changed bool, reports []report) {
	if v.o.ClientAuth == None {
		return false, nil
	}
	text, err := readFile("client CA", v.o.ClientCA)
	sum := digest(sha256.Sum256(text))
	if err == nil && sum == v.clientSum {
		s.badClientCA = digest{}
		return false, nil
	}
	if sum == s.badClientCA {
		return false, nil
	}
	var roots *x509.CertPool
	if err == nil {
		roots, err = parseRoots("client CA", v.o.ClientCA, text)
	}
	if err != nil {
		s.badClientCA = sum
		return false, []report{{slog.LevelError, "changed client CA is not used, the former one stays", []any{"error", err}}}
	}
	v.clientSum, v.clientRoots, s.badClientCA = sum, roots, digest{}
	return true, []report{{slog.LevelInfo, "client CA picked up, session tickets dropped", []any{"file", v.o.ClientCA}}}
}

// sleep waits for d or for ctx.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
