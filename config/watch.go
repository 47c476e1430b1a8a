package config

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How Watch waits: a change is told once the file has looked the same for settle; without a notice, every poll.
const (
	settle = 100 * time.Millisecond
	poll   = 2 * time.Second
)

// Watch calls changed, in this goroutine, each time the file at path has become another than known, until ctx ends. It
// returns then. known is os.Stat of before the file was last read, so that no change after that is missed.
//
// It watches the directory rather than the file, as editors write a new file and rename it, and Kubernetes swaps a symbolic
// link next to it. Notices only make it look; what counts is that the file, links followed, is another, or has another size or
// time. So it also looks every 2 s, which is all there is on file systems without notices. A file that is written in pieces is
// told when it has been the same for 100 ms; one that is gone, once it is back.
func Watch(ctx context.Context, path string, known os.FileInfo, changed func()) {
	events := make(chan fsnotify.Event)
	var watcherErrors chan error
	if w, err := fsnotify.NewWatcher(); err == nil {
		defer func() { _ = w.Close() }()
		if w.Add(filepath.Dir(path)) == nil {
			events, watcherErrors = w.Events, w.Errors
		}
	}
	told, seen := known, known
	look := time.After(0) // fires when a change may have settled; now, as it may have changed since known
	ticker := time.NewTicker(poll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			if look == nil {
				look = time.After(settle)
			}
			continue
		case <-watcherErrors:
			// A queue that ran over or a directory that went away: the ticker looks.
			continue
		case <-ticker.C:
			if look != nil {
				continue
			}
		case <-look:
			look = nil
		}
		now, _ := os.Stat(path)
		switch {
		case now == nil || sameFile(told, now):
			seen = now
		case sameFile(seen, now):
			told = now
			changed()
		default:
			seen = now
			look = time.After(settle)
		}
	}
}

func sameFile(a, b os.FileInfo) bool {
	return a != nil && b != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
