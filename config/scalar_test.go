package config

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestParseDuration(t *testing.T) {
	f := func(text string, want time.Duration, shown string) {
		t.Helper()
		got, problem := parseDuration(text)
		if problem != "" || got != want || formatDuration(got) != shown {
			t.Errorf("%s: got %v (%s) %s", text, got, formatDuration(got), problem)
		}
	}
	f("250ms", 250*time.Millisecond, "250ms")
	f("5s", 5*time.Second, "5s")
	f("1m", time.Minute, "1m")
	f("90s", 90*time.Second, "1m30s")
	f("24h", 24*time.Hour, "24h")
	f("1h30m", 90*time.Minute, "1h30m")
	f("1h0m5s", time.Hour+5*time.Second, "1h0m5s")
	f("10m", 10*time.Minute, "10m")
	f("10h", 10*time.Hour, "10h")
	f("0", 0, "0s")
	f("0s", 0, "0s")
	f("1.5s", 1500*time.Millisecond, "1.5s")
}

func TestParseSize(t *testing.T) {
	f := func(text string, want Size, shown string) {
		t.Helper()
		got, problem := parseSize(text)
		if problem != "" || got != want || got.String() != shown {
			t.Errorf("%s: got %d (%s) %s", text, got, got, problem)
		}
	}
	f("0", 0, "0")
	f("512", 512, "512")
	f("512B", 512, "512")
	f("1024", 1<<10, "1KiB")
	f("16KiB", 16<<10, "16KiB")
	f("1536KiB", 1536<<10, "1536KiB")
	f("10MiB", 10<<20, "10MiB")
	f("1GiB", 1<<30, "1GiB")
	f("3TiB", 3<<40, "3TiB")
}

func TestParsePercent(t *testing.T) {
	f := func(text string, want float64, shown string) {
		t.Helper()
		got, problem := parsePercent(text)
		if problem != "" || float64(got) != want || got.String() != shown {
			t.Errorf("%s: got %v (%s) %s", text, float64(got), got, problem)
		}
	}
	f("0", 0, "0%")
	f("0%", 0, "0%")
	f("20%", 0.2, "20%")
	f("7%", 0.07, "7%")
	f("12.5%", 0.125, "12.5%")
	f("0.001%", 0.00001, "0.001%")
	f("100%", 1, "100%")
}

// TestScalarsReadBack formats any value and reads it: the same.
func TestScalarsReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Min(0).Draw(t, "duration"))
		if got, problem := parseDuration(formatDuration(d)); got != d || problem != "" {
			t.Fatalf("%v became %v %s", d, got, problem)
		}
		s := Size(rapid.Int64Min(0).Draw(t, "size"))
		if got, problem := parseSize(s.String()); got != s || problem != "" {
			t.Fatalf("%v became %v %s", s, got, problem)
		}
		p := Percent(float64(rapid.IntRange(0, 100_000).Draw(t, "share")) / 1000 / 100)
		if got, problem := parsePercent(p.String()); got != p || problem != "" {
			t.Fatalf("%v became %v %s", float64(p), float64(got), problem)
		}
	})
}

func TestExpand(t *testing.T) {
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"A": "1", "EMPTY": "", "NESTED": "${A}"}[name]
		return v, ok
	}
	f := func(text, template, want string) {
		t.Helper()
		if got, problem := expand(text, env, template); got != want || problem != "" {
			t.Errorf("%q (%s): got %q %s", text, template, got, problem)
		}
	}
	f("plain $ {} $5", "", "plain $ {} $5")
	f("${A}", "", "1")
	f("a${A}b${A}", "", "a1b1")
	f("${B:-x y}", "", "x y")
	f("${B:-}", "", "")
	f("${EMPTY}", "", "")
	f("${EMPTY:-x}", "", "x")
	f("${A:-x}", "", "1")
	f("${NESTED}", "", "${A}") // what a variable holds is not expanded again
	f("$${A}", "", "${A}")
	f("$${a}${A}", "", "${a}1")
	f("$$${A}", "", "$${A}")
	f("${a} ${A}", "text", "${a} 1")
	f("$${A}", "text", "${A}")
	f("${open", "text", "${open")
	f("${a} $${A} ${A}", "dimensions", "${a} $${A} 1")
	refused := func(text string) {
		t.Helper()
		if got, problem := expand(text, env, ""); problem == "" || got != "" {
			t.Errorf("%q: got %q", text, got)
		}
	}
	refused("${B}")
	refused("${a}")
	refused("${}")
	refused("${A")
	refused("${1A}")
	refused("${A:x}")
}

