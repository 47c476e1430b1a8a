package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
)

// Bounds on checks.
const (
	maxChecks = 1000          // in one call
	maxBatch  = 1 << 20       // bytes of a body
	maxTokens = 1_000_000_000 // that one check may ask for
	maxKey    = 1 << 10       // bytes of a key
)

// CheckRequest asks whether somebody may spend. Metadata gives dimensions their values, and endpoint is the path.
type CheckRequest struct {
	Key      string            `json:"key"`              // who: 1 to 1,024 bytes
	Tokens   *int64            `json:"tokens,omitempty"` // 0 to 1,000,000,000; nil: 1; 0 spends nothing and tells what is left
	Metadata map[string]string `json:"metadata,omitempty"`
}

// spends reports whether the answer may change what is left.
func (c *CheckRequest) spends() bool { return c.Tokens == nil || *c.Tokens > 0 }

// CheckResult is the answer: of all policies together, and of each. Limit, Remaining and ResetAfterMS are those of the
// tightest. Key is filled in by the Server.
type CheckResult struct {
	Allowed      bool            `json:"allowed"`
	Key          string          `json:"key"`
	Limit        int64           `json:"limit"`
	Remaining    int64           `json:"remaining"`
	ResetAfterMS int64           `json:"reset_after_ms"`
	RetryAfterMS int64           `json:"retry_after_ms"`    // 0: allowed; -1: when others are done; -2: it never will be
	WaitMS       int64           `json:"wait_ms,omitempty"` // allowed, after this long: a policy with action: queue
	Reason       string          `json:"reason"`
	Decisions    []CheckDecision `json:"decisions"`
	Unknown      []string        `json:"unknown,omitempty"` // names in the metadata that no dimension has, which mean nothing
}

// CheckDecision is what one policy says. Level is its depth: 0 without a parent.
type CheckDecision struct {
	Policy    string `json:"policy"`
	Level     int    `json:"level"`
	Allowed   bool   `json:"allowed"`
	Limit     int64  `json:"limit"`
	Remaining int64  `json:"remaining"`
	Mode      string `json:"mode"`
	Action    string `json:"action,omitempty"` // if another than reject
}

// check answers one check, or many in one body. Either all of them are carried out or, after a fault in any, none.
func (s *Server) check(w http.ResponseWriter, r *http.Request) {
	body, ok := read(w, r, maxBatch, "application/json")
	if !ok {
		return
	}
	checks, many, p := parseChecks(body)
	if p != nil {
		answerProblem(w, *p)
		return
	}
	for i := range checks {
		if err := s.controller.CheckFault(checks[i]); err != nil {
			path := "metadata"
			if many {
				path = fmt.Sprintf("checks[%d].metadata", i)
			}
			answerProblem(w, problem{Status: http.StatusUnprocessableEntity, Detail: "Nothing was spent.", Faults: []fault{{Path: path, Message: err.Error()}}})
			return
		}
	}
	if who(r).role < checker {
		for i := range checks {
			if checks[i].spends() {
				s.forbid(w, r, `may only look, with "tokens": 0; to spend`, "checker or admin")
				return
			}
		}
	}
	results := make([]CheckResult, len(checks))
	for i, c := range checks {
		results[i] = s.controller.Check(c)
		results[i].Key = c.Key
		if results[i].Decisions == nil {
			results[i].Decisions = []CheckDecision{}
		}
	}
	if many {
		answerJSON(w, map[string][]CheckResult{"results": results})
		return
	}
	one, status := &results[0], http.StatusOK
	if !one.Allowed {
		status = http.StatusTooManyRequests
		if one.RetryAfterMS > 0 {
			w.Header().Set("Retry-After", strconv.FormatInt((one.RetryAfterMS-1)/1000+1, 10))
		}
	}
	send(w, status, "application/json", one)
}

// checkBody is a check as it is sent.
type checkBody struct {
	Key      *string           `json:"key"`
	Tokens   *int64            `json:"tokens"`
	Metadata map[string]scalar `json:"metadata"`
}

