package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"weir/admin"
	"weir/config"
	"weir/gateway"
)

// The policies that came by the API stand in app.extras, in memory: they outlive a reload, not a restart.

// maxExtras bounds them.
const maxExtras = 10_000

// change puts in force what edit makes of the policies of the API, or changes nothing.
func (a *app) change(edit func([]config.Extra) ([]config.Extra, error)) error {
	a.loading.Lock()
	defer a.loading.Unlock()
	extras, err := edit(slices.Clone(a.extras))
	if err != nil {
		return err
	}
	return a.apply(a.base, extras)
}

// merge returns base with extras, and gives each extra the name that its policy turned out to have. One more than there are is the
// common case, and quick.
func (a *app) merge(base *config.Config, extras []config.Extra) (conf *config.Config, err error) {
	same := func(a, b config.Extra) bool { return a.Name == b.Name && string(a.Text) == string(b.Text) }
	n := len(a.extras)
	switch now := a.conf.Load(); {
	case len(extras) == 0:
		return base, nil
	case now != nil && base == a.base && len(extras) == n+1 && slices.EqualFunc(extras[:n], a.extras, same):
		conf, err = now.With(extras[n:])
	default:
		conf, err = base.With(extras)
	}
	if err != nil {
		return nil, err
	}
	first := len(conf.Policies) - len(extras)
	for i := range extras {
		extras[i].Name = strings.Clone(conf.Policies[first+i].Name)
	}
	return conf, nil
}

// policy returns the policy of that name in conf, or nil.
func policy(conf *config.Config, name string) *config.Policy {
	for i := range conf.Policies {
		if conf.Policies[i].Name == name {
			return &conf.Policies[i]
		}
	}
	return nil
}

// show returns a policy for people, with where it comes from and whether it outlives a restart, and its etag.
func show(p *config.Policy) (view json.RawMessage, etag string, err error) {
	text, err := json.Marshal(p.View())
	if err != nil {
		return nil, "", err
	}
	source := `"source":"file","durable":true}`
	if p.FromAPI() {
		source = `"source":"api","durable":false}`
	}
	text = append(append(text[:len(text)-1], ','), source...)
	sum := sha256.Sum256(text)
	return text, hex.EncodeToString(sum[:12]), nil
}

// excess is how far a policy that gateways share may be exceeded, in units.
type excess struct {
	Bound float64 `json:"bound"` // at worst, while all gateways are in touch
	Seen  float64 `json:"seen"`  // the most that this gateway knows of
}

// withExcess adds to a view what stands beside the policy and changes by itself, so that it is no part of the etag.
func (a *app) withExcess(p *config.Policy, view json.RawMessage) json.RawMessage {
	bound, seen, shared := a.gw.Excess(p.Name)
	if !shared {
		return view
	}
	text, err := json.Marshal(excess{round(bound), round(seen)})
	if err != nil {
		return view
	}
	return slices.Concat(view[:len(view)-1], []byte(`,"excess":`), text, []byte("}"))
}

func round(units float64) float64 { return math.Round(units*100) / 100 }

func (c controller) Policies() any {
	conf := c.a.conf.Load()
	views := make([]json.RawMessage, 0, len(conf.Policies))
	for i := range conf.Policies {
		if view, _, err := show(&conf.Policies[i]); err == nil {
			views = append(views, c.a.withExcess(&conf.Policies[i], view))
		}
	}
	return views
}

func (c controller) Policy(name string) (any, string, error) {
	p := policy(c.a.conf.Load(), name)
	if p == nil {
		return nil, "", unknownPolicy(name)
	}
	view, etag, err := show(p)
	if err != nil {
		return nil, "", err
	}
	return c.a.withExcess(p, view), etag, nil
}

func unknownPolicy(name string) error {
	return fmt.Errorf("%w: there is no policy %q; GET /api/v1/policies lists what there is", admin.ErrNotFound, name)
}

func fromFile(name string) error {
	return fmt.Errorf("%w: the policy %s comes from the configuration file: change it there", admin.ErrConflict, name)
}

func (c controller) CreatePolicy(_ string, body []byte) (name string, view any, etag string, err error) {
	name = config.ExtraName(body)
	err = c.a.change(func(extras []config.Extra) ([]config.Extra, error) {
		if name != "" && policy(c.a.conf.Load(), name) != nil {
			return nil, fmt.Errorf("%w: the name %s is taken: PUT /api/v1/policies/%s changes the policy", admin.ErrConflict, name, name)
		}
		if len(extras) >= maxExtras {
			return nil, fmt.Errorf("%w: there are %d policies made by API, more are not possible: write them into the file", admin.ErrConflict, maxExtras)
		}
		return append(extras, config.Extra{Text: body}), nil
	})
	if err != nil {
		return name, nil, "", err
	}
	view, etag, err = c.Policy(name)
	return name, view, etag, err
}

