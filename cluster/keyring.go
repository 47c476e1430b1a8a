package cluster

import (
	"bytes"
	"slices"

	"github.com/hashicorp/memberlist"
)

// newKeyring returns one that encrypts with the first key. Without keys it is empty, and nothing is encrypted.
func newKeyring(keys [][]byte) (*memberlist.Keyring, error) {
	if len(keys) == 0 {
		return memberlist.NewKeyring(nil, nil)
	}
	return memberlist.NewKeyring(keys, keys[0])
}

// rotate makes the ring hold the keys, in use as it is. Every moment it encrypts with the first of the old keys or of the new.
//
// memberlist hands its slice of keys to readers without a lock, and RemoveKey moves the keys behind the one removed within it.
// So only the last one is ever removed; a key behind it that is kept is put back at once.
func rotate(ring *memberlist.Keyring, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	has := func(in [][]byte, k []byte) bool {
		return slices.ContainsFunc(in, func(o []byte) bool { return bytes.Equal(o, k) })
	}
	add := func() error {
		for _, k := range keys {
			if err := ring.AddKey(k); err != nil {
				return err
			}
		}
		return nil
	}
	if err := add(); err != nil {
		return err
	}
	if err := ring.UseKey(keys[0]); err != nil {
		return err
	}
	for {
		now := ring.GetKeys()
		if !slices.ContainsFunc(now, func(k []byte) bool { return !has(keys, k) }) {
			return add()
		}
		if err := ring.RemoveKey(now[len(now)-1]); err != nil {
			return err
		}
	}
}
