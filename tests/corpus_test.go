package tests

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
)

// wireCase is one case of testdata/wire. Each section of such a file is a case; its lines are:
//
//	# text          what it is about
//	> bytes         the client sends them; \r \n \t \s \0 \\ \xHH are escapes, the end of the line is not sent
//	>* N bytes      the same N times
//	>pause          the client waits 30 ms, so that what follows is another segment
//	>await          the client waits for a response before it sends on
//	>fin            the client closes its sending side
//	get             the client sends a plain GET /up/x
//	< bytes         the upstream answers with them, instead of with 200 and "METHOD TARGET"
//	<* N bytes      the same N times
//	<wait D, <drip bytes, <close, <reset, <hang    what else the upstream does
//	<early          it answers before it has read the request's body
//	<next           what follows is the answer to the next request
//	status S...     responses in order: alternatives as 400|408; none is a connection that closes without a response
//	head            the responses answer a HEAD
//	interim         1xx responses are skipped, however many
//	cut [maybe]     the last response must (may) be a 5xx or visibly incomplete
//	conn keep|close|any      afterwards a further request on the connection is answered, or the connection is closed
//	upstream N | N-M         requests that reached the upstream
//	conns N         distinct upstream connections used, with that of the request that follows every case
//	reason a|b      Weir-Reason of the last response
//	body bytes      body of the last response
//	saw RE, unseen RE        what the upstream received (regular expressions; . matches anything)
//	got RE, ungot RE         what the client received
//
// and four short forms: refused [S] is status S (400), conn close, upstream 0, reason bad_request if S is 400; broken is the
// same for a fault in the body, when the head may have gone to the upstream already; passed is status 200, conn keep,
// upstream 1; hostile is status 502, reason upstream_error, upstream 1, conn any, conns 2.
type wireCase struct {
	name      string
	sends     []step
	answers   [][]step
	early     []bool
	statuses  [][]string
	head, cut bool
	mayCut    bool
	interim   bool
	conn      string
	upstream  [2]int
	conns     int
	reason    []string
	body      *string
	checks    []check
}

// check is a regular expression that must or must not match.
type check struct {
	verb string // saw, unseen, got, ungot
	re   *regexp.Regexp
}

// readCases reads the corpus of one file.
func readCases(t *testing.T, path string) []*wireCase {
	t.Helper()
	ar, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var cases []*wireCase
	names := map[string]bool{}
	for _, f := range ar.Files {
		if names[f.Name] {
			t.Fatalf("%s: %s twice", path, f.Name)
		}
		names[f.Name] = true
		c := &wireCase{name: f.Name, conn: "any", upstream: [2]int{-1, -1}}
		for n, line := range strings.Split(string(f.Data), "\n") {
			if line == "" || strings.HasPrefix(line, "#") {
				continue
			}
			if err := c.directive(line); err != nil {
				t.Fatalf("%s: %s: line %d: %q: %v", path, f.Name, n+1, line, err)
			}
		}
		if len(c.statuses) == 0 || c.upstream[0] < 0 || len(c.sends) == 0 {
			t.Fatalf("%s: %s: needs bytes, status and upstream", path, f.Name)
		}
		cases = append(cases, c)
	}
	return cases
}

func (c *wireCase) directive(line string) (err error) {
	verb, arg, _ := strings.Cut(line, " ")
	switch {
	case line[0] == '>':
		c.sends, err = appendStep(c.sends, verb[1:], arg)
		return err
	case verb == "<next":
		c.answers, c.early = append(c.answers, nil), append(c.early, false)
		return nil
	case line[0] == '<':
		if len(c.answers) == 0 {
			c.answers, c.early = [][]step{nil}, []bool{false}
		}
		last := len(c.answers) - 1
		if verb == "<early" {
			c.early[last] = true
			return nil
		}
		c.answers[last], err = appendStep(c.answers[last], verb[1:], arg)
		return err
	}
	return c.expectation(verb, arg)
}

