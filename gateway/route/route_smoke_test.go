package route

import "testing"

func TestNormalizeSmoke(t *testing.T) {
	for _, s := range []string{"/", "/a/./b", "/a//b", "/a/../b", "/%61", "/a/..", "/a/.", "//", "/...", "/.a", "/%2e%2e", "/..", "/a/b/..", "/a%3a", "/%2F", "/..;/a"} {
		n, err := Normalize(nil, []byte(s))
		t.Logf("%s → %s %v", s, n, err)
	}
}
