package config

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"weir/internal/expr"
	"weir/limiter"
)

// Bounds on policies.
const (
	maxDepth    = 8                // ancestors of a policy
	maxAlways   = 32               // policies without a condition that one request is charged for
	maxVariants = 4096             // limits that a policy may have by its overrides and those of its ancestors
	minPart     = time.Millisecond // of a sliding window
	maxUnits    = 1_000_000_000    // what one request may cost by a plain number
	maxSliding  = 1_000_000_000    // what a sliding window counts to: its sub-windows have 32 bits, with room for what is settled late
)

// policyBook is policies as they are put in force and checked: those of a file, or those and some of the API. Those before
// index first are in force and right already; they are only referred to.
type policyBook struct {
	policies []Policy
	texts    []policyText // of the policies from first
	first    int
	names    nameSet
	index    map[string]int // the first policy of that name
	known    *known
	allowed  [][]Numbers // what each may allow; nil until it is asked for
}

// policyText is where a policy is written.
type policyText struct {
	node   *yaml.Node // its keys
	path   string     // policies[3]; empty in a text of its own
	faults *faultList
	given  uint64 // bits of the policy's fields
	broken bool   // its parent, or an ancestor, cannot be told
}

func newPolicyBook(policies []Policy, first int, texts []policyText, known *known) *policyBook {
	b := &policyBook{policies: policies, texts: texts, first: first, known: known,
		index: make(map[string]int, len(policies)), allowed: make([][]Numbers, len(policies))}
	for i := range policies {
		name := policies[i].Name
		if name == "" {
			continue
		}
		if _, twice := b.index[name]; !twice {
			b.index[name] = i
		}
		b.names.add(name)
	}
	return b
}

// text returns where policy i is written, nil if it is right already.
func (b *policyBook) text(i int) *policyText {
	if i < b.first {
		return nil
	}
	return &b.texts[i-b.first]
}

// fault records a fault of the value of key in policy i, once.
func (b *policyBook) fault(i int, key, format string, args ...any) {
	t := b.text(i)
	path := t.at(key)
	if t.faults.paths[path] {
		return
	}
	n, _ := locate(t.node, key)
	t.faults.add(placeOf(n), path, format, args...)
}

// at returns the path of a key of the policy in its text.
func (t *policyText) at(key string) string {
	switch {
	case t.path == "":
		return key
	case key == "":
		return t.path
	}
	return t.path + "." + key
}

// has says whether the text gives a key of the policy, or has a fault of it.
func (t *policyText) has(key string) bool {
	return t.given&policyBit(key) != 0 || t.faults.paths[t.at(key)]
}

// checkPolicies gives policies what they inherit, and checks them.
func (k *checker) checkPolicies() {
	list, _ := locate(k.root, "policies")
	texts := make([]policyText, len(k.c.Policies))
	for i := range texts {
		n := list
		if list.Kind == yaml.SequenceNode && i < len(list.Content) && follow(list.Content[i]) != nil {
			n = follow(list.Content[i])
		}
		texts[i] = policyText{node: n, path: fmt.Sprintf("policies[%d]", i), faults: k.faults}
	}
	b := newPolicyBook(k.c.Policies, 0, texts, k.known)
	b.inherit()
	b.check()
}

// check records every fault of the policies from first, which have what they inherit.
func (b *policyBook) check() {
	for i := b.first; i < len(b.policies); i++ {
		b.checkName(i)
		b.checkNamed(i, "dimension", b.policies[i].Dimensions, &b.known.dimensions)
		b.checkNamed(i, "route", b.policies[i].Routes, &b.known.routes)
		b.checkExpressions(i)
		if !b.text(i).broken {
			b.checkAlgorithm(i)
			b.checkScope(i)
			b.checkShares(i)
			b.checkNumbers(i)
		}
	}
	b.checkAlways()
}

func (b *policyBook) checkName(i int) {
	name := b.policies[i].Name
	if name == "" {
		return // recorded as missing
	}
	if !nameForm.MatchString(name) {
		b.fault(i, "name", "%s is no name: write up to 128 letters, digits, _ . -", quote(name))
	}
	j := b.index[name]
	if j == i {
		return
	}
	where := "a policy of the file has it"
	if b.policies[j].api {
		where = "another policy of the API has it"
	} else if t := b.text(j); t != nil {
		n, _ := locate(t.node, "name")
		where = fmt.Sprintf("%s has it in line %d", t.path, placeOf(n).line)
	}
	b.fault(i, "name", "the name %s is taken: %s: choose another", quote(name), where)
}

