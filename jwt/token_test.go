package jwt

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func decode(text string) object {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var m object
	if err := d.Decode(&m); err != nil {
		panic(err)
	}
	return m
}

func TestClaim(t *testing.T) {
	f := func(claims, name, want string) {
		t.Helper()
		token, ok := newToken(decode(claims))
		if !ok {
			t.Fatalf("%s: too much", claims)
		}
		if got, ok := token.Claim(name); got != want || ok != (want != "") {
			t.Errorf("%s of %s: %q, %v; want %q", name, claims, got, ok, want)
		}
	}
	f(`{}`, "sub", "")
	f(`{"sub":"alice"}`, "sub", "alice")
	f(`{"sub":"alice"}`, "Sub", "")
	f(`{"sub":"ä\u0000\"\n"}`, "sub", "ä\x00\"\n")
	f(`{"sub":""}`, "sub", "")
	f(`{"sub":null}`, "sub", "")
	f(`{"sub":["a"]}`, "sub", "")
	f(`{"sub":[["a"],{"b":1}]}`, "sub.b", "")
	f(`{"sub":{"a":1}}`, "sub", "")
	f(`{"n":1}`, "n", "1")
	f(`{"n":-0.5}`, "n", "-0.5")
	f(`{"n":1e3}`, "n", "1000")
	f(`{"n":1.0}`, "n", "1")
	f(`{"n":1.50}`, "n", "1.50")
	f(`{"n":123456789012345678901234567890}`, "n", "123456789012345678901234567890")
	f(`{"n":1e400}`, "n", "1e400")
	f(`{"n":1e30}`, "n", "1e30")
	f(`{"b":true,"c":false}`, "b", "true")
	f(`{"b":true,"c":false}`, "c", "false")
	f(`{"realm":{"tenant":"acme"}}`, "realm.tenant", "acme")
	f(`{"realm":{"tenant":"acme"}}`, "realm", "")
	f(`{"realm":{"tenant":"acme"}}`, "realm.", "")
	f(`{"https://x.example/tenant":"acme"}`, "https://x.example/tenant", "acme")
	f(`{"a.b":"exact","a":{"b":"nested"}}`, "a.b", "exact")
	f(`{"a":{"b":"nested"},"a.b":"exact"}`, "a.b", "exact")
	f(`{"a.b":"","a":{"b":"nested"}}`, "a.b", "nested")
	f(`{"a.b":{"c":"outer"},"a":{"b.c":"inner"}}`, "a.b.c", "outer")
	f(`{"a.b":{"c":"two"},"a":{"b":{"c":"three"}}}`, "a.b.c", "two")
	f(`{"a.b":{"c":{"d":"three"}},"a":{"b.c.d":"two"}}`, "a.b.c.d", "two")
	f(`{"a":{"b":{"c":"three"}}}`, "a.b.c", "three")
	f(`{"a":1,"a":2}`, "a", "2")
}

// TestClaimModel compares with a search in the decoded claims.
func TestClaimModel(t *testing.T) {
	name := rapid.SampledFrom([]string{"", "a", "b", "c", "a.b", "b.c", "a.b.c", ".", "é"})
	scalar := rapid.OneOf(rapid.String().AsAny(), rapid.Bool().AsAny(), rapid.Just[any](json.Number("7")), rapid.Just[any](nil), rapid.Just[any]([]any{"x"}))
	var tree func(depth int) *rapid.Generator[any]
	tree = func(depth int) *rapid.Generator[any] {
		if depth == 0 {
			return scalar
		}
		return rapid.OneOf(scalar, rapid.MapOfN(name, rapid.Deferred(func() *rapid.Generator[any] { return tree(depth - 1) }), 0, 6).AsAny())
	}
	rapid.Check(t, func(t *rapid.T) {
		claims := rapid.MapOfN(name, tree(3), 0, 8).Draw(t, "claims")
		token, ok := newToken(claims)
		if !ok {
			t.Skip("too much")
		}
		for range 5 {
			ask := strings.Join(rapid.SliceOfN(name, 1, 4).Draw(t, "name"), ".")
			want := ""
			for depth := 1; depth <= 8 && want == ""; depth++ {
				want = search(claims, ask, depth)
			}
			if got, ok := token.Claim(ask); got != want || ok != (want != "") {
				t.Fatalf("%q: %q, %v; want %q", ask, got, ok, want)
			}
		}
	})
}

// search returns the value of a name read as exactly depth nested names, longer outer names first.
func search(m object, name string, depth int) string {
	if depth == 1 {
		switch v := m[name].(type) {
		case string, bool, json.Number:
			return fmt.Sprint(v)
		}
		return ""
	}
	for cut := len(name) - 1; cut >= 0; cut-- {
		if inner, ok := m[name[:cut]].(object); ok && name[cut] == '.' {
			if s := search(inner, name[cut+1:], depth-1); s != "" {
				return s
			}
		}
	}
	return ""
}

// TestTokenIsBounded: names that repeat above many values end the token, and do not grow first.
func TestTokenIsBounded(t *testing.T) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `{"%s":{`, strings.Repeat("x", 3000))
	for i := range 400 {
		fmt.Fprintf(&b, `"%d":1,`, i)
	}
	b.WriteString(`"":1}}`)
	claims := decode(b.String())
	if _, ok := newToken(claims); ok {
		t.Error("took it")
	}
	deep := decode(strings.Repeat(`{"a":`, 2000) + `1` + strings.Repeat(`}`, 2000))
	token, ok := newToken(deep)
	if !ok || token.weight > maxClaims+1024 {
		t.Errorf("deep: %v, %v", token, ok)
	}
}
