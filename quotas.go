package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"weir/admin"
	"weir/config"
	"weir/gateway"
	"weir/store"
)

// How long a configuration waits for the disk that quotas are kept on, before it fails.
const (
	startPatience  = time.Minute // nothing is in memory yet, and a large file is read twice
	reloadPatience = 5 * time.Second
)

// chooseSecret takes the node's secret from its directory if it has one there, else a new one. Without quotas nothing needs to
// outlive the process, so nothing is written and nothing about the directory is an error: openQuotas sees to that when one appears.
func (a *app) chooseSecret(conf *config.Config) error {
	rand.Read(a.secret[:]) //nolint:errcheck // it never fails
	dir, quota := conf.Node.DataDir, hasQuota(conf)
	if dir == "" {
		return nil
	}
	type answer struct {
		secret [16]byte
		err    error
	}
	read := make(chan answer, 1)
	fresh := a.secret
	go func() { // who waits for it gives up on a disk that hangs
		if _, err := os.Stat(filepath.Join(dir, "secret")); err != nil && !quota {
			if errors.Is(err, fs.ErrNotExist) {
				err = nil
			}
			read <- answer{fresh, err}
			return
		}
		secret, err := store.Secret(dir, fresh)
		read <- answer{secret, err}
	}()
	got := answer{err: fmt.Errorf("read the node's secret: %s does not answer", dir)}
	select {
	case got = <-read:
	case <-time.After(reloadPatience):
	}
	switch {
	case got.err == nil:
		a.secret = got.secret
	case quota:
		return got.err
	default:
		a.log.Warn("node.data_dir cannot be read: a quota would need it", "error", got.err)
	}
	return nil
}

func hasQuota(conf *config.Config) bool {
	for i := range conf.Policies {
		if p := &conf.Policies[i]; p.Algorithm == "quota" && p.Mode != "off" {
			return true
		}
	}
	return false
}

// prepareQuotas has everything ready that the quotas of a snapshot need from disk, or says why that cannot be had in time. undo is
// for when the snapshot comes to nothing. It holds no lock but the caller's loading.
func (a *app) prepareQuotas(conf *config.Config, snap *gateway.Snapshot) (undo func(), err error) {
	ctx, cancel := a.patience()
	defer cancel()
	opened, err := a.openQuotas(ctx, conf)
	if err != nil {
		return nil, err
	}
	unload, err := a.gw.LoadQuotas(ctx, snap)
	undo = func() {
		if err == nil {
			unload()
		}
		if opened {
			a.closeQuotas()
		}
	}
	if err != nil {
		dir := a.kept
		undo()
		return nil, fmt.Errorf("%w: quotas in %s: %w", admin.ErrUnavailable, dir, err)
	}
	return undo, nil
}

// patience is how long the configuration that is being put in force waits for the disk: not at all once the gateway stops.
func (a *app) patience() (context.Context, context.CancelFunc) {
	d := reloadPatience
	if a.base == nil {
		d = startPatience
	}
	ctx, cancel := context.WithTimeout(a.ctx, d)
	a.impatient.Store(&cancel)
	if a.stopped.Load() {
		cancel()
	}
	return ctx, cancel
}

// openQuotas opens what keeps quotas, with the first configuration that has one, and reports whether it did.
func (a *app) openQuotas(ctx context.Context, conf *config.Config) (opened bool, err error) {
	dir := conf.Node.DataDir
	if a.kept != "" && (dir == "" || filepath.Clean(dir) != a.kept) {
		return false, fmt.Errorf("node.data_dir cannot change while quotas are kept in %s: restart the gateway", a.kept)
	}
	if a.kept != "" || !hasQuota(conf) {
		return false, nil
	}
	if dir == "" {
		a.log.Warn("quotas are forgotten at a restart: node.data_dir is empty")
		return false, nil
	}
	if err := a.gw.KeepQuotas(ctx, func() (gateway.QuotaStore, error) { return openStore(dir, a.secret) }); err != nil {
		return false, fmt.Errorf("%w: quotas cannot be kept in %s: %w", admin.ErrUnavailable, dir, err)
	}
	a.kept = filepath.Clean(dir)
	return true, nil
}

func openStore(dir string, secret [16]byte) (gateway.QuotaStore, error) {
	kept, err := store.Secret(dir, secret)
	if err != nil {
		return nil, err
	}
	if kept != secret {
		return nil, errors.New("they are there under another secret than this process has had since it began: restart it")
	}
	s, err := store.Open(dir)
	if err != nil {
		return nil, err // and not s, which would be an interface that is not nil
	}
	return s, nil
}

// closeQuotas gives up a store that was opened for a configuration that came to nothing.
func (a *app) closeQuotas() {
	ctx, cancel := context.WithTimeout(a.ctx, reloadPatience)
	defer cancel()
	if err := a.gw.ReleaseQuotas(ctx); err != nil {
		a.log.Error("quotas", "error", err)
	}
	a.kept = ""
}
