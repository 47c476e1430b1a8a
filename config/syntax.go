package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile bounds a configuration file.
const maxFile = 64 << 20

// place is where something stands in a file.
type place struct{ line, col int }

var start = place{1, 1}

func placeOf(n *yaml.Node) place { return place{max(n.Line, 1), max(n.Column, 1)} }

// readTree reads data into the root node of its only document. It returns nil, and records why, if data is not one YAML
// document in UTF-8.
func readTree(data []byte, faults *faultList) *yaml.Node {
	if len(data) > maxFile {
		faults.add(start, "", "the file has %s: at most %s are read", Size(len(data)), Size(maxFile))
		return nil
	}
	if !checkBytes(data, faults) {
		return nil
	}
	faults.lines = countLines(data)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc, err := decodeNext(dec)
	if errors.Is(err, io.EOF) {
		faults.add(start, "", "%s", faults.empty())
		return nil
	}
	if err != nil {
		addSyntax(data, err, faults)
		return nil
	}
	second, err := decodeNext(dec)
	switch {
	case err == nil:
		faults.add(placeOf(second), "", "a second document starts here: one %s: remove the line ---", faults.one())
		return nil
	case !errors.Is(err, io.EOF):
		addSyntax(data, err, faults)
		return nil
	}
	if len(doc.Content) == 0 || isNull(doc.Content[0]) {
		faults.add(start, "", "%s", faults.empty())
		return nil
	}
	return doc.Content[0]
}

// decodeNext reads one document. The library promises to return its errors; a panic of its own is returned as one too.
func decodeNext(dec *yaml.Decoder) (doc *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("yaml: the text cannot be read: %v", p)
		}
	}()
	doc = &yaml.Node{}
	err = dec.Decode(doc)
	return doc, err
}

// countLines returns how many lines YAML 1.1 sees in data: it knows more line breaks than most editors.
func countLines(data []byte) int {
	n := -bytes.Count(data, []byte("\r\n"))
	ended := false
	for _, br := range []string{"\n", "\r", "\u0085", "\u2028", "\u2029"} {
		n += bytes.Count(data, []byte(br))
		ended = ended || bytes.HasSuffix(data, []byte(br))
	}
	if !ended {
		n++
	}
	return n
}

// checkBytes records every line that holds a control byte, and the first byte that is not UTF-8.
func checkBytes(data []byte, faults *faultList) bool {
	ok, line := true, 1
	for rest := data; len(rest) > 0; line++ {
		text, after, _ := bytes.Cut(rest, []byte("\n"))
		rest = after
		col := 0
		for len(text) > 0 {
			col++
			r, n := utf8.DecodeRune(text)
			if r == utf8.RuneError && n == 1 {
				faults.add(place{line, col}, "", "the byte 0x%02x is not UTF-8: save the file as UTF-8", text[0])
				return false
			}
			if (r < ' ' && r != '\t' && r != '\r') || r == 0x7f {
				faults.add(place{line, col}, "", "the control character %U is not allowed: remove it", r)
				ok = false
				break
			}
			text = text[n:]
		}
	}
	return ok
}

var (
	lineOf      = regexp.MustCompile(`^yaml: (?:line (\d+): )?(?s:(.*))$`)
	anchorOf    = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
	parserSays  = regexp.MustCompile(`^did not find expected (',' or|'-' indicator|key|node content|<)|^found undefined tag|^found duplicate %|^found incompatible`)
	insideOfOne = regexp.MustCompile(`^did not find expected ('-' indicator|key)`)
)

// plain says in an operator's words what the library says in a parser's.
var plain = []struct{ says, means string }{
	{"mapping values are not allowed", "a second \": \" on this line, or a line that is indented too far: put quotes around a value that holds \": \""},
	{"cannot start any token", "a value that starts with @, `, % or a tab: put it in quotes"},
	{"expected ',' or '}'", "the { that opens here is not closed, or a comma is missing; a value with ${…} inside { } needs quotes"},
	{"expected ',' or ']'", "the [ that opens here is not closed, or a comma is missing; a value with ${…} inside [ ] needs quotes"},
	{"expected '-' indicator", "this line is indented differently from the list it stands in: every item starts with - in the same column"},
	{"expected key", "this line is indented differently from the keys it stands among, or something follows a closed quote"},
	{"expected node content", "a value is missing here, or a { or [ before it is not closed"},
	{"could not find expected ':'", "a key without a value: write key: value"},
	{"unexpected end of stream", "the quote that opens here is not closed"},
	{"unknown escape character", "an unknown \\ sequence in double quotes: use single quotes, or write \\\\"},
	{"found a tab character", "a tab in the indentation: use spaces"},
	{"exceeded max depth", "brackets are nested too deep"},
}

