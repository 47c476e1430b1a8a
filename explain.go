package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"weir/gateway"
)

// printExplanation writes an explanation for people.
func printExplanation(out io.Writer, e *gateway.Explanation) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "request\t%s %s%s from %s\n", e.Method, e.Host, e.Path, e.Client)
	for _, r := range e.Considered {
		why := "matches"
		if !r.Matched {
			why = "no: " + r.Why
		}
		fmt.Fprintf(w, "route\t%s: %s\n", r.Route, why)
	}
	for _, name := range slices.Sorted(maps.Keys(e.Dimensions)) {
		fmt.Fprintf(w, "dimension\t%s = %s\n", name, e.Dimensions[name])
	}
	for _, p := range e.Policies {
		switch {
		case !p.Applies:
			fmt.Fprintf(w, "policy\t%s: does not apply: %s\n", p.Policy, p.Why)
		case p.Allowed:
			fmt.Fprintf(w, "policy\t%s (%s): allows, %d of %d left (%d per %s)\n", p.Policy, p.Mode, p.Remaining, p.Burst, p.Limit, p.Window)
		default:
			fmt.Fprintf(w, "policy\t%s (%s): refuses, next in %d ms (%d per %s)\n", p.Policy, p.Mode, p.RetryAfterMS, p.Limit, p.Window)
		}
	}
	for _, p := range e.Pools {
		panics := ""
		if p.Panic {
			panics = ", panic: all are used"
		}
		fmt.Fprintf(w, "pool\t%s (%.0f%%): %d of %d endpoints healthy%s; %d of %d seats in use, %d waiting\n", p.Pool, 100*p.Share, p.Healthy, len(p.Endpoints), panics, p.InUse, p.Seats, p.Waiting)
		for _, ep := range p.Endpoints {
			fmt.Fprintf(w, "endpoint\t%s: %s, breaker %s, %d in flight\n", ep.Endpoint, ep.State, ep.Breaker, ep.InFlight)
		}
	}
	if e.Answer != "" {
		fmt.Fprintf(w, "answer\t%s\n", e.Answer)
	}
	if e.Upstream != "" {
		fmt.Fprintf(w, "upstream\t%s\n", e.Upstream)
	}
	if e.Status != 0 {
		fmt.Fprintf(w, "verdict\t%s: %d, %s\n", e.Verdict, e.Status, e.Detail)
	} else {
		fmt.Fprintf(w, "verdict\t%s\n", e.Verdict)
	}
	return w.Flush()
}
