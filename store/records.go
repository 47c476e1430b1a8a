package store

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// chunk is how many records one transaction reads or removes at most.
const chunk = 10_000

const valueSize = 16

// Record is one key's count in one window. A policy keeps one per key: that saved last.
type Record struct {
	Key    [16]byte
	Window int64 // start of the period, in seconds since 1970
	Used   int64 // ≥ 0, in the policy's units
}

// Change is a record to be saved. Policy is any string that stands for the policy across restarts.
type Change struct {
	Policy string
	Record
}

// Load calls each with all records of a policy, in the order of their keys. It reads 10,000 at a time and calls each in
// between, so that each may use the store; what is saved meanwhile may be seen or not. Records that make no sense are
// left out and counted in Skipped. The policy counts as used today, see Retain.
func (s *Store) Load(policy string, each func(Record)) error {
	id := idOf(policy)
	var batch []Record
	for from := []byte{}; from != nil; {
		batch = batch[:0]
		var err error
		from, err = s.read(id, from, func(k, v []byte) {
			if r, ok := decode(k, v); ok {
				batch = append(batch, r)
			} else {
				s.skipped.Add(1)
			}
		})
		if err != nil {
			return fmt.Errorf("load quotas: %w", err)
		}
		for _, r := range batch {
			each(r)
		}
	}
	s.touch(id)
	return nil
}

// Save stores a batch, all or nothing; it is on the disk when Save returns nil. Of several records with the same policy
// and key the last one stays. After an error, as of a full disk, what was there before still is, and the batch can be
// given again.
//
// It writes every page of the tree that a key of the batch lies in, 4 KiB for about 40 records, and syncs twice. So among a
// million records 10,000 random keys are 30 MB and 0.1 s of processor time, and one large batch costs less than many small
// ones: with many keys it pays to save less often.
func (s *Store) Save(batch []Change) error {
	if len(batch) == 0 {
		return nil
	}
	for i := range batch {
		if batch[i].Used < 0 {
			return fmt.Errorf("save quotas: %d units used: a count is never negative", batch[i].Used)
		}
	}
	err := s.update(func(tx *bbolt.Tx) error {
		if err := put(tx, batch, func(id policyID) { s.touchLocked(id) }); err != nil {
			return err
		}
		return s.mark(tx)
	})
	if err != nil {
		return fmt.Errorf("save quotas to %s: %w", s.path, err)
	}
	return nil
}

// put writes a batch into the buckets of its policies, and calls used with each of these.
func put(tx *bbolt.Tx, batch []Change, used func(policyID)) error {
	buckets := map[string]*bbolt.Bucket{}
	values := make([]byte, 0, valueSize*len(batch)) // bbolt keeps what it is given until the transaction ends
	var b *bbolt.Bucket
	for i := range batch {
		c := &batch[i]
		if i == 0 || c.Policy != batch[i-1].Policy {
			if b = buckets[c.Policy]; b == nil {
				id := idOf(c.Policy)
				var err error
				if b, err = tx.CreateBucketIfNotExists(id[:]); err != nil {
					return err
				}
				buckets[c.Policy] = b
				used(id)
			}
		}
		values = binary.BigEndian.AppendUint64(values, uint64(c.Window))
		values = binary.BigEndian.AppendUint64(values, uint64(c.Used))
		if err := b.Put(c.Key[:], values[len(values)-valueSize:]); err != nil {
			return err
		}
	}
	return nil
}

// Expire removes the records of a policy whose window started before the given second, and returns how many it removed,
// with an error too. It reads all records of the policy, 10,000 at a time, and between them others get their turn.
func (s *Store) Expire(policy string, before int64) (n int, err error) {
	id := idOf(policy)
	var old [][]byte
	for from := []byte{}; from != nil; {
		old = old[:0]
		from, err = s.read(id, from, func(k, v []byte) {
			if r, ok := decode(k, v); ok && r.Window < before {
				old = append(old, bytes.Clone(k))
			}
		})
		if err == nil && len(old) > 0 {
			var gone int
			gone, err = s.remove(id, old, before)
			n += gone
		}
		if err != nil {
			return n, fmt.Errorf("expire quotas: %w", err)
		}
	}
	return n, nil
}

// remove deletes those keys whose window still is an old one: they may have been saved since they were read.
func (s *Store) remove(id policyID, keys [][]byte, before int64) (n int, err error) {
	err = s.update(func(tx *bbolt.Tx) error {
		b := tx.Bucket(id[:])
		if b == nil {
			return nil
		}
		for _, k := range keys {
			if r, ok := decode(k, b.Get(k)); !ok || r.Window >= before {
				continue
			}
			if err := b.Delete(k); err != nil {
				return err
			}
			n++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return n, nil
}

// read calls see with a chunk of what is stored for a policy, from a key on. It returns the key to go on from, nil at the
// end. The slices are valid during the call only, and see must not use the store.
func (s *Store) read(id policyID, from []byte, see func(k, v []byte)) (next []byte, err error) {
	err = s.view(func(tx *bbolt.Tx) error {
		b := tx.Bucket(id[:])
		if b == nil {
			return nil
		}
		c := b.Cursor()
		k, v := c.Seek(from)
		for n := 0; k != nil && n < chunk; n++ {
			see(k, v)
			k, v = c.Next()
		}
		next = bytes.Clone(k)
		return nil
	})
	return next, err
}

func decode(k, v []byte) (r Record, ok bool) {
	if len(k) != len(r.Key) || len(v) != valueSize {
		return r, false
	}
	copy(r.Key[:], k)
	r.Window = int64(binary.BigEndian.Uint64(v))
	r.Used = int64(binary.BigEndian.Uint64(v[8:]))
	return r, r.Used >= 0
}