func TestNearest(t *testing.T) {
	known := []string{"endpoints", "health", "balance", "p2c", "api"}
	f := func(name, want string) {
		t.Helper()
		if got := nearest(name, known); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	f("endpoint", "endpoints")
	f("Endpoints", "endpoints")
	f("helth", "health")
	f("haelth", "health")
	f("blaance", "balance")
	f("ap", "api")
	f("pc2", "p2c")
	f("colour", "")
	f("x", "")
	f("", "")
}

// TestDistanceIsAMetric holds distance to what its definition says, against every pair drawn.
func TestDistanceIsAMetric(t *testing.T) {
	word := rapid.StringMatching(`[ab]{0,6}`)
	rapid.Check(t, func(t *rapid.T) {
		a, b := word.Draw(t, "a"), word.Draw(t, "b")
		d := distance(a, b)
		if d != distance(b, a) || (d == 0) != (a == b) || d > max(len(a), len(b)) || d < max(len(a)-len(b), len(b)-len(a)) {
			t.Fatalf("%q and %q are %d apart, back %d", a, b, d, distance(b, a))
		}
	})
}

func TestAddresses(t *testing.T) {
	at := func(text string) address {
		t.Helper()
		a, problem := parseAddress(text, false)
		if problem != "" {
			t.Fatal(problem)
		}
		return a
	}
	collide := func(a, b string, want bool) {
		t.Helper()
		if at(a).collides(at(b)) != want || at(b).collides(at(a)) != want {
			t.Errorf("%s and %s: want %t", a, b, want)
		}
	}
	collide(":80", ":80", true)
	collide(":80", ":81", false)
	collide(":80", "127.0.0.1:80", true)
	collide("0.0.0.0:80", "[::]:80", true)
	collide("127.0.0.1:80", "localhost:80", true)
	collide("127.0.0.1:80", "[::ffff:127.0.0.1]:80", true)
	collide("127.0.0.1:80", "127.0.0.2:80", false)
	collide(":0", ":0", false)
	loopback := func(text string, want bool) {
		t.Helper()
		if at(text).isLoopback() != want {
			t.Errorf("%s: want %t", text, want)
		}
	}
	loopback("127.0.0.1:80", true)
	loopback("127.8.9.1:80", true)
	loopback("[::1]:80", true)
	loopback("[::ffff:127.0.0.1]:80", true)
	loopback("localhost:80", true)
	loopback(":80", false)
	loopback("0.0.0.0:80", false)
	loopback("[::]:80", false)
	loopback("localhost.example.com:80", false)
}

func TestParseStatuses(t *testing.T) {
	got, err := ParseStatuses("200, 204,300-399")
	if err != nil || len(got) != 3 || got[1] != (StatusRange{204, 204}) || got[2] != (StatusRange{300, 399}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "2xx", "99", "600", "200-", "-200", "300-200", "200,", "+200", "0200"} {
		if got, err := ParseStatuses(text); err == nil {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

func TestParseRatio(t *testing.T) {
	f := func(text string, want float64) {
		t.Helper()
		if got, problem := parseRatio(text); problem != "" || float64(got) != want {
			t.Errorf("%s: got %v (%s)", text, float64(got), problem)
		}
	}
	f("0", 0)
	f("1", 1)
	f("0.8", 0.8)
	f(".5", 0.5)
	f("1e-3", 0.001)
	f("80%", 0.8)
	f("100%", 1)
	for _, text := range []string{"", "-0.1", "1.01", "80", "101%", "0x1p-2", "nan", "inf", "1e999", "a", "0,8", "5 %"} {
		if got, problem := parseRatio(text); problem == "" {
			t.Errorf("%q: got %v", text, float64(got))
		}
	}
	if got, _ := parseRatio("-0"); math.Signbit(float64(got)) {
		t.Error("-0 stays")
	}
}
