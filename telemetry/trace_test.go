package telemetry

import (
	"bytes"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"
)

const (
	aTrace  = "0af7651916cd43dd8448eb211c80319c"
	aParent = "b7ad6b7169203331"
)

func TestParseTraceparent(t *testing.T) {
	f := func(s string, want bool) {
		t.Helper()
		trace, parent, flags, ok := ParseTraceparent(s)
		if ok != want {
			t.Errorf("%q: %v", s, ok)
		}
		if ok && (hex.EncodeToString(trace[:]) != aTrace || hex.EncodeToString(parent[:]) != aParent || flags != 1) {
			t.Errorf("%q: %x %x %x", s, trace, parent, flags)
		}
		if !ok && (trace != [16]byte{} || parent != [8]byte{} || flags != 0) {
			t.Errorf("%q: invalid, and yet %x %x %x", s, trace, parent, flags)
		}
	}
	good := "00-" + aTrace + "-" + aParent + "-01"
	f(good, true)
	f("", false)
	f(good[:54], false)
	f(good+"-", false)
	f(good+"-x", false)
	f(good+" ", false)
	f(" "+good, false)
	f("01"+good[2:], true)
	f("01"+good[2:]+"-later", true)
	f("cc"+good[2:]+"-", true)
	f("cc"+good[2:]+".later", false)
	f("ff"+good[2:], false)
	f("FE"+good[2:], false)
	f("0g"+good[2:], false)
	f(strings.ToUpper(good), false)
	f("00-"+strings.Repeat("0", 32)+"-"+aParent+"-01", false)
	f("00-"+aTrace+"-"+strings.Repeat("0", 16)+"-01", false)
	f("00_"+aTrace+"-"+aParent+"-01", false)
	f("00-"+aTrace+"_"+aParent+"-01", false)
	f("00-"+aTrace+"-"+aParent+"_01", false)
	f("00-"+aTrace+"-"+aParent+"-0x", false)
	f("00-"+aTrace[:31]+"é"+aParent+"-01", false)
}

var traceparent = regexp.MustCompile(`^([0-9a-e][0-9a-f]|f[0-9a-e])-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$`)

// FuzzTraceparent compares with the grammar as a regular expression, and back.
func FuzzTraceparent(f *testing.F) {
	f.Add("00-" + aTrace + "-" + aParent + "-01")
	f.Add("42-" + aTrace + "-" + aParent + "-ff-what-comes")
	f.Add("00-" + strings.Repeat("0", 32) + "-" + aParent + "-01")
	f.Fuzz(func(t *testing.T, s string) {
		trace, parent, flags, ok := ParseTraceparent(s)
		m := traceparent.FindStringSubmatch(s)
		want := m != nil && strings.Trim(m[2], "0") != "" && strings.Trim(m[3], "0") != "" && (s[:2] != "00" || len(s) == 55)
		if strings.ContainsAny(s, "\n") {
			return // the regular expression's dot stops there
		}
		if ok != want {
			t.Fatalf("%q: %v, want %v", s, ok, want)
		}
		if ok && string(AppendTraceparent(nil, trace, parent, flags))[2:] != s[2:55] {
			t.Fatalf("%q does not come back", s)
		}
	})
}

func TestIDsAreNewAndWellFormed(t *testing.T) {
	seen := make(map[string]bool)
	for range 10_000 {
		id := string(AppendRequestID([]byte("x")))
		if len(id) != 33 || seen[id] {
			t.Fatalf("%q", id)
		}
		seen[id] = true
		trace, span := NewTraceID(), NewSpanID()
		gotTrace, gotSpan, _, ok := ParseTraceparent(string(AppendTraceparent(nil, trace, span, 0)))
		if !ok || gotTrace != trace || gotSpan != span || seen[string(trace[:])] || seen[string(span[:])] {
			t.Fatalf("%x %x", trace, span)
		}
		seen[string(trace[:])], seen[string(span[:])] = true, true
	}
}

func TestTraceDoesNotAllocate(t *testing.T) {
	buf := make([]byte, 0, 128)
	in := "00-" + aTrace + "-" + aParent + "-01"
	if n := testing.AllocsPerRun(1000, func() {
		trace, _, flags, _ := ParseTraceparent(in)
		buf = AppendTraceparent(buf[:0], trace, NewSpanID(), flags)
		buf = AppendRequestID(buf[:0])
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTraceparent(b *testing.B) {
	buf := make([]byte, 0, 128)
	in := "00-" + aTrace + "-" + aParent + "-01"
	b.ReportAllocs()
	for b.Loop() {
		trace, _, flags, _ := ParseTraceparent(in)
		buf = AppendTraceparent(buf[:0], trace, NewSpanID(), flags)
	}
}

func BenchmarkRequestID(b *testing.B) {
	buf := make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendRequestID(buf[:0])
	}
}

func TestLogger(t *testing.T) {
	var b bytes.Buffer
	log, level := NewLogger("warn", "json", &b)
	log.Info("no")
	log.Warn("yes")
	if err := level.UnmarshalText([]byte("debug")); err != nil {
		t.Fatal(err)
	}
	log.Debug("now")
	if s := b.String(); strings.Contains(s, `"no"`) || !strings.Contains(s, `"msg":"yes"`) || !strings.Contains(s, `"msg":"now"`) {
		t.Error(s)
	}
	b.Reset()
	log, _ = NewLogger("debug", "text", &b)
	log.Debug("yes", "k", "a\nb")
	if s := b.String(); !strings.Contains(s, `level=DEBUG msg=yes k="a\nb"`) {
		t.Error(s)
	}
	for _, bad := range [][2]string{{"loud", "text"}, {"info", "xml"}} {
		func() {
			defer func() {
				if p, _ := recover().(string); !strings.HasPrefix(p, "BUG: ") {
					t.Errorf("%v: %v", bad, p)
				}
			}()
			NewLogger(bad[0], bad[1], &b)
		}()
	}
}

func TestAppendHex(t *testing.T) {
	for b := range 256 {
		for i := range 16 {
			id := [16]byte{1, 0x9a, 0xaf, 0xf9}
			id[i] = byte(b)
			if got, want := string(appendHex([]byte("."), id)), "."+hex.EncodeToString(id[:]); got != want {
				t.Errorf("%s, not %s", got, want)
			}
		}
	}
}