// parseChecks returns the checks of a body and whether they stood in a list, or what is wrong with it.
func parseChecks(body []byte) (checks []CheckRequest, many bool, p *problem) {
	var form struct {
		Key      *string           `json:"key"`
		Tokens   *int64            `json:"tokens"`
		Metadata map[string]scalar `json:"metadata"`
		Checks   json.RawMessage   `json:"checks"`
	}
	if err := decode(body, &form); err != nil {
		return nil, false, &problem{Status: http.StatusBadRequest, Detail: "The body is not what this call takes.", Faults: []fault{place(body, err)}}
	}
	sent := []checkBody{{form.Key, form.Tokens, form.Metadata}}
	if many = form.Checks != nil; many {
		if form.Key != nil || form.Tokens != nil || form.Metadata != nil {
			return nil, true, &problem{Status: http.StatusBadRequest, Detail: "Send one check, with key, or a list of them in checks, not both."}
		}
		if sent, p = listOf(form.Checks); p != nil {
			return nil, true, p
		}
	}
	var faults []fault
	checks = make([]CheckRequest, len(sent))
	for i := range sent {
		path := ""
		if many {
			path = fmt.Sprintf("checks[%d].", i)
		}
		var wrong []fault
		checks[i], wrong = sent[i].request(path)
		faults = append(faults, wrong...)
	}
	if len(faults) > 0 {
		return nil, many, &problem{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("Nothing was spent: %s: %s.", faults[0].Path, faults[0].Message), Faults: faults}
	}
	return checks, many, nil
}

// listOf decodes a list, which is valid JSON, and no more of it than there may be.
func listOf(list []byte) ([]checkBody, *problem) {
	wrong := func(f fault) *problem {
		return &problem{Status: http.StatusBadRequest, Detail: "The body is not what this call takes.", Faults: []fault{f}}
	}
	d := json.NewDecoder(bytes.NewReader(list))
	d.DisallowUnknownFields()
	if begin, err := d.Token(); err != nil || begin != json.Delim('[') {
		return nil, wrong(fault{Path: "checks", Message: "must be a list of checks"})
	}
	var all []checkBody
	for d.More() {
		if len(all) == maxChecks {
			return nil, &problem{Status: http.StatusUnprocessableEntity, Detail: fmt.Sprintf("Nothing was spent: one call takes up to %d checks. Send several.", maxChecks)}
		}
		var c checkBody
		if err := d.Decode(&c); err != nil {
			f := fault{Path: fmt.Sprintf("checks[%d]", len(all)), Message: place(list, err).Message}
			if kind := (*json.UnmarshalTypeError)(nil); errors.As(err, &kind) {
				if f.Path += "." + kind.Field; kind.Field == "" {
					f.Path, f.Message = fmt.Sprintf("checks[%d]", len(all)), "must be a check, not "+kind.Value
				}
			}
			return nil, wrong(f)
		}
		all = append(all, c)
	}
	return all, nil
}

// request returns b as the controller takes it, and its faults with path before each field.
func (b *checkBody) request(path string) (c CheckRequest, faults []fault) {
	switch {
	case b.Key == nil || *b.Key == "":
		faults = append(faults, fault{Path: path + "key", Message: `is missing: write who spends, for example "user:12345"`})
	case len(*b.Key) > maxKey:
		faults = append(faults, fault{Path: path + "key", Message: fmt.Sprintf("has %d bytes, at most %d can be", len(*b.Key), maxKey)})
	default:
		c.Key = *b.Key
	}
	if b.Tokens != nil && (*b.Tokens < 0 || *b.Tokens > maxTokens) {
		faults = append(faults, fault{Path: path + "tokens", Message: fmt.Sprintf("must be 0 to %d, not %d", maxTokens, *b.Tokens)})
	}
	c.Tokens = b.Tokens
	c.Metadata = make(map[string]string, len(b.Metadata))
	for name, value := range b.Metadata {
		c.Metadata[name] = string(value)
	}
	return c, faults
}

// scalar is a string, a number or a bool of JSON, as text: numbers as they were written.
type scalar string

// UnmarshalJSON takes a string, a number or a bool.
func (v *scalar) UnmarshalJSON(b []byte) error {
	switch b[0] {
	case '"':
		var text string
		if err := json.Unmarshal(b, &text); err != nil {
			return err
		}
		*v = scalar(text)
		return nil
	case '{', '[', 'n':
		return errors.New("a value of metadata must be a string, a number or a bool")
	}
	*v = scalar(b)
	return nil
}
