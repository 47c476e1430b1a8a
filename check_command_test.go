package main

import (
	"strings"
	"testing"

	"weir/admin"
)

func TestPrintCheck(t *testing.T) {
	f := func(r admin.CheckResult, want string) {
		t.Helper()
		r.Key = "k"
		var b strings.Builder
		if err := printCheck(&b, &r); err != nil {
			t.Fatal(err)
		}
		if b.String() != want {
			t.Errorf("%+v: %q, want %q", r, b.String(), want)
		}
	}
	plan := []admin.CheckDecision{{Policy: "plan", Allowed: true, Limit: 50, Remaining: 99, Mode: "enforce"}, {Policy: "user", Level: 1, Limit: 5, Mode: "shadow"}}
	const lines = "policy   plan (enforce): allows, 99 left, limit 50\npolicy     user (shadow): refuses, 0 left, limit 5\n"
	f(admin.CheckResult{Allowed: true}, "allowed  k: no policy applies\n")
	f(admin.CheckResult{Allowed: true, Remaining: 99, Decisions: plan}, "allowed  k: 99 left\n"+lines)
	f(admin.CheckResult{Allowed: true, WaitMS: 7, Decisions: plan[:1]}, "allowed  k: 0 left\nwait     7 ms first\npolicy   plan (enforce): allows, 99 left, limit 50\n")
	f(admin.CheckResult{RetryAfterMS: 12}, "refused  k: next in 12 ms\n")
	f(admin.CheckResult{RetryAfterMS: -1}, "refused  k: until others are done\n")
	f(admin.CheckResult{RetryAfterMS: -2}, "refused  k: so much is never allowed at once\n")
	f(admin.CheckResult{Allowed: true, Unknown: []string{"usr"}, Decisions: []admin.CheckDecision{{Policy: "plan", Limit: 5, Mode: "enforce", Action: "tag"}}},
		"allowed  k: 0 left\npolicy   plan (enforce, tag): refuses, 0 left, limit 5\nnote     no dimension is called usr\n")
	f(admin.CheckResult{}, "refused  k\n")
}

func TestParseMetadata(t *testing.T) {
	f := func(want, wantErr, endpoint string, pairs ...string) {
		t.Helper()
		got, err := parseMetadata(pairs, endpoint)
		if err != nil {
			if wantErr == "" || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("%q: %v", pairs, err)
			}
			return
		}
		s := ""
		for _, name := range []string{"a", "b", "endpoint"} {
			if v, ok := got[name]; ok {
				s += name + "=" + v + ";"
			}
		}
		if s != want || wantErr != "" {
			t.Errorf("%q: %s", pairs, s)
		}
	}
	f("", "", "")
	f("a=1;b==2;endpoint=/x;", "", "/x", "a=1", "b==2")
	f("a=;", "", "", "a=")
	f("endpoint=/y;", "", "", "endpoint=/y")
	f("", "write name=value", "", "a")
	f("", "write name=value", "", "=1")
	f("", "a is given twice", "", "a=1", "a=1")
	f("", "endpoint is given twice", "/x", "endpoint=/y")
}
