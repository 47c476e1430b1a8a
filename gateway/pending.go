package gateway

import (
	"weir/limiter"
	"weir/store"
)

// pending is what quotas have counted and the disk has not: the newest count of every key, by policy identity. nil is empty.
type pending map[string]map[limiter.Key]tally

// tally is what is used of the window that starts at that second.
type tally struct{ window, used int64 }

// set notes what k stands at now.
func (p *pending) set(policy string, k limiter.Key, t tally) {
	if *p == nil {
		*p = pending{}
	}
	keys := (*p)[policy]
	if keys == nil {
		keys = map[limiter.Key]tally{}
		(*p)[policy] = keys
	}
	keys[k] = t
}

// take returns all there is, and leaves nothing.
func (p *pending) take() pending {
	all := *p
	*p = nil
	return all
}

// putBack returns what was taken and could not be written. What has been noted since is newer, and stays.
func (p *pending) putBack(taken pending) {
	if len(*p) == 0 {
		*p = taken
		return
	}
	for policy, keys := range taken {
		if (*p)[policy] == nil {
			(*p)[policy] = keys
			continue
		}
		for k, t := range keys {
			if _, newer := (*p)[policy][k]; !newer {
				(*p)[policy][k] = t
			}
		}
	}
}

// changes returns p as the store takes it.
func (p pending) changes() []store.Change {
	n := 0
	for _, keys := range p {
		n += len(keys)
	}
	list := make([]store.Change, 0, n)
	for policy, keys := range p {
		for k, t := range keys {
			list = append(list, store.Change{Policy: policy, Record: store.Record{Key: keyBytes(k), Window: t.window, Used: t.used}})
		}
	}
	return list
}
