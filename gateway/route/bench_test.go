package route

import (
	"fmt"
	"testing"
)

const many = 10_000

// mixes are tables of 10,000 rules, each with requests that are spread over it.
var mixes = []struct {
	name  string
	rule  func(i int) Rule
	query func(i int) *head
}{
	{"exact", func(i int) Rule {
		return Rule{Hosts: []string{"api.example.com"}, Path: fmt.Sprintf("/v1/service-%d/orders", i)}
	},
		func(i int) *head {
			return &head{host: "api.example.com", path: fmt.Sprintf("/v1/service-%d/orders", i)}
		}},
	{"prefix", func(i int) Rule {
		return Rule{Hosts: []string{"api.example.com"}, Path: fmt.Sprintf("/v1/service-%d/*", i)}
	},
		func(i int) *head {
			return &head{host: "api.example.com", path: fmt.Sprintf("/v1/service-%d/orders/17/items", i)}
		}},
	{"hosts", func(i int) Rule { return Rule{Hosts: []string{fmt.Sprintf("tenant-%d.example.com", i)}} },
		func(i int) *head {
			return &head{host: fmt.Sprintf("tenant-%d.example.com", i), path: "/v1/orders/17/items"}
		}},
	{"wildcards", func(i int) Rule {
		return Rule{Hosts: []string{fmt.Sprintf("*.tenant-%d.example.com", i)}, Path: "/v1/*"}
	},
		func(i int) *head {
			return &head{host: fmt.Sprintf("a.tenant-%d.example.com", i), path: "/v1/orders/17/items"}
		}},
	{"params", func(i int) Rule { return Rule{Path: fmt.Sprintf("/v1/users/:id/thing-%d/:n", i)} },
		func(i int) *head {
			return &head{host: "api.example.com", path: fmt.Sprintf("/v1/users/4711/thing-%d/5", i)}
		}},
	{"regex", func(i int) Rule { return Rule{Path: fmt.Sprintf("~^/service-%d/[0-9]+$", i)} },
		func(i int) *head { return &head{host: "api.example.com", path: fmt.Sprintf("/service-%d/4711", i)} }},
	{"mixed", func(i int) Rule {
		switch r := (Rule{Path: fmt.Sprintf("/v1/service-%d/*", i)}); i % 4 {
		case 0:
			return Rule{Path: fmt.Sprintf("/v1/service-%d/:id", i), Methods: []string{"GET"}}
		case 1:
			return Rule{Path: fmt.Sprintf("~^/v1/service-%d/[0-9]+$", i), Hosts: []string{"*.example.com"}}
		case 2:
			r.Headers = []FieldMatch{{Name: "x-beta", Value: "1", Exact: true}}
			return r
		default:
			r.Hosts = []string{"api.example.com"}
			return r
		}
	}, func(i int) *head {
		return &head{host: "api.example.com", path: fmt.Sprintf("/v1/service-%d/4711", i), headers: map[string]string{"x-beta": "1"}}
	}},
}

func mixTable(t testing.TB, rule func(int) Rule) *Table {
	rules := make([]Rule, many)
	for i := range rules {
		rules[i] = rule(i)
	}
	return mustCompile(t, append(rules, Rule{})...) // and a catch-all
}

func TestMatchAllocations(t *testing.T) {
	for _, m := range mixes {
		table := mixTable(t, m.rule)
		for _, i := range []int{0, 1, 2, 3, many / 2, many - 1} {
			h := m.query(i)
			h.method = "GET"
			if got := table.Match(h); got != i {
				t.Errorf("%s: request %d matches rule %d", m.name, i, got)
			}
			if n := testing.AllocsPerRun(100, func() { table.Match(h) }); n != 0 {
				t.Errorf("%s, request %d: %v allocations", m.name, i, n)
			}
		}
	}
	table := mustCompile(t, Rule{Path: "/users/joe@example.com"})
	h := &head{path: "/users/joe%40example.com"}
	if n := testing.AllocsPerRun(1000, func() { table.Match(h) }); n != 0 && !race {
		t.Errorf("escaped: %v allocations", n)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, m := range mixes {
		table, heads := mixTable(b, m.rule), make([]*head, many)
		for i := range heads {
			heads[i] = m.query(i * 7919 % many) // spread, so that the table does not stay in the cache
			heads[i].method = "GET"
		}
		b.Run(m.name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if table.Match(heads[i%many]) < 0 {
					b.Fatal("no match")
				}
			}
		})
	}
}

// The worst cases: rules that only the rest of the head tells apart are asked one by one.
func BenchmarkMatchLinear(b *testing.B) {
	f := func(name string, rule func(int) Rule) {
		rules := make([]Rule, 1000)
		for i := range rules {
			rules[i] = rule(i)
		}
		table, h := mustCompile(b, rules...), &head{method: "GET", path: "/v1/service/4711", headers: map[string]string{"x-tenant": "t999"}}
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if table.Match(h) != 999 {
					b.Fatal("wrong match")
				}
			}
		})
	}
	f("1000-headers", func(i int) Rule {
		return Rule{Headers: []FieldMatch{{Name: "x-tenant", Value: fmt.Sprintf("t%d", i), Exact: true}}}
	})
	f("1000-regexes", func(i int) Rule {
		if i == 999 {
			return Rule{Path: "~service"}
		}
		return Rule{Path: fmt.Sprintf("~/thing-%d$", i)}
	})
}

func BenchmarkCompile(b *testing.B) {
	rules := make([]Rule, many)
	for i := range rules {
		rules[i] = mixes[6].rule(i)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Compile(rules); err != nil {
			b.Fatal(err)
		}
	}
}
