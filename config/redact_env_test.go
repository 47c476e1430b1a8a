package config

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRedactedShowsVariablesNotValues: a header value is where people put the token of an upstream.
func TestRedactedShowsVariablesNotValues(t *testing.T) {
	const text = `
listeners: [{name: web, address: ":8000"}]
pools: [{name: up, endpoints: [{address: "127.0.0.1:1"}]}]
routes: [{name: all, pool: up, request: {set: [{name: authorization, value: "Bearer ${UPSTREAM_TOKEN}"}]}}]
`
	c, err := Parse("c.yaml", []byte(text), func(string) (string, bool) { return "s3cr3t-token", true })
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(c.Redacted())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(b), "s3cr3t") || !strings.Contains(string(b), "Bearer ${UPSTREAM_TOKEN}") {
		t.Errorf("%s", b)
	}
	if got := c.Routes[0].Request.Set[0].Value; got != "Bearer s3cr3t-token" {
		t.Errorf("in force: %q", got)
	}
}