func (c controller) PutPolicy(_, name string, body []byte, ifMatch string) (created bool, view any, etag string, err error) {
	err = c.a.change(func(extras []config.Extra) ([]config.Extra, error) {
		conf := c.a.conf.Load()
		if err := precondition(conf, name, ifMatch); err != nil {
			return nil, err
		}
		if own := config.ExtraName(body); own != "" && own != name {
			return nil, config.Faults{{File: "body", Line: 1, Col: 1, Path: "name", Message: fmt.Sprintf("the name is %q and not that of the path, %q: leave it out, or make them the same", own, name)}}
		}
		at := slices.IndexFunc(extras, func(x config.Extra) bool { return x.Name == name })
		created = at < 0
		if created && policy(conf, name) != nil {
			return nil, fromFile(name)
		}
		if created {
			at, extras = len(extras), append(extras, config.Extra{})
		}
		extras[at] = config.Extra{Name: name, Text: body}
		return extras, nil
	})
	if err != nil {
		return false, nil, "", err
	}
	view, etag, err = c.Policy(name)
	return created, view, etag, err
}

// precondition holds an If-Match against the policy of that name.
func precondition(conf *config.Config, name, ifMatch string) error {
	if ifMatch == "" {
		return nil
	}
	p := policy(conf, name)
	if p == nil {
		return fmt.Errorf("%w: there is no policy %s", admin.ErrPrecondition, name)
	}
	if _, etag, err := show(p); err != nil || ifMatch != "*" && ifMatch != etag {
		return fmt.Errorf("%w: the policy %s has changed: its etag is %q", admin.ErrPrecondition, name, etag)
	}
	return nil
}

func (c controller) DeletePolicy(_, name, ifMatch string) error {
	return c.a.change(func(extras []config.Extra) ([]config.Extra, error) {
		conf := c.a.conf.Load()
		p := policy(conf, name)
		if p == nil {
			return nil, unknownPolicy(name)
		}
		if err := precondition(conf, name, ifMatch); err != nil {
			return nil, err
		}
		if !p.FromAPI() {
			return nil, fromFile(name)
		}
		for i := range conf.Policies {
			if child := &conf.Policies[i]; child.Parent == name {
				return nil, fmt.Errorf("%w: the policy %s is the parent of %s: delete that first", admin.ErrConflict, name, child.Name)
			}
		}
		return slices.DeleteFunc(extras, func(x config.Extra) bool { return x.Name == name }), nil
	})
}

func (c controller) CheckFault(r admin.CheckRequest) error {
	if err := gateway.CheckEndpoint(r.Metadata["endpoint"]); err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	return nil
}

func (c controller) Check(r admin.CheckRequest) admin.CheckResult {
	tokens := int64(1)
	if r.Tokens != nil {
		tokens = *r.Tokens
	}
	a := c.a.gw.Check(c.a.gw.Snapshot(), gateway.CheckQuestion{Key: r.Key, Tokens: tokens, Metadata: r.Metadata})
	out := admin.CheckResult{Allowed: a.Allowed, Key: r.Key, Limit: a.Limit, Remaining: a.Decision.Left, ResetAfterMS: gateway.Millis(a.Decision.Reset),
		WaitMS: gateway.Millis(a.Wait), Unknown: a.Unknown, Decisions: make([]admin.CheckDecision, 0, len(a.Decisions))}
	switch {
	case !a.Allowed:
		out.Reason = fmt.Sprintf("limited; policy=%q", a.Policy)
		out.RetryAfterMS = gateway.Millis(a.Decision.Retry)
	case a.Policy == "":
		out.Reason = "no policy applies"
	}
	for _, d := range a.Decisions {
		one := admin.CheckDecision{Policy: d.Policy, Level: d.Level, Allowed: d.Allowed, Limit: d.Limit, Remaining: d.Left, Mode: d.Mode}
		if d.Action != "reject" {
			one.Action = d.Action
		}
		out.Decisions = append(out.Decisions, one)
	}
	return out
}

func (c controller) Usage(key string) (any, error) {
	u, err := c.a.gw.Usage(c.a.gw.Snapshot(), key)
	return u, notFound(err)
}

func (c controller) Summary() any { return c.a.gw.Summary(c.a.gw.Snapshot()) }

func (c controller) ResetKey(_, key string) (name string, view any, err error) {
	name, n, err := c.a.gw.Reset(c.a.gw.Snapshot(), key)
	if err != nil {
		return "", nil, notFound(err)
	}
	return name, map[string]any{"key": name, "buckets": n, "done": "reset"}, nil
}
