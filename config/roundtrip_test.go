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
		if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}, Policy{}, Pool{}), cmpopts.EquateEmpty()); diff != "" {
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
	if maybe("breaker") {
		pool["breaker"] = map[string]any{"timeout": rapid.SampledFrom([]any{"1ms", "30s", nil}).Draw(t, "open"), "half_open": rapid.SampledFrom([]any{1, 9, nil}).Draw(t, "half")}
		pool["connections"] = map[string]any{"queue": rapid.SampledFrom([]any{0, 5, nil}).Draw(t, "queue"), "queue_timeout": rapid.SampledFrom([]any{"0s", "5s", nil}).Draw(t, "wait")}
	}
	route := map[string]any{"name": "r", "pool": "p"}
	if maybe("priority") {
		route["priority"] = rapid.SampledFrom([]any{"critical", "low", nil, map[string]any{"from": "header:x-p"}, map[string]any{"from": "cookie:p", "default": "high"}}).Draw(t, "priority")
		route["hold"] = rapid.SampledFrom([]any{"body", "headers", nil}).Draw(t, "hold")
	}
	if maybe("route") {
		route["body"] = sizes.Draw(t, "limit")
		route["timeout"] = durations.Draw(t, "timeout")
		route["request"] = map[string]any{"set": []any{map[string]any{"name": "x-a", "value": rapid.SampledFrom([]string{"${ip}", "$${ip}", "1", "true", "null", ""}).Draw(t, "value")}}}
	}
	data, err := yaml.Marshal(map[string]any{
		"listeners": []any{listener}, "pools": []any{pool}, "routes": []any{route}, "policies": drawPolicies(t),
		"headers": map[string]any{"legacy": maybe("legacy"), "reason": maybe("reason")},
		"node":    map[string]any{"zone": text.Draw(t, "node")}, "shaping": drawShaping(t), "backpressure": drawPressure(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// drawPolicies returns policies that may have one another for parents.
func drawPolicies(t *rapid.T) []any {
	draw := func(label string, values ...any) any { return rapid.SampledFrom(values).Draw(t, label) }
	policies := []any{}
	kinds := map[string]string{} // algorithm by name
	names := []string{}
	for i := range rapid.IntRange(0, 8).Draw(t, "policies") {
		p := map[string]any{"name": fmt.Sprintf("q%d", i)}
		kind := "token_bucket"
		isChild := i > 0 && rapid.Bool().Draw(t, "child")
		if isChild {
			parent := rapid.SampledFrom(names).Draw(t, "parent")
			p["parent"], kind = parent, kinds[parent]
		}
		amount := func(label string) any {
			if isChild && rapid.Bool().Draw(t, label+" is a share") {
				return draw(label, "5%", "0.1%", "33.333333333%", "100%")
			}
			return rapid.IntRange(1, 1_000_000).Draw(t, label)
		}
		if !isChild || rapid.Bool().Draw(t, "limit") {
			p["limit"] = amount("limit")
		}
		if rapid.Bool().Draw(t, "algorithm") {
			kind = draw("kind", "token_bucket", "sliding_window", "leaky_bucket", "fixed_window", "concurrency", "adaptive", "quota").(string)
			p["algorithm"] = kind
			p["window"] = draw("window", "1s", "90s", "20m")
			if kind == "quota" {
				p["window"], p["timezone"] = draw("period", "hour", "day", "week", "month"), draw("zone", "UTC", "Europe/Berlin", nil)
			}
		}
		if kind == "sliding_window" {
			p["granularity"] = rapid.IntRange(1, 1000).Draw(t, "parts")
		}
		bursts := kind == "token_bucket" || kind == "leaky_bucket" || kind == "adaptive"
		if bursts && rapid.Bool().Draw(t, "burst") {
			p["burst"] = amount("burst")
		}
		for range rapid.IntRange(0, 2).Draw(t, "overrides") {
			o := map[string]any{"when": `ip == "::1"`, "limit": amount("other")}
			if bursts && rapid.Bool().Draw(t, "burst") {
				o["burst"] = amount("other burst")
			}
			list, _ := p["overrides"].([]any)
			p["overrides"] = append(list, o)
		}
		if rapid.Bool().Draw(t, "rest") {
			p["mode"], p["priority"], p["cost"] = draw("mode", "enforce", "shadow", "off", nil), draw("priority", "", "low", "high", nil), draw("cost", 0, 5, "2", `request.method == "GET" ? 1 : 2`, nil)
			p["action"], p["max_wait"] = "queue", draw("wait", "1ms", "1m")
			p["when"], p["dimensions"], p["routes"] = draw("when", "", "true", nil), draw("dimensions", nil, []string{}, []string{"ip", "path"}), draw("routes", nil, []string{}, []string{"r"})
		}
		policies, names = append(policies, p), append(names, p["name"].(string))
		kinds[p["name"].(string)] = kind
	}
	return policies
}
