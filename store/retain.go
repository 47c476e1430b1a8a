package store

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// keepDays is for how long a policy that nobody names is kept since it was used.
const keepDays = 40

// Retain removes the policies that are not among those given, but for those that were used in the last 40 days: one that
// is missing from the configuration for a while, by mistake, forgets nothing. A policy is used by Load, by Save, and when
// it is named here. Days are those of the wall clock: a clock that is wrong by more than 40 days may forget early or late.
func (s *Store) Retain(policies []string) error {
	named := make(map[policyID]struct{}, len(policies))
	for _, p := range policies {
		named[idOf(p)] = struct{}{}
	}
	var stale []policyID
	err := s.update(func(tx *bbolt.Tx) (err error) {
		stale, err = s.stale(tx, named)
		return err
	})
	for i := 0; err == nil && i < len(stale); i++ {
		err = s.update(func(tx *bbolt.Tx) error { return s.forget(tx, stale[i]) })
	}
	if err != nil {
		return fmt.Errorf("forget quotas of old policies: %w", err)
	}
	return nil
}

// stale brings the days up to date and returns what is to be forgotten. The caller holds mu.
func (s *Store) stale(tx *bbolt.Tx, named map[policyID]struct{}) (stale []policyID, err error) {
	meta, today := tx.Bucket(metaName), s.today()
	var ids []policyID
	err = tx.ForEach(func(name []byte, _ *bbolt.Bucket) error {
		if len(name) == len(policyID{}) {
			ids = append(ids, policyID(name))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		day := meta.Get(id[:])
		if _, ok := named[id]; ok || len(day) != 8 { // a day that is not known counts from now
			s.touchLocked(id)
		} else if _, used := s.touched[id]; !used && today-int64(binary.BigEndian.Uint64(day)) > keepDays {
			stale = append(stale, id)
		}
	}
	return stale, s.mark(tx)
}

// forget removes a policy, unless it has been used since. The caller holds mu.
func (s *Store) forget(tx *bbolt.Tx, id policyID) error {
	_, used := s.touched[id]
	if used || s.days[id] == s.today() || tx.Bucket(id[:]) == nil {
		return nil
	}
	delete(s.days, id)
	if err := tx.Bucket(metaName).Delete(id[:]); err != nil {
		return err
	}
	return tx.DeleteBucket(id[:])
}

// touch notes that a policy was used today. The next transaction writes it: a Load must work on a full disk too.
func (s *Store) touch(id policyID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.touchLocked(id)
}

func (s *Store) touchLocked(id policyID) {
	if day, ok := s.days[id]; !ok || day != s.today() {
		s.touched[id] = struct{}{}
	}
}

// mark writes today as the day of the policies that were touched. The caller holds mu.
func (s *Store) mark(tx *bbolt.Tx) error {
	meta, today := tx.Bucket(metaName), s.today()
	for id := range s.touched {
		if tx.Bucket(id[:]) == nil { // it was loaded, and has nothing
			delete(s.touched, id)
			continue
		}
		if err := meta.Put(id[:], number(today)); err != nil {
			return err
		}
	}
	tx.OnCommit(func() {
		for id := range s.touched {
			s.days[id] = today
		}
		clear(s.touched)
	})
	return nil
}

// flush writes the days that no transaction has written yet.
func (s *Store) flush() error {
	s.mu.Lock()
	idle := len(s.touched) == 0 || s.failed != nil
	s.mu.Unlock()
	if idle {
		return nil
	}
	return s.update(s.mark)
}
