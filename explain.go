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
	if e.Priority != "" && e.Priority != "normal" {
		fmt.Fprintf(w, "priority\t%s\n", e.Priority)
	}
	for i := range e.Policies {
		fmt.Fprintf(w, "policy\t%s\n", policyLine(&e.Policies[i]))
	}
	for _, p := range e.Pools {
		panics := ""
		if p.Panic {
			panics = ", panic: all are used"
		}
		fmt.Fprintf(w, "pool\t%s (%.0f%%): %d of %d endpoints healthy%s; %d of %d seats in use, %d waiting; %d of %d tunnels\n", p.Pool, 100*p.Share, p.Healthy, len(p.Endpoints), panics, p.InUse, p.Seats, p.Waiting, p.Tunnels, p.MaxTunnels)
		if line := queueLine(&p.Queue); line != "" {
			fmt.Fprintf(w, "queue\t%s\n", line)
		}
		if c := p.Call; c != nil {
			fmt.Fprintf(w, "grpc\tdeadline %s; retries %s; failures %s\n", c.Deadline, c.Retries, c.Failures)
		}
		for _, ep := range p.Endpoints {
			fmt.Fprintf(w, "endpoint\t%s: %s, breaker %s, %d in flight, %d tunnels\n", ep.Endpoint, ep.State, ep.Breaker, ep.InFlight, ep.Tunnels)
		}
	}
	if st := e.Stream; st != nil {
		fmt.Fprintf(w, "stream\tseat %s; idle timeout %s; longest life %s\n", st.Seat, st.Idle, st.Lifetime)
	}
	if e.Cache != "" {
		fmt.Fprintf(w, "cache\t%s\n", e.Cache)
	}
	for _, c := range e.Changes {
		fmt.Fprintf(w, "changes\t%s\n", c)
	}
	if e.Answer != "" {
		fmt.Fprintf(w, "answer\t%s\n", e.Answer)
	}
	if e.Upstream != "" {
		fmt.Fprintf(w, "upstream\t%s\n", e.Upstream)
	}
	if e.Refusal != "" {
		fmt.Fprintf(w, "grpc\trefusals %s\n", e.Refusal)
	}
	if e.Status != 0 {
		fmt.Fprintf(w, "verdict\t%s: %d, %s\n", e.Verdict, e.Status, e.Detail)
	} else {
		fmt.Fprintf(w, "verdict\t%s\n", e.Verdict)
	}
	return w.Flush()
}

// queueLine says what would become of a request before a pool; nothing if it would be served at once.
func queueLine(q *gateway.ExplainedQueue) string {
	line := ""
	switch {
	case q.Refused != "":
		line = fmt.Sprintf("would be refused: %s, %d are served before it", q.Refused, q.Before)
	case !q.AtOnce && q.WaitMS < 0:
		line = fmt.Sprintf("would wait: %d are served before it", q.Before)
	case !q.AtOnce:
		line = fmt.Sprintf("would wait about %.0f ms: %d are served before it", q.WaitMS, q.Before)
	}
	if q.Shed > 0 {
		if line != "" {
			line += "; "
		}
		line += fmt.Sprintf("%.0f%% of its priority are shed", 100*q.Shed)
	}
	return line
}

// policyLine says what a policy means for a request.
func policyLine(p *gateway.ExplainedPolicy) string {
	if !p.Applies {
		return fmt.Sprintf("%s: does not apply: %s", p.Policy, p.Why)
	}
	of := fmt.Sprintf("%d per %s", p.Limit, p.Window)
	if p.Window == "" {
		of = fmt.Sprintf("%d at once", p.Limit)
	}
	if p.Override != "" {
		of += ", as " + p.Override
	}
	if p.Cost != 1 {
		of += fmt.Sprintf("; costs %d", p.Cost)
	}
	how := p.Mode
	if p.Action != "reject" {
		how += ", " + p.Action
	}
	switch {
	case p.Allowed && p.WaitMS > 0:
		return fmt.Sprintf("%s (%s): allows after %d ms, %d of %d left (%s)", p.Policy, how, p.WaitMS, p.Remaining, p.Burst, of)
	case p.Allowed:
		return fmt.Sprintf("%s (%s): allows, %d of %d left (%s)", p.Policy, how, p.Remaining, p.Burst, of)
	case p.RetryAfterMS == -1:
		return fmt.Sprintf("%s (%s): refuses until others are done (%s)", p.Policy, how, of)
	case p.RetryAfterMS == -2:
		return fmt.Sprintf("%s (%s): refuses, as more is asked for than it ever allows (%s)", p.Policy, how, of)
	}
	return fmt.Sprintf("%s (%s): refuses, next in %d ms (%s)", p.Policy, how, p.RetryAfterMS, of)
}
