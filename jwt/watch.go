package jwt

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	settle    = 200 * time.Millisecond // from a file's event to reading it, so that a writer can finish
	lookAgain = 10 * time.Second       // between two looks at the file, for file systems without events
)

// followFile reads the file soon after an event in its directory, and now and then in any case: events can be lost, and
// network file systems have none. The directory is watched, not the file: most writers replace a file, and a watch dies
// with it.
func (v *Verifier) followFile(ctx context.Context) {
	dir := filepath.Dir(v.o.JWKSFile)
	var events chan fsnotify.Event
	var failures chan error
	watch := func() {}
	if !v.noEvents {
		w, err := fsnotify.NewWatcher()
		if err == nil {
			defer w.Close()
			events, failures = w.Events, w.Errors
			watch = func() { _ = w.Add(dir) } // a directory that is gone is watched when it is back
			watch()
		} else {
			v.o.Log.Warn("no file events: changed keys for tokens are picked up later", "error", err, "within", lookAgain)
		}
	}
	look := time.NewTicker(lookAgain)
	defer look.Stop()
	due := time.After(0) // it may have changed since New
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-events:
			if due == nil && v.concerns(e) {
				due = time.After(settle)
			}
			continue
		case <-failures:
			due = time.After(settle)
			continue
		case <-due:
			due = nil
		case <-look.C:
			watch()
		}
		v.refresh(ctx, &v.file)
	}
}

// concerns reports whether an event may be about the file. Mounted Kubernetes secrets change by a link whose name starts
// with "..".
func (v *Verifier) concerns(e fsnotify.Event) bool {
	name := filepath.Base(e.Name)
	return e.Op != fsnotify.Chmod && (name == filepath.Base(v.o.JWKSFile) || strings.HasPrefix(name, ".."))
}