// checkNamed checks the dimensions or routes that a policy itself names.
func (b *policyBook) checkNamed(i int, what string, names []string, known *nameSet) {
	if !b.text(i).has(what + "s") {
		return
	}
	seen := make(map[string]bool, len(names))
	for j, name := range names {
		if b.text(i).faults.full() {
			return
		}
		key := fmt.Sprintf("%ss[%d]", what, j)
		if !known.has(name) {
			b.fault(i, key, "%s", undefined(what, name, known.list))
		}
		if seen[name] {
			b.fault(i, key, "the %s %s is given twice: remove one", what, quote(name))
		}
		seen[name] = true
	}
}

// checkExpressions checks what a policy itself has of CEL.
func (b *policyBook) checkExpressions(i int) {
	p, t := &b.policies[i], b.text(i)
	compile := func(key, src string, kind expr.Kind) {
		if problem := b.known.exprs.compile(src, kind); problem != "" {
			b.fault(i, key, "%s", problem)
		}
	}
	if p.When != "" && t.has("when") {
		compile("when", p.When, expr.Bool)
	}
	for j := range p.Overrides {
		if when := p.Overrides[j].When; when != "" {
			compile(fmt.Sprintf("overrides[%d].when", j), when, expr.Bool)
		}
	}
	if t.has("cost") {
		if n, err := strconv.ParseInt(p.Cost, 10, 64); err != nil {
			compile("cost", p.Cost, expr.Int)
		} else if n < 0 || n > maxUnits {
			b.fault(i, "cost", "%s is out of range: write 0 to %d, or CEL giving that", quote(p.Cost), maxUnits)
		}
	}
	if p.Settle != "" && t.has("settle") {
		if problem := b.known.exprs.compileSettle(p.Settle); problem != "" {
			b.fault(i, "settle", "%s", problem)
		}
	}
}

// checkAlgorithm checks that a policy has what its algorithm and action need, and itself gives nothing of others.
func (b *policyBook) checkAlgorithm(i int) {
	p, t, usual := &b.policies[i], b.text(i), policyDefaults()
	if p.Algorithm == "quota" && p.Window.Calendar == "" {
		b.fault(i, "window", "a quota is per hour, day, week or month, not per %v: write window: month, or algorithm: fixed_window", p.Window)
	} else if p.Algorithm != "quota" && p.Window.Calendar != "" {
		b.fault(i, "window", "only a quota is per %v: write algorithm: quota, or a duration such as window: 24h", p.Window)
	}
	if !p.bursts() {
		const problem = "%s has no burst, only token_bucket, leaky_bucket and adaptive have one: leave burst out"
		if p.Burst != (Amount{}) {
			b.fault(i, "burst", problem, p.Algorithm)
		}
		for j := range p.Overrides {
			if p.Overrides[j].Burst != (Amount{}) {
				b.fault(i, fmt.Sprintf("overrides[%d].burst", j), problem, p.Algorithm)
			}
		}
	}
	if p.Algorithm != "sliding_window" && p.Granularity != usual.Granularity {
		b.fault(i, "granularity", "%s has no sub-windows: leave granularity out, or write algorithm: sliding_window", p.Algorithm)
	}
	if p.Algorithm != "quota" && p.Timezone != usual.Timezone {
		b.fault(i, "timezone", "%s does not follow a calendar: leave timezone out, or write algorithm: quota", p.Algorithm)
	}
	if t.has("timezone") {
		b.checkZone(i)
	}
	if p.Action != "queue" && p.MaxWait > 0 {
		b.fault(i, "max_wait", "nothing waits with action: %s: leave max_wait out, or write action: queue", p.Action)
	} else if p.Action == "queue" && p.MaxWait == 0 {
		b.fault(i, "max_wait", "is missing: action: queue needs the longest wait, for example max_wait: 500ms")
	}
	if p.Algorithm == "concurrency" && p.Settle != "" {
		b.fault(i, "settle", "concurrency gives everything back when the request is done, so there is nothing to settle: leave settle out")
	}
	if per := p.Window.Every; p.Algorithm == "sliding_window" && per > 0 && per/time.Duration(p.Granularity) < minPart {
		b.fault(i, "granularity", "%d sub-windows of %v would be shorter than %v each: write granularity: %d or less, or a longer window",
			p.Granularity, p.Window, minPart, per/minPart)
	}
}

