package body

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
)

func compile(t testing.TB, ops ...Op) *Program {
	t.Helper()
	p, err := Compile(ops, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// dimensions fills in the names that the tests use.
func dimensions(name string) (string, bool) {
	switch name {
	case "tenant":
		return "acme", true
	case "odd":
		return "a\"b\\c\nd\x01\xff\x7fé", true
	}
	return "", false
}

func set(path, value string) Op   { return Op{Kind: Set, Path: path, JSON: value} }
func text(path, text string) Op   { return Op{Kind: Set, Path: path, Text: text} }
func remove(path string) Op       { return Op{Kind: Remove, Path: path} }
func rename(path, name string) Op { return Op{Kind: Rename, Path: path, Name: name} }

// becomes is what the tests of single operations say: op makes want of doc, behind what dst holds.
func becomes(t *testing.T) func(op Op, doc, want string) {
	return func(op Op, doc, want string) {
		t.Helper()
		got, err := compile(t, op).Apply([]byte("before"), []byte(doc), dimensions, nil)
		if err != nil || string(got) != "before"+want {
			t.Errorf("%+v of %s: %s, %v, want %s", op, doc, got, err, want)
		}
	}
}

func TestSet(t *testing.T) {
	f := becomes(t)
	f(set("a", "2"), `{"a":1}`, `{"a":2}`)
	f(set("a", "2"), " { \"a\" : 1.0 , \"b\":1e2 }\n", " { \"a\" : 2 , \"b\":1e2 }\n")
	f(set("a", " [ 1 ] "), `{}`, `{"a":[ 1 ]}`)
	f(set("a", "2"), `{ }`, `{ "a":2}`)
	f(set("a", "2"), "{\n  \"b\": 1\n}", "{\n  \"b\": 1,\"a\":2\n}")
	f(set("a", "2"), `{"a":1,"a":{"a":3}}`, `{"a":2,"a":2}`) // both
	f(set("a", "2"), `{"\u0061":1}`, `{"\u0061":2}`)
	f(set("a", "2"), `{"A":1}`, `{"A":1,"a":2}`)
	f(set("a.b.c", "2"), `{}`, `{"a":{"b":{"c":2}}}`)
	f(set("a.b.c", "2"), `{"a":{}}`, `{"a":{"b":{"c":2}}}`)
	f(set("a.b.c", "2"), `{"a":{"b":null}}`, `{"a":{"b":{"c":2}}}`)
	f(set("a.b.c", "2"), `{"a":"b"}`, `{"a":"b"}`) // not an object
	f(set("a.b.c", "2"), `null`, `{"a":{"b":{"c":2}}}`)
	f(set("a.b.c", "2"), `[]`, `[]`)
	f(set("a[0]", "2"), `{"a":[0,1]}`, `{"a":[2,1]}`)
	f(set("a[1]", "2"), `{"a":[0]}`, `{"a":[0]}`)
	f(set("a[0]", "2"), `{}`, `{}`)
	f(set("a[0]", "2"), `{"a":{"0":1}}`, `{"a":{"0":1}}`)
	f(set("a[].b", "2"), `{"a":[{},{"b":1},null,3,[]]}`, `{"a":[{"b":2},{"b":2},{"b":2},3,[]]}`)
	f(set("[][0]", "2"), `[[0,1],[],{"0":1}]`, `[[2,1],[],{"0":1}]`)
	f(set(`["a.b"]["c\"]"]`, "2"), `{"a.b":{"c\"]":1}}`, `{"a.b":{"c\"]":2}}`)
	f(set(`["a.\t"].b`, "2"), `{}`, `{"a.\t":{"b":2}}`)
	f(set(`[""]`, "2"), `{"":1}`, `{"":2}`)
	f(set("😀", "2"), `{"\uD83D\uDE00":1,"\ud83d":0}`, `{"\uD83D\uDE00":2,"\ud83d":0}`)
}

func TestTemplate(t *testing.T) {
	f := becomes(t)
	f(text("a", "${tenant}"), `{"a":1}`, `{"a":"acme"}`)
	f(text("a", "t-${tenant}/${nobody}."), `{}`, `{"a":"t-acme/."}`)
	f(text("a", "${nobody}"), `{"a":1}`, `{"a":null}`)
	f(text("a", "\"$${tenant}\" $"), `{}`, `{"a":"\"${tenant}\" $"}`)
	f(text("a", "${odd}"), `{}`, `{"a":"a\"b\\c\nd\u0001`+"\ufffd"+`\u007fé"}`)
}

func TestRemove(t *testing.T) {
	f := becomes(t)
	f(remove("a"), `{"a":1}`, `{}`)
	f(remove("a"), `{ "a":1 }`, `{  }`)
	f(remove("a"), `{ "a":1 , "b":2 }`, `{ "b":2 }`)
	f(remove("b"), `{ "a":1 , "b":2 }`, `{ "a":1  }`)
	f(remove("a"), `{"a":1,"a":2,"b":3,"a":4,"\u0061":5,"c":6,"a":7}`, `{"b":3,"c":6}`)
	f(remove("a"), "{\n  \"a\": 1,\n  \"b\": 2\n}", "{\n  \"b\": 2\n}")
	f(remove("b"), "{\n  \"a\": 1,\n  \"b\": 2\n}", "{\n  \"a\": 1\n}")
	f(remove("a.b"), `{"a":{"b":1},"a":[{"b":1}],"b":2}`, `{"a":{},"a":[{"b":1}],"b":2}`)
	f(remove("a[1]"), `{"a":[0,1,2]}`, `{"a":[0,2]}`)
	f(remove("a[0]"), `{"a":[0,1,2]}`, `{"a":[1,2]}`)
	f(remove("a[2]"), `{"a":[0,1,2]}`, `{"a":[0,1]}`)
	f(remove("a[]"), `{"a":[0, 1, 2],"b":[3]}`, `{"a":[],"b":[3]}`)
	f(remove("[].a"), `[{"a":1,"b":1},{"a":2}, 7]`, `[{"b":1},{}, 7]`)
}

func TestRename(t *testing.T) {
	f := becomes(t)
	f(rename("a", "b"), `{"a" : 1}`, `{"b" : 1}`)
	f(rename("a", `"`), `{"a":1}`, `{"\"":1}`)
	f(rename("a", "b"), `{"b":0,"a":1,"c":3,"b":2}`, `{"b":1,"c":3}`)
	f(rename("a", "b"), `{"b":0,"c":3}`, `{"b":0,"c":3}`)
	f(rename("a", "b"), `{"a":1,"a":2}`, `{"b":1,"b":2}`)
	f(rename("a", "b"), `{"\u0061":1,"\u0062":2}`, `{"b":1}`)
	f(rename("x[].a", "b"), `{"x":[{"a":1},{"b":2},{"b":3,"a":4}],"a":5}`, `{"x":[{"b":1},{"b":2},{"b":4}],"a":5}`)
	f(rename("a", "b"), `[{"a":1}]`, `[{"a":1}]`)
}

// TestSequence: operations act on what those before them made.
func TestSequence(t *testing.T) {
	p := compile(t,
		Op{Kind: Rename, Path: "user", Name: "account"},
		Op{Kind: Remove, Path: "account.password"},
		Op{Kind: Set, Path: "account.tenant", Text: "${tenant}"},
		Op{Kind: Remove, Path: "list[0]"},
		Op{Kind: Set, Path: "list[0]", JSON: "true"},
		Op{Kind: Set, Path: "meta.by", JSON: `"weir"`},
		Op{Kind: Set, Path: "meta.at", Text: "${tenant}"},
	)
	got, err := p.Apply(nil, []byte(`{"user":{"id":1.50,"password":"x"},"list":[1,2,3]}`), dimensions, nil)
	want := `{"account":{"id":1.50,"tenant":"acme"},"list":[true,3],"meta":{"by":"weir","at":"acme"}}`
	if err != nil || string(got) != want {
		t.Errorf("%s, %v, want %s", got, err, want)
	}
}

// TestMadeInOrder: what is missing is made in the order of the operations, in one pass too.
func TestMadeInOrder(t *testing.T) {
	p := compile(t, Op{Kind: Remove, Path: "a.x"}, Op{Kind: Set, Path: "b", JSON: "1"}, Op{Kind: Set, Path: "a.c", JSON: "2"}, Op{Kind: Set, Path: "b2", JSON: "3"}, Op{Kind: Set, Path: "a.d", JSON: "4"})
	got, err := p.Apply(nil, []byte(`{}`), nil, nil)
	if want := `{"b":1,"a":{"c":2,"d":4},"b2":3}`; err != nil || string(got) != want || len(p.passes) != 1 {
		t.Errorf("%s, %v in %d passes, want %s", got, err, len(p.passes), want)
	}
}

// TestGrammar: what is no JSON is said to be none, wherever it stands.
func TestGrammar(t *testing.T) {
	p := compile(t, Op{Kind: Set, Path: "a.b", JSON: "1"}, Op{Kind: Remove, Path: "c[]"}, Op{Kind: Rename, Path: "d.e", Name: "f"})
	none := compile(t)
	f := func(part string, want error) {
		t.Helper()
		for _, doc := range []string{part, `{"a":` + part + `}`, `{"a":{"b":` + part + `}}`, `{"c":[1,` + part + `]}`, `{"d":{"x":` + part + `}}`, `{"d":{"e":` + part + `,"g":0}}`, `[` + part + `]`} {
			for _, p := range []*Program{p, none} {
				if got, err := p.Apply([]byte("x"), []byte(doc), nil, nil); !errors.Is(err, want) || err != nil && string(got) != "x" {
					t.Errorf("%s: %s, %v, want %v", doc, got, err, want)
				}
			}
		}
		if json.Valid([]byte(part)) != (want == nil) {
			t.Errorf("encoding/json does not agree about %s", part)
		}
	}
	for _, s := range []string{`0`, `-0`, `1.5e-7`, `10E+2`, `"\"\\\/\b\f\n\r\t\u12aF"`, `true`, `false`, `null`, `{}`, `[]`, ` [ ] `, `{ }`, `"a string of some length, é😀"`, "\"bytes that are no UTF-8 \xff\"", `{"x":[{"y":[[]]}],"z":{}}`} {
		f(s, nil)
	}
	for _, s := range []string{`-`, `01`, `1.`, `.5`, `1e`, `1e+`, `+1`, `"`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"tab\t\"", "\"long enough for a word \x00\"", `"unended, and long enough for a word`, `"ended in a backslash\`, `tru`, `nul`, `nulll`, `{`, `{]`, `[}`, `[1`, `[1,]`, `[,1]`, `[,`, `[1 2]`, `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a":1 "b":2}`, `{,}`, `{a:1}`, `{"a" 1}`, `{1:2}`, `'a'`, `NaN`, "\ufeff1", `1 /**/`} {
		f(s, ErrInvalid)
	}
	for _, doc := range []string{``, ` `, `{"a":`, `{} x`, `1]`, `{"a":1}}`, `{"d":{"e":1}`, `{"d":{"e":1},"c":[1}`, `null,`} {
		if _, err := p.Apply(nil, []byte(doc), nil, nil); err != ErrInvalid {
			t.Errorf("%s: %v", doc, err)
		}
	}
}

func TestDepth(t *testing.T) {
	f := func(p *Program, n int, open, end string, want error) {
		t.Helper()
		doc := strings.Repeat(open, n) + "1" + strings.Repeat(end, n)
		if got, err := p.Apply(nil, []byte(doc), nil, nil); err != want {
			t.Errorf("%d of %s: %s, %v, want %v", n, open, got, err, want)
		}
	}
	step := strings.Repeat(".a", MaxDepth)[1:]
	for _, p := range []*Program{compile(t), compile(t, Op{Kind: Remove, Path: step}), compile(t, Op{Kind: Set, Path: strings.Repeat("[]", MaxDepth), JSON: "2"}), compile(t, Op{Kind: Rename, Path: "a", Name: "b"})} {
		f(p, MaxDepth, "[", "]", nil)
		f(p, MaxDepth+1, "[", "]", ErrDepth)
		f(p, MaxDepth, `{"a":`, "}", nil)
		f(p, MaxDepth+1, `{"a":`, "}", ErrDepth)
		f(p, 100_000, "[", "]", ErrDepth)
	}
	f(compile(t, Op{Kind: Set, Path: step, JSON: "2"}), MaxDepth-1, `{"a":`, "}", nil)
}

// TestLimit: neither a document nor what becomes of it passes the limit, and dst does not grow past it.
func TestLimit(t *testing.T) {
	p, err := Compile([]Op{{Kind: Set, Path: "[]", JSON: `"0123456789"`}}, 40)
	if err != nil {
		t.Fatal(err)
	}
	f := func(doc string, want error) {
		t.Helper()
		got, err := p.Apply(make([]byte, 3), []byte(doc), nil, nil)
		if err != want {
			t.Errorf("%s: %v, want %v", doc, err, want)
		}
		if len(got) > 43 || err != nil && len(got) != 3 {
			t.Errorf("%s: %d bytes", doc, len(got))
		}
	}
	f(`[1,2,3]`, nil) // becomes 40 bytes
	f(`[1, 2,3]`, ErrTooLarge)
	f(`[1,2,3,4]`, ErrTooLarge)
	f(`[]`+strings.Repeat(" ", 38), nil)
	f(`[]`+strings.Repeat(" ", 39), ErrTooLarge)
}

// TestLimitBefore: a document that is too large is not read, even if little of it would stay.
func TestLimitBefore(t *testing.T) {
	p, err := Compile([]Op{{Kind: Remove, Path: "[]"}}, 10)
	if err != nil {
		t.Fatal(err)
	}
	f := func(doc string, want error) {
		t.Helper()
		if _, err := p.Apply(nil, []byte(doc), nil, nil); err != want {
			t.Errorf("%s: %v, want %v", doc, err, want)
		}
	}
	f(`[1,2,3,45]`, nil)
	f(`[1,2,3,456]`, ErrTooLarge)
	r := rewriter{most: 3, scratch: &scratch{mem: unbounded{}}}
	for range 5 {
		r.putByte('x')
	}
	if string(r.dst) != "xxx" || r.full != ErrTooLarge {
		t.Errorf("%s, %v", r.dst, r.full)
	}
}

func TestNoAllocation(t *testing.T) {
	if raceEnabled {
		t.Skip("sync.Pool drops at random")
	}
	p := compile(t,
		Op{Kind: Set, Path: "tenant", Text: "t-${tenant}"},
		Op{Kind: Set, Path: "items[].price", JSON: "1"},
		Op{Kind: Remove, Path: "user.password"},
		Op{Kind: Rename, Path: "user.id", Name: "uid"},
		Op{Kind: Rename, Path: "user", Name: "account"}, // a second pass
	)
	doc := []byte(`{"user":{"id":7,"n\u0061me":"Ann","password":"x"},"items":[{"price":1.50},{}]}`)
	dst := make([]byte, 0, 2*len(doc))
	var got []byte
	n := testing.AllocsPerRun(100, func() {
		var err error
		if got, err = p.Apply(dst, doc, dimensions, nil); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
	if want := `{"account":{"uid":7,"n\u0061me":"Ann"},"items":[{"price":1},{"price":1}],"tenant":"t-acme"}`; string(got) != want {
		t.Errorf("%s", got)
	}
}

// TestConcurrent: one program serves many at once (under the race detector).
func TestConcurrent(t *testing.T) {
	p := compile(t, text("a", "${tenant}"), rename("a", "b"))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				if got, err := p.Apply(nil, []byte(`{"a":1,"\u0062":2}`), dimensions, nil); err != nil || string(got) != `{"b":"acme"}` {
					t.Errorf("%s, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
}

// TestScratchIsBounded: what one large document needed is not kept.
func TestScratchIsBounded(t *testing.T) {
	s := &scratch{values: make([]byte, 10, keepScratch+1), name: make([]byte, 10, keepScratch), mem: unbounded{}}
	s.release()
	if s.values != nil || cap(s.name) != keepScratch || len(s.name) != 0 {
		t.Errorf("kept %d and %d bytes", cap(s.values), cap(s.name))
	}
}

func BenchmarkApply(b *testing.B) {
	small := []byte(`{"user":{"id":7,"name":"Ann","password":"x"},"items":[{"price":1.50},{"price":2}],"note":"hello"}`)
	large := []byte(`{"rows":[` + strings.TrimSuffix(strings.Repeat(`{"id":12345,"name":"a name of some length","tags":["a","b"],"ok":true},`, 1000), ",") + `]}`)
	set := Op{Kind: Set, Path: "tenant", Text: "t-${tenant}"}
	f := func(name string, doc []byte, ops ...Op) {
		b.Run(name, func(b *testing.B) {
			p := compile(b, ops...)
			dst := make([]byte, 0, 2*len(doc))
			b.SetBytes(int64(len(doc)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.Apply(dst, doc, dimensions, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	f("small", small, set, Op{Kind: Remove, Path: "user.password"}, Op{Kind: Rename, Path: "note", Name: "remark"})
	f("large", large, set, Op{Kind: Remove, Path: "password"})
	f("large_every", large, Op{Kind: Remove, Path: "rows[].tags"}, Op{Kind: Rename, Path: "rows[].id", Name: "key"})
	b.Run("valid", func(b *testing.B) { // encoding/json checking the grammar alone, to compare
		b.SetBytes(int64(len(large)))
		for b.Loop() {
			json.Valid(large)
		}
	})
}

func FuzzApply(f *testing.F) {
	for _, s := range []string{`{"a":{"b":1},"c":[1,{"x":2}],"d":null}`, ` [ { "\u0061" : 1e5 } ] `, `{"d":0,"c":1,"a":[],"\ud83d\ude00":"\\"}`, `[[[{}]]]`, `null`} {
		f.Add([]byte(s), "a.b", "d")
	}
	f.Fuzz(func(t *testing.T, doc []byte, path, name string) {
		ops := []Op{
			{Kind: Set, Path: "a.b", Text: "${tenant}"}, {Kind: Remove, Path: "c[1]"}, {Kind: Rename, Path: "c[].x", Name: "y"}, {Kind: Rename, Path: "a", Name: "d"},
		}
		for _, op := range []Op{{Kind: Set, Path: path, Text: name}, {Kind: Set, Path: path, JSON: name}, {Kind: Remove, Path: path}, {Kind: Rename, Path: path, Name: name}} {
			if _, err := Compile([]Op{op}, 1); err == nil {
				ops = append(ops, op)
			}
		}
		p, err := Compile(ops, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.Apply(nil, doc, dimensions, nil)
		if err == ErrDepth || err == ErrTooLarge {
			return
		}
		if (err == nil) != json.Valid(doc) {
			t.Fatalf("%q: %v, encoding/json does not agree", doc, err)
		}
		if err == nil && !json.Valid(got) {
			t.Fatalf("%q became %q", doc, got)
		}
		p, err = Compile([]Op{{Kind: Remove, Path: "no.such[].member"}, {Kind: Set, Path: "no[0]", JSON: "1"}}, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := p.Apply(nil, doc, nil, nil); err == nil && !bytes.Contains(doc, []byte("no")) && !bytes.Contains(doc, []byte(`\u`)) && !bytes.Equal(same, doc) {
			t.Fatalf("%q became %q though nothing is there to change", doc, same)
		}
	})
}
