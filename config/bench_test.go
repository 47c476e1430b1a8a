package config

import (
	"fmt"
	"strings"
	"testing"
)

// largeFile has n routes with a match, a header and a timeout each, and a tenth as many pools and policies.
func largeFile(n int) []byte {
	var b strings.Builder
	b.WriteString("listeners: [{name: web, address: \":8000\"}]\ndimensions: [{name: tenant, from: \"header:x-tenant\"}]\npools:\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "  - name: pool-%d\n    endpoints:\n      - {address: \"10.0.%d.%d:80\"}\n      - {address: \"10.1.%d.%d:80\", weight: 2}\n", i, i/250, i%250, i/250, i%250)
	}
	b.WriteString("routes:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - name: route-%d\n    match: {hosts: [h%d.example.com], path: \"/v%d/*\", methods: [GET, POST]}\n    pool: pool-%d\n", i, i, i%7, i/10)
		b.WriteString("    timeout: 5s\n    request: {set: [{name: x-tenant, value: \"${tenant}\"}]}\n")
	}
	b.WriteString("policies:\n")
	for i := range n / 10 {
		fmt.Fprintf(&b, "  - {name: policy-%d, dimensions: [tenant], limit: 100, window: 1m, routes: [route-%d]}\n", i, i)
	}
	return []byte(b.String())
}

func BenchmarkParse(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		data := largeFile(n)
		b.Run(fmt.Sprintf("routes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := Parse("x", data, noEnv); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHash(b *testing.B) {
	c, err := Parse("x", largeFile(10_000), noEnv)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		c.Hash()
	}
}
