package jwt

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

func BenchmarkHit(b *testing.B) {
	v := all(b)
	for alg, token := range goodTokens() {
		b.Run(fmt.Sprintf("%s/%d_bytes", alg, len(token)), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(token); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkHitParallel(b *testing.B) {
	v := all(b)
	token := goodTokens()["RS256"]
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := v.Verify(token); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkMiss(b *testing.B) {
	v := all(b)
	for alg, token := range goodTokens() {
		b.Run(alg, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, f := v.check(token, v.ring.Load()); f != "" {
					b.Fatal(f)
				}
			}
		})
	}
}

func BenchmarkClaim(b *testing.B) {
	claims := object{"sub": "alice", "realm": object{"tenant": "acme"}}
	for i := range 20 {
		claims[fmt.Sprint("claim", i)] = "value"
	}
	token, _ := newToken(claims)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := token.Claim("realm.tenant"); !ok {
			b.Fatal("no claim")
		}
	}
}

func BenchmarkSHA256(b *testing.B) {
	text := make([]byte, 472)
	for b.Loop() {
		sha256.Sum256(text)
	}
}
