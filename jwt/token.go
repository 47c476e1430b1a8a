package jwt

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unsafe"
)

// maxClaims bounds what a Token takes, in bytes. Claims repeat the names above them, so a token of 8 KiB could take megabytes.
const maxClaims = 32 << 10

// Token is a token that was good when it was verified. Immutable, safe for concurrent use.
type Token struct {
	claims []claim // sorted by path, no two alike
	weight int64   // bytes it takes
}

// claim is a scalar somewhere in a token.
type claim struct{ path, value string }

// Claim returns the claim of that name: a string as it is, a number or a bool as its JSON text, an integer (to 2^53) in
// plain digits. Dots lead into objects: "realm.tenant" is {"realm": {"tenant": …}}, unless there is a claim with that very name; of
// several readings the least nested that has a value counts, then that with the longer outer names. False if there is no such
// claim, or if it is empty, null, an array or an object. No allocation.
func (t *Token) Claim(name string) (string, bool) {
	i, ok := slices.BinarySearchFunc(t.claims, name, func(c claim, name string) int { return strings.Compare(c.path, name) })
	if !ok {
		return "", false
	}
	return t.claims[i].value, true
}

// leaf is a claim on its way into a Token.
type leaf struct {
	claim
	depth int
}

// flattener collects the scalars of a claims set.
type flattener struct {
	path   []byte
	leaves []leaf
	room   int
}

// newToken returns the token with these claims. It keeps nothing of them.
func newToken(claims map[string]any) (*Token, bool) {
	f := flattener{room: maxClaims}
	if !f.object(claims, 1) {
		return nil, false
	}
	// Stable: at one depth the order of object counts.
	slices.SortStableFunc(f.leaves, func(a, b leaf) int {
		return cmp.Or(strings.Compare(a.path, b.path), cmp.Compare(a.depth, b.depth))
	})
	f.leaves = slices.CompactFunc(f.leaves, func(a, b leaf) bool { return a.path == b.path })

	var text strings.Builder // one allocation for all strings
	for _, l := range f.leaves {
		text.WriteString(l.path)
		text.WriteString(l.value)
	}
	t := &Token{claims: make([]claim, len(f.leaves))}
	rest := text.String()
	for i, l := range f.leaves {
		n := len(l.path)
		t.claims[i] = claim{rest[:n], rest[n : n+len(l.value)]}
		rest = rest[n+len(l.value):]
	}
	t.weight = int64(unsafe.Sizeof(*t)) + int64(len(t.claims))*int64(unsafe.Sizeof(claim{})) + int64(text.Cap())
	return t, true
}

// object adds what is in m, longer names before their own beginnings. It reports whether there was room.
func (f *flattener) object(m map[string]any, depth int) bool {
	names := slices.Sorted(maps.Keys(m))
	slices.Reverse(names)
	outer := len(f.path)
	for _, name := range names {
		f.path = append(f.path, name...)
		if !f.value(m[name], depth) {
			return false
		}
		f.path = f.path[:outer]
	}
	return true
}

func (f *flattener) value(v any, depth int) bool {
	var text string
	switch v := v.(type) {
	case map[string]any:
		f.path = append(f.path, '.')
		return f.object(v, depth+1)
	case string:
		text = v
	case bool:
		text = strconv.FormatBool(v)
	case json.Number:
		text = plain(v)
	}
	if text == "" {
		return true
	}
	if f.room -= len(f.path) + len(text) + int(unsafe.Sizeof(claim{})); f.room < 0 {
		return false
	}
	f.leaves = append(f.leaves, leaf{claim{string(f.path), text}, depth})
	return true
}

// plain writes an integer without exponent and fraction, as far as a double holds it exactly; other numbers stay as they are.
func plain(n json.Number) string {
	const exact = 1 << 53
	if !strings.ContainsAny(string(n), ".eE") {
		return string(n)
	}
	f, err := n.Float64()
	if i := int64(f); err == nil && -exact <= f && f <= exact && float64(i) == f {
		return strconv.FormatInt(i, 10)
	}
	return string(n)
}
