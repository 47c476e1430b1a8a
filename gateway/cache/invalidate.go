package cache

// unsafe reports whether a method may change something (RFC 9110, section 9.2.1). Methods that are not known may.
func unsafe(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "QUERY", "PROPFIND", "REPORT", "SEARCH":
		return false
	}
	return true
}

// Outdated appends to dst what a response to a request of that method and key makes out of date (RFC 9111, section 4.4): after an unsafe
// method that did not fail the target, and what Location and Content-Location name of the same origin. Purge forgets it, here and on peers.
func Outdated(dst []Purge, method string, k *Key, r Response) []Purge {
	if !unsafe(method) || r.Status() < 200 || r.Status() > 399 {
		return dst
	}
	dst = append(dst, Purge{PurgeURL, string(k.URL())})
	for _, name := range [...]string{"location", "content-location"} {
		v, ok := r.FieldValue(name, 0)
		if !ok {
			continue
		}
		var to Key
		if k.related(&to, v) && string(to.URL()) != string(k.URL()) {
			dst = append(dst, Purge{PurgeURL, string(to.URL())})
		}
	}
	return dst
}

// Invalidate forgets what Outdated says, and returns how many stored responses that were. Where nothing is stored of the target and the
// response names nothing else, it does not allocate.
func (c *Cache) Invalidate(method string, k *Key, r Response) (n int) {
	if !unsafe(method) || r.Status() < 200 || r.Status() > 399 {
		return 0
	}
	if !has(r, "location") && !has(r, "content-location") {
		return c.drop(k.URL())
	}
	for _, p := range Outdated(nil, method, k, r) {
		n += c.Purge(p)
	}
	return n
}
