package config

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// TestRoundTrip writes configurations out as they are in force and reads them again: the same, with the same hash.
func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want, err := Parse("drawn", drawFile(t), noEnv)
		if err != nil {
			t.Fatalf("drawn: %v", err)
		}
		text, err := yaml.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Parse("again", text, noEnv)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("%s in\n%s", diff, text)
		}
		if got.Hash() != want.Hash() {
			t.Fatalf("the hash %s became %s", want.Hash(), got.Hash())
		}
	})
}

// drawFile returns a valid file that gives some keys and leaves the others to their defaults.
func drawFile(t *rapid.T) []byte {
	text := rapid.StringOf(rapid.RuneFrom([]rune(`abc XYZ09_-"'\:#{}[]&*!|>%@,?$äß€`))).Filter(func(s string) bool { return !strings.Contains(s, "${") }) // which asks for a variable
	durations := rapid.Map(rapid.IntRange(1, 3_600_000), func(ms int) string { return fmt.Sprintf("%dms", ms) })
	sizes := rapid.SampledFrom([]string{"1024", "1500", "16KiB", "65537B", "1MiB"})
	shares := rapid.SampledFrom([]string{"0%", "0.1%", "7%", "12.5%", "33.333%", "100%", "0"})
	maybe := func(label string) bool { return rapid.Bool().Draw(t, label) }
	listener := map[string]any{"name": "web", "address": ":8000"}
	if maybe("limits") {
		listener["limits"] = map[string]any{"header_bytes": sizes.Draw(t, "size"), "body": sizes.Draw(t, "body"), "idle_timeout": "1m1s"}
	}
	pool := map[string]any{"name": "p"}
	if maybe("demo") {
		pool["demo"] = map[string]any{"body": text.Draw(t, "body")}
	} else {
		pool["endpoints"] = []any{map[string]any{"address": "127.0.0.1:80", "weight": rapid.IntRange(1, 1000).Draw(t, "weight"), "zone": text.Draw(t, "zone")}}
	}
	if maybe("pool") {
		pool["slow_start"] = durations.Draw(t, "slow")
		pool["health"] = map[string]any{"panic": shares.Draw(t, "panic")}
		pool["retry"] = map[string]any{"on": rapid.SliceOf(rapid.SampledFrom([]string{"connect", "reset", "503"})).Draw(t, "on"), "budget": shares.Draw(t, "budget")}
	}
	route := map[string]any{"name": "r", "pool": "p"}
	if maybe("route") {
		route["body"] = sizes.Draw(t, "limit")
		route["timeout"] = durations.Draw(t, "timeout")
		route["request"] = map[string]any{"set": []any{map[string]any{"name": "x-a", "value": rapid.SampledFrom([]string{"${ip}", "$${ip}", "1", "true", "null", ""}).Draw(t, "value")}}}
	}
	policy := map[string]any{"name": "q", "limit": rapid.IntRange(1, 1_000_000).Draw(t, "n"), "window": durations.Draw(t, "window")}
	if maybe("burst") {
		policy["burst"] = rapid.IntRange(1, 1_000_000).Draw(t, "b")
	}
	data, err := yaml.Marshal(map[string]any{
		"listeners": []any{listener}, "pools": []any{pool}, "routes": []any{route}, "policies": []any{policy},
		"headers": map[string]any{"legacy": maybe("legacy"), "reason": maybe("reason")},
		"node":    map[string]any{"zone": text.Draw(t, "node")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}
