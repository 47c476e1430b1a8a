package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

const (
	fileName = "quota.db"
	version  = 1
	lockWait = time.Second
	lockPoll = 10 * time.Millisecond
)

var (
	metaName   = []byte("meta")
	versionKey = []byte("version")

	errClosed = errors.New("the quota store is closed")
	errLocked = errors.New("locked")
)

// policyID stands for a policy in the file.
type policyID [sha256.Size]byte

func idOf(policy string) policyID { return sha256.Sum256([]byte(policy)) }

// Store is an open quota.db. Safe for concurrent use; one call at a time works on the file, and none holds it for longer
// than one transaction of bounded size.
type Store struct {
	path    string
	today   func() int64 // days since 1970
	skipped atomic.Int64

	mu      sync.Mutex
	db      *bbolt.DB
	file    *os.File // that of db: it holds the lock
	failed  error    // why the store cannot be used any more
	days    map[policyID]int64
	touched map[policyID]struct{} // used since, with a day that is not in the file yet
}

// Open opens dir/quota.db, and makes both (0700, 0600) if they are not there. It waits for a second at most if another
// process has the file open. It reads the whole file once, in about 40 ms per million records if the system has it in
// memory. A file that is damaged, or not one of ours, is left as it is: the error says what to do.
func Open(dir string) (*Store, error) {
	if dir == "" {
		return nil, errors.New("open quota store: no directory given")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open quota store: %w", err)
	}
	s := &Store{
		path:    filepath.Join(dir, fileName),
		today:   func() int64 { return time.Now().Unix() / (24 * 3600) },
		days:    map[policyID]int64{},
		touched: map[policyID]struct{}{},
	}
	if err := s.open(dir); err != nil {
		if s.file != nil {
			s.abandon()
		}
		return nil, err
	}
	return s, nil
}

func (s *Store) open(dir string) error {
	err := s.guarded(func() (err error) {
		s.db, err = bbolt.Open(s.path, 0o600, &bbolt.Options{
			FreelistType: bbolt.FreelistMapType,
			PageSize:     pageSize,
			NoStatistics: true,
			OpenFile:     s.openFile,
		})
		return err
	})
	if errors.Is(err, errLocked) {
		return fmt.Errorf("another gateway uses %s: give each its own node.data_dir", s.path)
	}
	if err != nil {
		return fmt.Errorf("open quota store: %w", err)
	}
	var born bool
	if err = s.view(func(tx *bbolt.Tx) (err error) { born, err = s.begun(tx); return err }); err == nil && !born {
		err = s.update(begin)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return fmt.Errorf("open quota store: %w", err)
	}
	return nil
}

// openFile opens, locks and checks the file before bbolt reads it.
func (s *Store) openFile(path string, flag int, mode os.FileMode) (*os.File, error) {
	f, err := os.OpenFile(path, flag, mode)
	if err != nil {
		return nil, err
	}
	s.file = f
	if err := lock(f); err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", path)
	}
	if unborn, err := unborn(f, info.Size()); err != nil {
		return nil, err
	} else if unborn {
		return f, f.Truncate(0)
	}
	if err := check(f, info.Size()); err != nil {
		return nil, s.damaged(err)
	}
	return f, nil
}

// begun reports whether the file has its meta bucket, and refuses one of another program or version. To open a file that
// has takes no room on the disk.
func (s *Store) begun(tx *bbolt.Tx) (bool, error) {
	meta := tx.Bucket(metaName)
	if meta == nil {
		if k, _ := tx.Cursor().First(); k != nil {
			return false, fmt.Errorf("%s is a database of another program: move it away, or give the gateway another node.data_dir", s.path)
		}
		return false, nil
	}
	if v := meta.Get(versionKey); !bytes.Equal(v, number(version)) {
		return false, fmt.Errorf("%s has the format %x, this gateway knows %d: start the version that wrote it, or move it away; %s", s.path, v, version, lost)
	}
	return true, nil
}

func begin(tx *bbolt.Tx) error {
	meta, err := tx.CreateBucket(metaName)
	if err != nil {
		return err
	}
	return meta.Put(versionKey, number(version))
}

// Close closes the file and gives up its lock. Calls after it return an error, but for Close.
func (s *Store) Close() error {
	err := s.flush()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case errors.Is(s.failed, errClosed):
		return nil
	case s.failed != nil:
		err = s.abandon()
	default:
		err = errors.Join(err, s.db.Close())
	}
	s.failed = errClosed
	return err
}

// abandon gives up the file without bbolt, which may hold its own locks for ever. The memory map stays until the process
// ends, and keeps the lock of the file unless that is given up by name.
func (s *Store) abandon() error {
	syscall.Flock(int(s.file.Fd()), syscall.LOCK_UN) //nolint:errcheck // it may be closed
	return s.file.Close()
}

// Skipped returns how many records Load has left out since Open, because their form or their count was wrong.
func (s *Store) Skipped() int64 { return s.skipped.Load() }

// guarded calls f, one call at a time. A panic of f, or a fault in the memory map, becomes an error and ends the use of the
// store: bbolt may have kept its locks.
func (s *Store) guarded(f func() error) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return s.failed
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s.failed = s.damaged(fmt.Errorf("%v", p))
			err = s.failed
		}
	}()
	return f()
}

func (s *Store) view(f func(*bbolt.Tx) error) error {
	return s.guarded(func() error { return s.db.View(f) })
}

// update runs f in a transaction, which is durable when it returns nil.
func (s *Store) update(f func(*bbolt.Tx) error) error {
	return s.guarded(func() error {
		var id int
		err := s.db.Update(func(tx *bbolt.Tx) error {
			id = tx.ID()
			return f(tx)
		})
		if err != nil {
			s.failed = s.doubt(id, err)
		}
		return err
	})
}

// doubt returns an error if the store must not go on after transaction id has failed with err. A transaction that fails
// before its header is written, as on a full disk, never was. If the header was written but not synced, what is in memory
// is ahead of the disk, and the next transaction would overwrite pages that the header on the disk still needs.
func (s *Store) doubt(id int, err error) error {
	var now int
	if look := s.db.View(func(tx *bbolt.Tx) error { now = tx.ID(); return nil }); look == nil && now < id {
		return nil
	}
	return fmt.Errorf("quota store %s takes nothing more since a write ended in doubt: see to the disk and restart the gateway: %w", s.path, err)
}

const lost = "every key then starts its running periods with nothing counted"

func (s *Store) damaged(err error) error {
	return fmt.Errorf("%s is damaged (%w): move it away and start the gateway again, which makes a new one; %s", s.path, err, lost)
}

func number(n int64) []byte { return binary.BigEndian.AppendUint64(nil, uint64(n)) }

// lock takes the exclusive lock of f, or returns errLocked after lockWait.
func lock(f *os.File) error {
	for end := time.Now().Add(lockWait); ; {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != syscall.EWOULDBLOCK && err != syscall.EINTR:
			return fmt.Errorf("lock %s: %w", f.Name(), err)
		case time.Now().After(end):
			return errLocked
		}
		<-time.After(lockPoll)
	}
}

// syncDir makes the names in dir durable. Some file systems cannot, and say EINVAL.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) {
		return err
	}
	return nil
}