func (c *wireCase) expectation(verb, arg string) (err error) {
	switch verb {
	case "refused":
		if arg == "" {
			arg = "400"
			c.reason = []string{"bad_request"}
		}
		c.statuses, c.conn, c.upstream = [][]string{strings.Split(arg, "|")}, "close", [2]int{0, 0}
	case "broken":
		c.statuses, c.conn, c.upstream, c.reason = [][]string{{"400"}}, "close", [2]int{0, 1}, []string{"bad_request"}
	case "passed":
		c.statuses, c.conn, c.upstream = [][]string{{"200"}}, "keep", [2]int{1, 1}
	case "hostile":
		c.statuses, c.conn, c.upstream = [][]string{{"502"}}, "any", [2]int{1, 1}
		c.reason, c.conns = []string{"upstream_error"}, 2
	case "status":
		c.statuses = nil
		for s := range strings.FieldsSeq(arg) {
			c.statuses = append(c.statuses, strings.Split(s, "|"))
		}
	case "get":
		c.sends, err = appendStep(c.sends, "", `GET /up/x HTTP/1.1\r\nHost: a.test\r\n\r\n`)
	case "head":
		c.head = true
	case "interim":
		c.interim = true
	case "cut":
		c.cut, c.mayCut = true, arg == "maybe"
	case "conn":
		c.conn = arg
	case "upstream":
		lo, hi, ok := strings.Cut(arg, "-")
		if !ok {
			hi = lo
		}
		if c.upstream[0], err = strconv.Atoi(lo); err == nil {
			c.upstream[1], err = strconv.Atoi(hi)
		}
	case "conns":
		c.conns, err = strconv.Atoi(arg)
	case "reason":
		c.reason = strings.Split(arg, "|")
	case "body":
		var b []byte
		b, err = unescape(arg)
		s := string(b)
		c.body = &s
	case "saw", "unseen", "got", "ungot":
		var re *regexp.Regexp
		re, err = regexp.Compile("(?s)" + arg)
		c.checks = append(c.checks, check{verb, re})
	default:
		err = fmt.Errorf("unknown directive")
	}
	return err
}

// appendStep appends what a line beginning with > or < says.
func appendStep(steps []step, verb, arg string) ([]step, error) {
	times := 1
	switch verb {
	case "":
	case "*":
		count, rest, _ := strings.Cut(arg, " ")
		n, err := strconv.Atoi(count)
		if err != nil {
			return nil, err
		}
		times, arg = n, rest
	case "wait":
		d, err := time.ParseDuration(arg)
		return append(steps, step{kind: "wait", wait: d}), err
	case "pause":
		return append(steps, step{kind: "wait", wait: 30 * time.Millisecond}), nil
	case "drip":
		b, err := unescape(arg)
		return append(steps, step{kind: "drip", data: b, wait: 5 * time.Millisecond}), err
	case "await", "fin", "close", "reset", "hang":
		return append(steps, step{kind: verb}), nil
	default:
		return nil, fmt.Errorf("unknown step")
	}
	b, err := unescape(arg)
	if err != nil {
		return nil, err
	}
	var data []byte
	for range times {
		data = append(data, b...)
	}
	if n := len(steps); n > 0 && steps[n-1].kind == "write" {
		steps[n-1].data = append(steps[n-1].data, data...)
		return steps, nil
	}
	return append(steps, step{kind: "write", data: data}), nil
}

// unescape turns \r \n \t \s \0 \\ \xHH into bytes.
func unescape(s string) ([]byte, error) {
	var b []byte
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b = append(b, s[i])
			continue
		}
		if i++; i == len(s) {
			return nil, fmt.Errorf("ends with a backslash")
		}
		if s[i] == 'x' {
			if i+2 >= len(s) {
				return nil, fmt.Errorf("short \\x")
			}
			v, err := strconv.ParseUint(s[i+1:i+3], 16, 8)
			if err != nil {
				return nil, err
			}
			b, i = append(b, byte(v)), i+2
			continue
		}
		k := strings.IndexByte(`rnts0\`, s[i])
		if k < 0 {
			return nil, fmt.Errorf("unknown escape \\%c", s[i])
		}
		b = append(b, "\r\n\t \x00\\"[k])
	}
	return b, nil
}
