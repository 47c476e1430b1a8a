package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"weir/config"
	"weir/store"
)

// chooseSecret takes the node's secret from its directory if it has one there, else a new one. Without quotas nothing needs to
// outlive the process, so nothing is written: openQuotas does when one appears.
func (a *app) chooseSecret(conf *config.Config) (err error) {
	rand.Read(a.secret[:]) //nolint:errcheck // it never fails
	if conf.Node.DataDir == "" {
		return nil
	}
	if _, err := os.Stat(filepath.Join(conf.Node.DataDir, "secret")); errors.Is(err, fs.ErrNotExist) && !hasQuota(conf) {
		return nil
	}
	a.secret, err = store.Secret(conf.Node.DataDir, a.secret)
	return err
}

func hasQuota(conf *config.Config) bool {
	for i := range conf.Policies {
		if p := &conf.Policies[i]; p.Algorithm == "quota" && p.Mode != "off" {
			return true
		}
	}
	return false
}

// openQuotas opens what keeps quotas, with the first configuration that has one.
func (a *app) openQuotas(conf *config.Config) error {
	dir := conf.Node.DataDir
	if a.quotas != nil && dir != a.base.Node.DataDir {
		return errors.New("node.data_dir cannot change while quotas are kept there: restart the gateway")
	}
	if a.quotas != nil || !hasQuota(conf) {
		return nil
	}
	if dir == "" {
		a.log.Warn("quotas are forgotten at a restart: node.data_dir is empty")
		return nil
	}
	kept, err := store.Secret(dir, a.secret)
	if err != nil {
		return err
	}
	if kept != a.secret {
		return fmt.Errorf("quotas are kept in %s under another secret than this process has had since it began: restart it", dir)
	}
	if a.quotas, err = store.Open(dir); err != nil {
		return err
	}
	a.gw.KeepQuotas(a.quotas)
	return nil
}

// closeQuotas comes last: the gateway has written all it had.
func (a *app) closeQuotas() {
	if a.quotas == nil {
		return
	}
	if err := a.quotas.Close(); err != nil {
		a.log.Error("quotas", "error", err)
	}
}
