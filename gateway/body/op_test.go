package body

import (
	"strings"
	"testing"
)

func TestCompileRefuses(t *testing.T) {
	f := func(op Op, want string) {
		t.Helper()
		_, err := Compile([]Op{op}, 100)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want ...%s...", op, err, want)
		}
	}
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	f(Op{Kind: Remove}, "operation 1: remove : needs a path")
	f(Op{Path: "a"}, "no such operation")
	f(Op{Kind: Remove, Path: ".a"}, "a name is missing")
	f(Op{Kind: Remove, Path: "a."}, "a name is missing")
	f(Op{Kind: Remove, Path: "a..b"}, "a name is missing")
	f(Op{Kind: Remove, Path: "a.[0]"}, "a name is missing")
	f(Op{Kind: Remove, Path: "a[0]b"}, "a dot is missing")
	f(Op{Kind: Remove, Path: "a[0"}, "not closed")
	f(Op{Kind: Remove, Path: "a[01]"}, "is none of")
	f(Op{Kind: Remove, Path: "a[-1]"}, "is none of")
	f(Op{Kind: Remove, Path: "a[99999999999999999999]"}, "is none of")
	f(Op{Kind: Remove, Path: "a[1073741825]"}, "is none of")
	f(Op{Kind: Remove, Path: "a b"}, `["name"]`)
	f(Op{Kind: Remove, Path: `["a"`}, "does not end")
	f(Op{Kind: Remove, Path: `["a]`}, "does not end")
	f(Op{Kind: Remove, Path: "\xff"}, "not UTF-8")
	f(Op{Kind: Remove, Path: strings.Repeat("[]", MaxDepth+1)}, "more than 64 steps")
	f(Op{Kind: Remove, Path: "a", JSON: "1"}, "for set only")
	f(Op{Kind: Rename, Path: "a", Name: "b", Text: "1"}, "for set only")
	f(Op{Kind: Set, Path: "a"}, "either JSON or a text")
	f(Op{Kind: Set, Path: "a", JSON: "1", Text: "1"}, "either JSON or a text")
	f(Op{Kind: Set, Path: "a", JSON: "1", Name: "b"}, "for rename only")
	f(Op{Kind: Set, Path: "a", JSON: "gold"}, "a string needs its quotes")
	f(Op{Kind: Set, Path: "a", JSON: "1 2"}, "is not JSON")
	f(Op{Kind: Set, Path: "a", JSON: " "}, "is not JSON")
	f(Op{Kind: Set, Path: "a", JSON: deep}, "deeper than 64")
	f(Op{Kind: Set, Path: "a", Text: "${b"}, "without a name")
	f(Op{Kind: Set, Path: "a", Text: "${}"}, "without a name")
	f(Op{Kind: Rename, Path: "a"}, "needs a new name")
	f(Op{Kind: Rename, Path: "a", Name: "a"}, "its name already")
	f(Op{Kind: Rename, Path: "a[0]", Name: "b"}, "has no name")
	f(Op{Kind: Rename, Path: "a", Name: "\xff"}, "not UTF-8")
	if _, err := Compile(make([]Op, MaxOps+1), 100); err == nil {
		t.Error("too many operations pass")
	}
	if _, err := Compile(nil, 0); err == nil {
		t.Error("a limit of 0 passes")
	}
}

// TestPasses: operations share a pass unless they could see each other's work.
func TestPasses(t *testing.T) {
	f := func(want int, ops ...Op) {
		t.Helper()
		p, err := Compile(ops, 100)
		if err != nil {
			t.Fatal(err)
		}
		if len(p.passes) != want {
			t.Errorf("%+v: %d passes, want %d", ops, len(p.passes), want)
		}
	}
	f(0)
	f(1, set("a", "1"), remove("b"), rename("c", "d"), set("e.f", "1"), set("e.g", "1"), set("h[0]", "1"), set("h[1]", "1"), remove("i[].j"))
	f(1, set("a.b", "1"), set("a[0]", "1")) // an object is no array
	f(2, set("a", "1"), remove("a"))
	f(2, set("a.b", "1"), remove("a"))
	f(2, remove("a"), set("a.b", "1"))
	f(2, set("a[].b", "1"), set("a[0].c", "1"))
	f(2, remove("a[0]"), set("a[1]", "1"))   // the second moves up
	f(2, remove("a[0]"), set("a[1].b", "1")) // here too
	f(1, remove("a[0].b"), set("a[1].b", "1"))
	f(2, rename("a", "b"), set("b.c", "1"))
	f(2, rename("a", "b"), rename("b", "c"))
	f(2, rename("a", "b"), rename("c", "b"))
	f(1, rename("a.x", "b"), rename("c.x", "b"))
	f(3, set("a", "1"), set("a", "1"), set("b", "1"), set("a", "1"))
}
