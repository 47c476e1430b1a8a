package compress

import "strings"

// Dropped are the fields, in lower case and not to be changed, that are no longer true of a response once it is compressed:
// its framing, ranges of it, and digests, all of which are taken of the encoded bytes (RFC 9530; of a representation too). They go from
// the trailer section too. Content-Encoding is among them since a new one is set.
var Dropped = []string{"content-length", "content-encoding", "accept-ranges", "content-md5", "digest", "content-digest", "repr-digest"}

// AppendWeakTag appends the entity tag of the compressed response: a strong one becomes weak, a weak one stays. What is no tag is
// not ok; the field must go then.
func AppendWeakTag(dst []byte, etag string) (_ []byte, ok bool) {
	opaque, weak := strings.CutPrefix(etag, "W/")
	if len(opaque) < 2 || opaque[0] != '"' || strings.IndexByte(opaque[1:], '"') != len(opaque)-2 {
		return dst, false
	}
	if !weak {
		dst = append(dst, "W/"...)
	}
	return append(dst, etag...), true
}

// AppendVary appends the value of Vary with Accept-Encoding among it. vary is the value so far (several fields joined by
// commas), "" if there is none.
func AppendVary(dst []byte, vary string) []byte {
	dst = append(dst, vary...)
	for rest, more := vary, true; more; {
		var name string
		name, rest, more = strings.Cut(rest, ",")
		if name = trim(name); name == "*" || strings.EqualFold(name, "accept-encoding") {
			return dst
		}
	}
	if vary != "" {
		dst = append(dst, ", "...)
	}
	return append(dst, "Accept-Encoding"...)
}