// addSyntax records an error of the YAML library with the place it means.
func addSyntax(data []byte, err error, faults *faultList) {
	if addTabs(data, faults) {
		return
	}
	m := lineOf.FindStringSubmatch(err.Error())
	if m == nil {
		faults.add(start, "", "the text is not YAML: %v", err)
		return
	}
	said := m[2]
	if a := anchorOf.FindStringSubmatch(said); a != nil {
		faults.add(find(data, "*"+a[1]), "", "the alias *%s has no anchor above it: write &%s before the value it stands for", a[1], a[1])
		return
	}
	line, _ := strconv.Atoi(m[1])
	line = max(line, 1)
	if m[1] != "" && parserSays.MatchString(said) {
		line++ // its parser counts lines from 0, its scanner from 1
	}
	if insideOfOne.MatchString(said) {
		line = max(line, wrongLine(data))
	}
	for _, p := range plain {
		if strings.Contains(said, p.says) {
			said = p.means
			break
		}
	}
	faults.add(lineStart(data, line), "", "the text is not YAML: %s", said)
}

// addTabs records every line indented with a tab, and says whether there was one. It is asked only about a text that is not
// YAML: inside block scalars tabs are fine.
func addTabs(data []byte, faults *faultList) bool {
	found := false
	for i, text := range bytes.Split(data, []byte("\n")) {
		indent := len(text) - len(bytes.TrimLeft(text, " \t"))
		if tab := bytes.IndexByte(text[:indent], '\t'); tab >= 0 && indent < len(text) && text[indent] != '#' && text[indent] != '\r' {
			faults.add(place{i + 1, tab + 1}, "", "a tab in the indentation: use spaces")
			found = true
		}
	}
	return found
}

// lineStart returns the place of the first character of a line, or of the last line if there are fewer.
func lineStart(data []byte, line int) place {
	lines := bytes.Split(bytes.TrimRight(data, "\r\n"), []byte("\n"))
	line = min(line, len(lines))
	text := lines[line-1]
	indent := len(text) - len(bytes.TrimLeft(text, " "))
	return place{line, indent + 1}
}

// find returns the place where text first stands.
func find(data []byte, text string) place {
	i := max(bytes.Index(data, []byte(text)), 0)
	line := bytes.Count(data[:i], []byte("\n")) + 1
	begin := bytes.LastIndexByte(data[:i], '\n') + 1
	return place{line, utf8.RuneCount(data[begin:i]) + 1}
}

// wrongLine returns the line that ends what the library can read. For a wrong indentation it names itself only the line on
// which the block starts, but given a line at a time it reads up to the wrong one, or one more.
func wrongLine(data []byte) int {
	r := &lineReader{rest: append(bytes.Clone(data), "\n#\n#\n"...)}
	_, _ = decodeNext(yaml.NewDecoder(r))
	end := 0
	for range r.lines - 1 {
		end += bytes.IndexByte(data[min(end, len(data)):], '\n') + 1
	}
	if _, err := decodeNext(yaml.NewDecoder(bytes.NewReader(data[:min(end, len(data))]))); err == nil {
		return r.lines
	}
	return r.lines - 1
}

// lineReader gives a line per Read and counts them.
type lineReader struct {
	rest  []byte
	lines int
}

func (r *lineReader) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	end := bytes.IndexByte(r.rest, '\n') + 1
	if end == 0 {
		end = len(r.rest)
	}
	n := copy(p, r.rest[:end])
	r.rest = r.rest[n:]
	if n == end {
		r.lines++
	}
	return n, nil
}
