package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// PurgeKind says what a purge goes by.
type PurgeKind byte

// The kinds. Their numbers go over the wire.
const (
	PurgeURL    PurgeKind = 1 + iota // exactly that URL, all variants of all callers
	PurgePrefix                      // URLs that begin so
	PurgeTag
	PurgeAll
)

// A Purge is an order to forget. URLs have scheme and host; the path is one that is normalised as those of requests are.
type Purge struct {
	Kind  PurgeKind
	Value string // "" for PurgeAll
}

// maxPurge bounds the value of a purge.
const maxPurge = 16 << 10

// NewPurge checks an order, and brings scheme and authority of a URL or a prefix into the form of keys.
func NewPurge(kind PurgeKind, value string) (Purge, error) {
	p := Purge{kind, value}
	var k Key
	switch kind {
	case PurgeURL:
		if err := k.setText(value); err != nil {
			return p, fmt.Errorf("purge %q: %w", value, err)
		}
		p.Value = string(k.URL())
	case PurgePrefix:
		if err := k.setText(value); err != nil {
			return p, fmt.Errorf("purge of prefix %q: %w", value, err)
		}
		p.Value = string(k.URL())
	case PurgeTag:
		if value == "" || len(value) > maxTagLength || strings.ContainsAny(value, " ,\t") {
			return p, fmt.Errorf("purge of tag %q: a tag is not empty and has no space or comma", value)
		}
	case PurgeAll:
		p.Value = ""
	default:
		return p, fmt.Errorf("purge: unknown kind %d", kind)
	}
	if len(p.Value) > maxPurge {
		return p, errors.New("purge: the value is too long")
	}
	return p, nil
}

// Append appends p in the form that ParsePurge reads.
func (p Purge) Append(b []byte) []byte {
	b = append(b, byte(p.Kind))
	b = binary.AppendUvarint(b, uint64(len(p.Value)))
	return append(b, p.Value...)
}

var errPurge = errors.New("not a purge")

// ParsePurge reads what Append wrote, and returns what follows it. What a peer sends is checked as what an operator says.
func ParsePurge(b []byte) (Purge, []byte, error) {
	if len(b) == 0 {
		return Purge{}, nil, errPurge
	}
	kind := PurgeKind(b[0])
	n, w := binary.Uvarint(b[1:])
	if w <= 0 || n > maxPurge || n > uint64(len(b)-1-w) {
		return Purge{}, nil, errPurge
	}
	value := string(b[1+w : 1+w+int(n)])
	p, err := NewPurge(kind, value)
	if err == nil && p.Value != value {
		err = errPurge
	}
	return p, b[1+w+int(n):], err
}

// Purge forgets what p says, and returns how many stored responses that were. When it returns, none of them is served any more, and none
// that was being fetched before will be. By URL and by tag it costs what it finds, by prefix a look at every key.
func (c *Cache) Purge(p Purge) (n int) {
	if p.Kind == PurgeURL {
		return c.drop([]byte(p.Value))
	}
	c.purges.add(p)
	switch p.Kind {
	case PurgeTag:
		for _, hash := range c.tags.with(p.Value) {
			n += c.dropVariants(hash, func(_ *resource, s *stored) bool { return slices.Contains(s.tags, p.Value) })
		}
	case PurgePrefix, PurgeAll:
		for hash, r := range c.mem.All() {
			if p.hits(r.key[:r.url], nil) {
				n += c.dropVariants(hash, func(r *resource, _ *stored) bool { return p.hits(r.key[:r.url], nil) })
			}
		}
	}
	return n
}

// hits reports whether a purge goes for a response; not for those by URL.
func (p *Purge) hits(url []byte, tags []string) bool {
	switch p.Kind {
	case PurgePrefix:
		return strings.HasPrefix(string(url), p.Value)
	case PurgeTag:
		return slices.Contains(tags, p.Value)
	}
	return p.Kind == PurgeAll
}

// remembered is how many purges are held against what was on its way when they came.
const remembered = 256

// A purgeLog remembers the latest purges that are not by URL. A fill is stored under the read lock, so that it either sees a purge or
// is there to be seen by it. A fill that more purges came after than are remembered is not stored.
type purgeLog struct {
	mu    sync.RWMutex
	seq   atomic.Uint64 // how many there have been; changes under mu
	rules [remembered]Purge
}

func (l *purgeLog) add(p Purge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.seq.Load()
	l.rules[n%remembered] = p
	l.seq.Store(n + 1)
}

// hits reports whether a purge since the since-th goes for a response, or may.
func (l *purgeLog) hits(since uint64, url []byte, tags []string) bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.hitLocked(since, url, tags)
}

// hitLocked is hits, under the lock.
func (l *purgeLog) hitLocked(since uint64, url []byte, tags []string) bool {
	n := l.seq.Load()
	if n-since > remembered {
		return true
	}
	for ; since < n; since++ {
		if l.rules[since%remembered].hits(url, tags) {
			return true
		}
	}
	return false
}
