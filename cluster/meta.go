package cluster

import (
	"encoding/binary"
	"errors"
)

// meta is what a node tells about itself with memberlist's announcement of it.
type meta struct {
	leaving  bool   // it goes on purpose: memberlist itself does not tell a leave from a death
	instance uint64 // drawn at each start: frames and states of another one with that name are refused
	cluster  string
	zone     string
	version  string
}

const flagLeaving = 1

var errMeta = errors.New("it is not a node of weir's")

func (m *meta) encode() []byte {
	var flags byte
	if m.leaving {
		flags |= flagLeaving
	}
	b := binary.BigEndian.AppendUint64([]byte{wireVersion, flags}, m.instance)
	for _, s := range []string{m.cluster, m.zone, m.version} {
		b = append(b, byte(len(s)))
		b = append(b, s...)
	}
	return b
}

// decodeMeta reads what encode writes. What follows, and flags that are not known, are for later versions.
func decodeMeta(b []byte) (m meta, err error) {
	if len(b) < 10 || b[0] != wireVersion {
		return meta{}, errMeta
	}
	m.leaving = b[1]&flagLeaving != 0
	m.instance = binary.BigEndian.Uint64(b[2:])
	b = b[10:]
	for _, s := range []*string{&m.cluster, &m.zone, &m.version} {
		if len(b) == 0 || len(b) < 1+int(b[0]) || b[0] > maxWord {
			return meta{}, errMeta
		}
		*s = string(b[1 : 1+b[0]])
		b = b[1+b[0]:]
	}
	return m, nil
}