func (b *policyBook) checkZone(i int) {
	zone := b.policies[i].Timezone
	_, err := time.LoadLocation(zone)
	switch {
	case zone == "Local":
		b.fault(i, "timezone", "Local is another on each machine: write a name such as Europe/Berlin")
	case zone == "" || err != nil:
		b.fault(i, "timezone", "%s is no time zone: write UTC or a name of the IANA database such as Europe/Berlin", quote(zone))
	}
}

// checkShares checks that a policy without a parent has no share of it.
func (b *policyBook) checkShares(i int) {
	p := &b.policies[i]
	if p.Parent != "" || b.text(i).has("parent") {
		return
	}
	check := func(key string, a Amount) {
		if a.Share > 0 {
			b.fault(i, key, "%v of what? Write parent: too, the policy that it is a share of, or a number of units", a)
		}
	}
	check("limit", p.Limit)
	if b.text(i).has("burst") {
		check("burst", p.Burst)
	}
	for j := range p.Overrides {
		o := &p.Overrides[j]
		check(fmt.Sprintf("overrides[%d].limit", j), o.Limit)
		if o.Burst != o.Limit {
			check(fmt.Sprintf("overrides[%d].burst", j), o.Burst)
		}
	}
}

// checkNumbers checks every limit and burst that a policy may have.
func (b *policyBook) checkNumbers(i int) {
	p := &b.policies[i]
	if n := b.variants(i); n > maxVariants {
		b.fault(i, "overrides", "with the overrides of its ancestors these make %d limits, at most %d can be: write fewer, or numbers of units instead of shares", n, maxVariants)
		return
	}
	if p.Algorithm == "sliding_window" {
		b.checkSliding(i)
	}
	if !p.bursts() || p.Window.Every == 0 {
		return
	}
	for o := -1; o < len(p.Overrides); o++ {
		key := "burst"
		if o >= 0 {
			key = fmt.Sprintf("overrides[%d].burst", o)
		}
		for _, n := range b.numbersBy(i, o) {
			if n.Limit == 0 {
				break // recorded
			}
			if err := rateProblem(p, n); err != nil {
				b.fault(i, key, "%v: write a smaller burst", err)
				break
			}
		}
	}
}

func (b *policyBook) checkSliding(i int) {
	p := &b.policies[i]
	for o := -1; o < len(p.Overrides); o++ {
		key := "limit"
		if o >= 0 {
			key = fmt.Sprintf("overrides[%d].limit", o)
		}
		for _, n := range b.numbersBy(i, o) {
			if n.Limit > maxSliding {
				b.fault(i, key, "a limit of %d is more than the %d that a sliding window counts to: write less, or another algorithm", n.Limit, maxSliding)
				break
			}
		}
	}
}

func rateProblem(p *Policy, n Numbers) error {
	r := limiter.Rate{N: n.Limit, Per: p.Window.Every, Burst: n.Burst}
	err := r.Validate()
	if err == nil && p.Algorithm == "adaptive" { // which moves its rate up to the double
		r.N *= 2
		err = r.Validate()
	}
	return err
}

// variants returns how many limits policy i may have: as many as its overrides and none of them, and if any is a share, each of
// them for each of its parent's. A parent that has too many, which is recorded there, counts as one.
func (b *policyBook) variants(i int) int {
	p := &b.policies[i]
	own, relative := len(p.Overrides)+1, false
	for o := -1; o < len(p.Overrides); o++ {
		relative = relative || p.Relative(o)
	}
	if !relative || p.Parent == "" {
		return own
	}
	if above := b.variants(b.index[p.Parent]); above <= maxVariants {
		return own * above
	}
	return own
}

// numbers returns the limits and bursts that policy i may have, or none if they are too many.
func (b *policyBook) numbers(i int) []Numbers {
	if b.allowed[i] != nil {
		return b.allowed[i]
	}
	all := []Numbers{}
	if b.variants(i) <= maxVariants {
		for o := -1; o < len(b.policies[i].Overrides); o++ {
			all = append(all, b.numbersBy(i, o)...)
		}
	}
	b.allowed[i] = all
	return all
}

// numbersBy returns those by one override, or none of them.
func (b *policyBook) numbersBy(i, override int) []Numbers {
	p := &b.policies[i]
	if !p.Relative(override) || p.Parent == "" {
		return []Numbers{p.Numbers(override, Numbers{})}
	}
	parents := b.numbers(b.index[p.Parent])
	all := make([]Numbers, len(parents))
	for j, n := range parents {
		all[j] = p.Numbers(override, n)
	}
	return all
}
