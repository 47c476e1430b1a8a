package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Secret returns the node's secret, the 16 bytes in dir/secret. If there is no such file it makes one (0600, dir 0700)
// of fresh, which should be random. However many callers and processes come at once, all get the same; after a crash
// there is a whole file or none. A file of another length is an error and stays as it is.
//
// The keys of records are hashes under the secret: with another one they mean nothing.
func Secret(dir string, fresh [16]byte) (secret [16]byte, err error) {
	if dir == "" {
		return secret, errors.New("read the node's secret: no directory given")
	}
	path := filepath.Join(dir, "secret")
	secret, err = readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeSecret(dir, path, fresh); err == nil {
			secret, err = readSecret(path)
		}
	}
	if err != nil {
		return secret, fmt.Errorf("read the node's secret: %w", err)
	}
	return secret, nil
}

func readSecret(path string) (secret [16]byte, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return secret, err
	}
	if !info.Mode().IsRegular() || info.Size() != int64(len(secret)) {
		return secret, fmt.Errorf("%s is not a file of %d bytes: put the right one back; or remove it and %s, and start the gateway again, which makes new ones; %s",
			path, len(secret), filepath.Join(filepath.Dir(path), fileName), lost)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return secret, err
	}
	copy(secret[:], b)
	return secret, nil
}

// makeSecret makes the file at path, unless it is there. The lock is that of the temporary file: who waited for it finds
// that it has got the final name, and changes nothing.
func makeSecret(dir, path string, secret [16]byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path+".new", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := lock(f); err != nil {
		return fmt.Errorf("%s: %w", f.Name(), err)
	}
	if _, err := os.Stat(path); err == nil {
		os.Remove(path + ".new") //nolint:errcheck // others who still open it will come to this line too
		return nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := f.Truncate(0); err != nil { // what a crash has left
		return err
	}
	if _, err := f.WriteAt(secret[:], 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
}
