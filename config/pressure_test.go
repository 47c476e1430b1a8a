package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.yaml.in/yaml/v3"
	"pgregory.net/rapid"
)

// pressured is a file whose backpressure the API changes.
const pressured = `
dimensions: [{name: tenant, from: header:x-tenant}]
pools:
  - {name: a, demo: {}}
  - {name: b, demo: {}, breaker: {timeout: 1m, half_open: 1}}
  - {name: c, demo: {}, breaker: {failure_threshold: 0, max_timeout: }, connections: {queue: 7}}
  - {name: d, demo: {}, connections: {queue_timeout: 0s}}
backpressure:
  concurrency: {algorithm: vegas, min: 2}
  queue: {by: tenant, max_wait: 2s, max_length: 50}
  circuit_breaker: {failure_threshold: 3, timeout: 10s}
`

func TestPressureDefaults(t *testing.T) {
	got := *mustParse(t, "backpressure: {load_shedding: {}}").Backpressure
	want := Backpressure{
		LoadThreshold: 0.8, Signals: Signals{CPU: 0.9, Memory: 0.9, QueueDelay: 50 * time.Millisecond},
		LoadShedding: &LoadShedding{SheddingRate: 0.1, PriorityLevels: []PriorityLevel{{1, 0.1}, {2, 0.5}, {3, 1}}},
		Concurrency:  Concurrency{Algorithm: "fixed", Min: 8, Max: 4096},
		Queue:        Queue{DefaultWeight: 1, MaxWait: 500 * time.Millisecond, MaxLength: 1024}, Global: true,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if b := mustParse(t, "backpressure: {}").Backpressure; b == nil || b.LoadShedding != nil || b.CircuitBreaker != nil {
		t.Errorf("got %+v", b)
	}
	if b := mustParse(t, "backpressure:").Backpressure; b != nil {
		t.Errorf("a null gives %+v", b)
	}
}

func TestPressureValues(t *testing.T) {
	c, err := Load("testdata/valid/pressure.yaml", corpusEnv)
	if err != nil {
		t.Fatal(err)
	}
	f := func(name string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	b := c.Backpressure
	f("threshold", float64(b.LoadThreshold), 0.75)
	f("signals", b.Signals, Signals{0, 0.875, 5 * time.Millisecond, 10})
	f("multipliers", []float64{b.LoadShedding.Multiplier(0), b.LoadShedding.Multiplier(1), b.LoadShedding.Multiplier(2), b.LoadShedding.Multiplier(3)}, []float64{0, 0.001, 0, 1})
	f("concurrency", b.Concurrency, Concurrency{"gradient", 1, 100, 10})
	f("weights", b.Queue.Weights, []QueueWeight{{"gold", 4}, {"2", 1000}})
	f("degrade", b.Degrade, []DegradeLevel{{At: 0.5, Disable: []string{"mirror", "access_log"}}, {At: 0.95, Disable: []string{"ratelimit_headers"}}, {At: 1, Disable: []string{"retries"}}})
	f("global", b.Global, false)
	for i, want := range []Priority{{"", "low"}, {"header:X-Priority", "low"}, {`expr: plan == "gold" ? "high" : "normal"`, "normal"}, {"", "critical"}, {"", "normal"}} {
		f("priority", c.Routes[i].Priority, want)
	}
	f("hold", c.Routes[0].Hold+" "+c.Routes[4].Hold, "headers body")
	s := c.Shaping
	f("rates", []Size{s[0].Download, s[0].Upload, s[0].Guarantee, s[0].TotalDownload, s[0].TotalUpload}, []Size{10 << 20, 2 << 20, 1 << 20, 100 << 20, 2 << 20})
	f("bursts", []Size{s[0].BurstOf(s[0].Download), s[1].BurstOf(s[1].Download), s[1].BurstOf(10 << 20)}, []Size{1 << 20, 8 << 10, 1 << 20})
	for i, want := range []Breaker{{3, 2, 10 * time.Second, 5 * time.Minute, 3}, {0, 2, 20 * time.Second, time.Hour, 3}, {0, 2, 20 * time.Second, time.Hour, 9}, {3, 2, 20 * time.Second, 5 * time.Minute, 3}} {
		f("breaker of "+c.Pools[i].Name, c.Pools[i].Breaker, want)
	}
	var none *LoadShedding
	f("nothing sheds nothing", []float64{none.Multiplier(3), (&LoadShedding{PriorityLevels: usualLevels}).Multiplier(3)}, []float64{0, 0})
}

func TestQueue(t *testing.T) {
	f := func(c *Config, want string) {
		t.Helper()
		got := ""
		for i := range c.Pools {
			length, wait := c.Queue(&c.Pools[i])
			got += fmt.Sprintf(" %s %d %v", c.Pools[i].Name, length, wait)
		}
		if got[1:] != want {
			t.Errorf("got %s, want %s", got[1:], want)
		}
	}
	c := mustParse(t, pressured)
	f(c, "a 50 2s b 50 2s c 7 2s d 50 0s")
	c.Backpressure = nil
	f(c, "a 1024 500ms b 1024 500ms c 7 500ms d 1024 0s")
}

// breakers shows the breakers of c: failures, timeout, longest timeout, half open.
func breakers(c *Config) (all string) {
	for _, p := range c.Pools {
		all += fmt.Sprintf(" %s %d %v %v %d", p.Name, p.Breaker.FailureThreshold, p.Breaker.Timeout, p.Breaker.MaxTimeout, p.Breaker.HalfOpen)
	}
	return all[1:]
}

// TestWithBackpressure: keys that are given are replaced, those that are not stay, and pools follow.
func TestWithBackpressure(t *testing.T) {
	c := mustParse(t, pressured)
	const file = "a 3 10s 5m0s 3 b 3 1m0s 5m0s 1 c 0 10s 5m0s 3 d 3 10s 5m0s 3"
	f := func(text, queue, breaker string) *Config {
		t.Helper()
		hash := c.Hash()
		out, err := c.WithBackpressure([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		b := out.Backpressure
		if got := fmt.Sprintf("%v %v %s %d %v", b.LoadThreshold, b.Concurrency, b.Queue.By, b.Queue.MaxLength, b.LoadShedding != nil); got != queue {
			t.Errorf("%s: got %s, want %s", text, got, queue)
		}
		if got := breakers(out); got != breaker {
			t.Errorf("%s: got %s, want %s", text, got, breaker)
		}
		if breakers(c) != file || c.Hash() != hash {
			t.Errorf("%s: it changed what was there", text)
		}
		return out
	}
	f("{}", "0.8 {vegas 2 4096 0} tenant 50 false", file)
	changed := f(`{"load_threshold":0.7,"circuit_breaker":{"failure_threshold":10,"recovery_threshold":5,"timeout":"30s"},
		"load_shedding":{"shedding_rate":0.1,"priority_levels":[{"level":1,"multiplier":0.1},{"level":2,"multiplier":0.5},{"level":3,"multiplier":1.0}]}}`,
		"0.7 {vegas 2 4096 0} tenant 50 true", "a 10 30s 5m0s 3 b 10 1m0s 5m0s 1 c 0 30s 5m0s 3 d 10 30s 5m0s 3")
	f(`{"queue": {"by": "ip"}, "concurrency": {"algorithm": "aimd"}}`, "0.8 {aimd 8 4096 0} ip 1024 false", file)
	f("circuit_breaker:\nconcurrency: null\nqueue: {by: }\n", "0.8 {fixed 8 4096 0}  1024 false", "a 10 30s 5m0s 3 b 10 1m0s 5m0s 1 c 0 30s 5m0s 3 d 10 30s 5m0s 3")
	f("{circuit_breaker: {<<: {half_open: 7}}}", "0.8 {vegas 2 4096 0} tenant 50 false", "a 10 30s 5m0s 7 b 10 1m0s 5m0s 1 c 0 30s 5m0s 7 d 10 30s 5m0s 7")
	c = changed // on top of one another
	const before = "a 10 30s 5m0s 3 b 10 1m0s 5m0s 1 c 0 30s 5m0s 3 d 10 30s 5m0s 3"
	out, err := c.WithBackpressure([]byte(`{"circuit_breaker": {"failure_threshold": 4}, "load_shedding": null}`))
	if err != nil || breakers(c) != before || out.Backpressure.LoadShedding != nil || out.Backpressure.LoadThreshold != 0.7 || out.Pools[0].Breaker.FailureThreshold != 4 || out.Pools[2].Breaker.FailureThreshold != 0 {
		t.Errorf("got %v, %+v", err, out)
	}
	more, err := changed.With(bodies(`{"name": "p", "limit": 5}`))
	if err != nil || more.Backpressure != changed.Backpressure {
		t.Errorf("got %v, %+v", err, more)
	}
	plain, err := mustParse(t, "pools: [{name: a, demo: {}}]").WithBackpressure([]byte("{load_threshold: 0.5}"))
	if err != nil || plain.Backpressure.LoadThreshold != 0.5 || plain.Backpressure.Queue.MaxLength != 1024 {
		t.Errorf("got %v, %+v", err, plain)
	}
}

func TestWithBackpressureFaults(t *testing.T) {
	c := mustParse(t, pressured)
	f := func(want, text string) {
		t.Helper()
		out, err := c.WithBackpressure([]byte(text))
		var faults Faults
		if out != nil || !errors.As(err, &faults) {
			t.Errorf("%q: got %v, %v", text, out, err)
		} else if got := err.Error(); got != want {
			t.Errorf("%q: got\n%s\nwant\n%s", text, got, want)
		}
	}
	const write = `write for example {"load_threshold": 0.8, "load_shedding": {"shedding_rate": 0.1}}`
	f("body:1:1: the text is empty: "+write, "")
	f("body:1:1: the text is empty: "+write, "null")
	f("body:1:1: a list where the keys of a backpressure section are wanted: "+write, "[]")
	f("body:1:1: the text has 65537 bytes: a backpressure section has at most 64KiB", "#"+strings.Repeat(" ", 64<<10))
	f("body:2:1: a second document starts here: one text holds one backpressure section: remove the line ---", "global: true\n---\nglobal: true\n")
	f("body:1:25: the alias *a: aliases are not taken here, write out what it stands for", "{queue: &a {}, signals: *a}")
	f(`body:1:2: unknown key "load_treshold": did you mean load_threshold?`+"\n"+
		`body:2:18: queue.by: there is no dimension "tenat": did you mean tenant?`+"\n"+
		`body:3:54: load_shedding.priority_levels[0].level: 0 is critical, which is never shed: write 1 (high), 2 (normal) or 3 (low), or leave the level out`,
		"{\"load_treshold\": 0.5,\n \"queue\": {\"by\": \"tenat\"},\n\"load_shedding\": {\"priority_levels\": [{   \"level\":   0, \"multiplier\": 1}]}}")
	f(`body:1:46: signals.cpu: "${CPU}" is not a percentage: write for example 20%, or off`, `{"signals": {"memory": "off",         "cpu": "${CPU}"}}`)
	f(`body:1:34: concurrency: unknown key "min_": did you mean min?`, "{concurrency: {algorithm: vegas, min_: 1}}")
	f(`body:1:19: circuit_breaker.max_timeout: 5m is less than timeout, 10m: write as much or more`, `{circuit_breaker: {timeout: 10m}}`)
	f(`body:1:19: circuit_breaker: with it and what the pool "b" gives itself, its breaker.max_timeout, 30s is less than timeout, 1m: write as much or more`,
		`{circuit_breaker: {timeout: 1s, max_timeout: 30s}}`)
	f("body:1:11: signals: every signal is off, so load is always 0 and load_shedding and degrade never begin: leave one of them on",
		`{signals: {cpu: off, memory: off, queue_delay: off, inflight: off}, load_shedding: {}}`)
}

func TestParseBackpressure(t *testing.T) {
	b, err := ParseBackpressure([]byte(`{"queue": {"by": "who knows"}, "load_shedding": {}}`))
	if err != nil || b.Queue.By != "who knows" || b.LoadThreshold != 0.8 || len(b.LoadShedding.PriorityLevels) != 3 {
		t.Errorf("got %+v, %v", b, err)
	}
	if b, err := ParseBackpressure([]byte(`{"queue": {"weights": [{"value": "x", "weight": 1}]}}`)); err == nil {
		t.Errorf("got %+v", b)
	}
	if b, err := ParseBackpressure(nil); err == nil {
		t.Errorf("got %+v", b)
	}
}

// TestPressureOfTheAPIIsAsOfTheFile: what View shows, given to the API, is the same as in the file, to the pools too.
func TestPressureOfTheAPIIsAsOfTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const head = "listeners: [{name: web, address: \":8000\"}]\npools: [{name: a, demo: {}}, {name: b, demo: {}, breaker: {timeout: 1ms}}]\n"
		section := drawPressure(t)
		if section == nil {
			section = map[string]any{}
		}
		text, err := yaml.Marshal(map[string]any{"backpressure": section})
		if err != nil {
			t.Fatal(err)
		}
		file, err := Parse("file", []byte(head+string(text)), noEnv)
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		shown, err := json.Marshal(file.Backpressure.View())
		if err != nil {
			t.Fatal(err)
		}
		was, err := Parse("was", []byte(head+"backpressure: {load_threshold: 0.1, queue: {max_wait: 10s, aging: 9s}, load_shedding: {}, circuit_breaker: {half_open: 77}}\n"), noEnv)
		if err != nil {
			t.Fatal(err)
		}
		for key, base := range map[string]*Config{"the same": file, "another": was} {
			text := shown
			for _, absent := range []string{"load_shedding", "circuit_breaker"} { // what View leaves out
				if !strings.Contains(string(shown), `"`+absent+`"`) {
					text = append([]byte(`{"`+absent+`":null,`), text[1:]...)
				}
			}
			got, err := base.WithBackpressure(text)
			if err != nil {
				t.Fatalf("%s: %v in %s", key, err, text)
			}
			if diff := cmp.Diff(file, got, cmpopts.IgnoreUnexported(Config{}, Policy{}, Pool{}), cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%s: %s in %s", key, diff, text)
			}
		}
	})
}

// drawPressure returns a valid backpressure section, or nil.
func drawPressure(t *rapid.T) any {
	draw := func(label string, values ...any) any { return rapid.SampledFrom(values).Draw(t, label) }
	maybe := func(label string) bool { return rapid.Bool().Draw(t, label) }
	if !maybe("backpressure") {
		return nil
	}
	b := map[string]any{"load_threshold": draw("threshold", 0.8, 1, "33.3%", 0.123456789012, nil), "global": draw("global", true, false, nil)}
	if maybe("signals") {
		b["signals"] = map[string]any{"cpu": draw("cpu", "off", "1%", "99.9%"), "memory": draw("memory", "off", nil), "queue_delay": draw("delay", "off", "1ms", "1m"), "inflight": draw("inflight", "auto", 1, 1000)}
	}
	if maybe("shedding") {
		levels := []any{}
		for i, n := range rapid.Permutation([]int{1, 2, 3}).Draw(t, "levels")[:rapid.IntRange(0, 3).Draw(t, "n")] {
			multipliers := []any{1, 0.3, "5%", 1e-7, 0}
			levels = append(levels, map[string]any{"level": n, "multiplier": draw(fmt.Sprint("multiplier", i), multipliers[:4+min(i, 1)]...)}) // not all 0
		}
		b["load_shedding"] = map[string]any{"shedding_rate": draw("rate", 0, 0.1, 1, nil), "priority_levels": levels}
	}
	if maybe("concurrency") {
		b["concurrency"] = map[string]any{"algorithm": draw("algorithm", "gradient", "vegas", "aimd"), "min": draw("min", 1, 8), "max": draw("max", 8, 9), "initial": draw("initial", "auto", 8, nil)}
	}
	if maybe("queue") {
		b["queue"] = map[string]any{"by": draw("by", "ip", "path"), "weights": draw("weights", nil, []any{map[string]any{"value": "a b", "weight": 7}}), "max_wait": draw("wait", "0s", "3s"), "max_length": draw("length", 0, 7, nil), "aging": draw("aging", nil, 0, "2s")}
	}
	if maybe("degrade") {
		b["degrade"] = []any{map[string]any{"at": draw("at", 0.01, "50%"), "disable": draw("off", []string{"mirror"}, []string{"retries", "access_log"})}, map[string]any{"at": draw("then", 0.51, 1), "disable": []string{"ratelimit_headers"}}}
	}
	if s, ok := b["signals"].(map[string]any); ok && b["load_shedding"] == nil && b["degrade"] == nil {
		s["inflight"] = draw("nothing goes by it", "auto", "off")
	}
	if maybe("circuit") {
		b["circuit_breaker"] = map[string]any{"failure_threshold": draw("failures", 0, 7, nil), "timeout": draw("circuit timeout", "1s", nil)}
	}
	return b
}

// drawShaping returns rules for the route r, or none.
func drawShaping(t *rapid.T) any {
	draw := func(label string, values ...any) any { return rapid.SampledFrom(values).Draw(t, label) }
	if !rapid.Bool().Draw(t, "shaping") {
		return nil
	}
	return []any{map[string]any{
		"name": "s", "routes": draw("shaped", nil, []string{"r"}), "by": draw("flows", "ip", "", nil), "download": draw("down", "1KiB", "10MiB"), "upload": draw("up", 0, "400MiB"),
		"burst": draw("burst", nil, "4MiB", "5MiB"), "total_download": draw("total", "10MiB", "11MiB"), "guarantee": draw("guarantee", 0, 1, "1KiB"),
	}}
}

// FuzzWithBackpressure gives any text: no panic, places inside it, and what is taken can be shown and taken again.
func FuzzWithBackpressure(f *testing.F) {
	c, err := Parse("x", []byte("listeners: [{name: web, address: \":8000\"}]\n"+pressured), noEnv)
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		`{"load_threshold":0.8,"circuit_breaker":{"failure_threshold":10,"recovery_threshold":5,"timeout":"30s"},"load_shedding":{"shedding_rate":0.1,"priority_levels":[{"level":1,"multiplier":0.1}]}}`,
		"queue: {by: tenant, weights: [{value: gold, weight: 4}]}\n", "{<<: {global: false}, signals: {cpu: off}}", "concurrency: {algorithm: gradient, min: 5, max: 4}", "degrade: [{at: 1e-1, disable: [mirror]}, {at: .2}]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		out, err := c.WithBackpressure(text)
		if err != nil {
			checkFaults(t, text, err)
			return
		}
		again, err := json.Marshal(out.Backpressure.View())
		if err != nil {
			t.Fatal(err)
		}
		same, err := out.WithBackpressure(again)
		if err != nil || same.Hash() != out.Hash() {
			t.Fatalf("%v in\n%s", err, again)
		}
	})
}
