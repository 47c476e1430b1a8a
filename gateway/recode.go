package gateway

import (
	"bytes"
	"strings"
	"sync"

	"weir/config"
	jsonbody "weir/gateway/body"
	"weir/gateway/cache"
	"weir/gateway/compress"
	"weir/internal/http1"
	"weir/telemetry"
)

// What a route changes in bodies: the JSON of requests and answers, and the coding of answers.
//
// An answer is seen in this order: by settle, by the cache, by its JSON's changes, by compression. So limits are settled by what the endpoint
// says, and what is stored is the endpoint's: it is changed anew for each client, by that client's dimensions.

// recode is what a route changes in bodies.
type recode struct {
	request, answer *document    // nil: stays as it is
	compress        *compressing // nil: is not
}

// document is how JSON bodies are changed.
type document struct {
	program *jsonbody.Program
	limit   int64
	names   map[string]int // of templates: dimensions, partURI, partQuery
	ops     int
}

// compressing is how answers are compressed.
type compressing struct {
	rules     *compress.Rules
	codings   []compress.Coding
	level     compress.Level
	memory    int64 // of all encoders at work
	in, out   *telemetry.Counter
	unhandled *telemetry.Counter
}

// asksPlain reports whether the route itself asks endpoints for answers that are not encoded.
func (e *entry) asksPlain() bool { return e.recode != nil && e.recode.answer != nil }

// maxDocuments bounds the memory that is taken to change JSON bodies, of all exchanges together: as they came, between passes, and as they go.
// A buffer counts before it is made, with all it has room for, and so does the smaller one that it takes the place of.
const maxDocuments = 256 << 20

// routeRecode compiles what a route changes in bodies; nil if nothing.
func (p *compiler) routeRecode(e *entry, c *config.Route) (r *recode, err error) {
	if len(e.targets) == 0 {
		return nil, nil
	}
	r = &recode{}
	if r.request, err = p.document(&c.Request.JSON); err != nil {
		return nil, err
	}
	if r.answer, err = p.document(&c.Response.JSON); err != nil {
		return nil, err
	}
	if r.answer != nil { // whole, and as it is: else it could not be changed
		e.request.drop = append(e.request.drop, "accept-encoding", "range", "if-range")
		e.request.add = append(e.request.add, headerTemplate{"Accept-Encoding", template{{text: "identity", dim: partText}}})
	}
	if c.Compress.Enabled {
		if r.compress, err = p.compressing(c); err != nil {
			return nil, err
		}
	}
	if *r == (recode{}) {
		return nil, nil
	}
	return r, nil
}

func (p *compiler) document(c *config.JSONTransform) (*document, error) {
	if c.Empty() {
		return nil, nil
	}
	program, err := jsonbody.Compile(c.Ops(), int(c.Max))
	if err != nil {
		return nil, err
	}
	d := &document{program: program, limit: int64(c.Max), names: map[string]int{}, ops: len(c.Ops())}
	for _, v := range c.Set {
		for _, part := range compileTemplate(v.Value, func(name string) int {
			d.names[name] = p.dim(name)
			return 0
		}) {
			switch part.dim {
			case partURI:
				d.names["uri"] = partURI
			case partQuery:
				d.names["query"] = partQuery
			}
		}
	}
	return d, nil
}

func (p *compiler) compressing(c *config.Route) (*compressing, error) {
	k := &c.Compress
	rules, err := compress.NewRules(k.Types, int64(k.MinSize))
	if err != nil {
		return nil, err
	}
	r := &compressing{rules: rules, memory: int64(p.conf.Compress.MaxMemory), in: p.gw.hub.Compressed(c.Name, "in"), out: p.gw.hub.Compressed(c.Name, "out"), unhandled: p.gw.hub.CompressSkipped(c.Name)}
	for _, name := range k.Algorithms {
		coding, _ := compress.ParseCoding(name)
		r.codings = append(r.codings, coding)
	}
	if k.Level == compress.Small.String() {
		r.level = compress.Small
	}
	return r, nil
}

// apply appends to dst what becomes of a body, for x. It counts what that takes in r.
func (d *document) apply(dst, src []byte, x *Exchange, r *recoding) ([]byte, error) {
	return d.program.Apply(dst, src, func(name string) (string, bool) {
		switch dim := d.names[name]; dim {
		case partURI, partQuery:
			return view(template{{dim: dim}}.append(nil, x)), true
		default:
			return x.Dimension(dim)
		}
	}, r)
}

// recoding is the memory of an exchange whose bodies are changed.
type recoding struct {
	gw      *Gateway
	plain   []byte     // JSON as it came
	beyond  []byte     // a view of the piece with which it became too long
	made    []byte     // what became of an answer's
	whole   bool       // plain is an answer, read to its end
	changed bool       // made is what the client gets
	head    []byte     // of the answer, edited
	ours    int        // fields at its end that are the gateway's own
	was     http1.Head // of the answer before that; empty: it was not
	stored  cache.Answer

	conf  *compressing
	enc   *compress.Encoder // nil: nothing is encoded, or all of it was
	coded []byte            // by enc, and not sent yet
	came  int64             // bytes into enc
	went  int64             // bytes out of it

	counted   bool  // the buffers that were there already count
	documents int64 // bytes that count in gw.documents
	encoding  int64 // bytes that count in gw.encoding
}

// keepRecoding is how many bytes of a buffer are kept for the next exchange.
const keepRecoding = 64 << 10

var recodings = sync.Pool{New: func() any { return new(recoding) }}

// recoding returns the memory for changed bodies, which ends with the exchange.
func (x *h1) recoding() *recoding {
	if x.re == nil {
		x.re = recodings.Get().(*recoding)
		x.re.gw = x.gw
	}
	return x.re
}

func (r *recoding) release() {
	r.endEncoding()
	r.gw.documents.Add(-r.documents)
	keep := func(b []byte) []byte {
		if cap(b) > keepRecoding {
			return nil
		}
		return b[:0]
	}
	fields := r.was.Fields[:0]
	*r = recoding{plain: keep(r.plain), made: keep(r.made), head: keep(r.head), coded: keep(r.coded)}
	r.was.Fields = fields
	recodings.Put(r)
}

// take keeps a piece of a JSON body of at most limit bytes. It is not ok if too much is kept already, by all.
func (r *recoding) take(p []byte, limit int64) (ok bool) {
	if !r.count() {
		return false
	}
	if n := len(r.plain) + len(p); n > cap(r.plain) {
		n = max(n, min(2*cap(r.plain), int(limit)))
		if !r.Hold(n) {
			return false
		}
		r.plain = append(make([]byte, 0, n), r.plain...)
	}
	r.plain = append(r.plain, p...)
	return true
}

// count has the buffers that an earlier exchange has left count. It is not ok if there is no room for them.
func (r *recoding) count() (ok bool) {
	r.counted = r.counted || r.Hold(cap(r.plain)+cap(r.made))
	return r.counted
}

// Hold counts n bytes for documents, if there is room for them; it gives back -n if that is negative.
func (r *recoding) Hold(n int) (ok bool) {
	if ok = r.gw.holdDocuments(int64(n)); ok {
		r.documents += int64(n)
	}
	return ok
}

// holdDocuments counts n bytes for documents, if there is room for them; it gives back -n if that is negative.
func (g *Gateway) holdDocuments(n int64) (ok bool) {
	if g.documents.Add(n) > maxDocuments && n > 0 {
		g.documents.Add(-n)
		return false
	}
	return true
}

// encode starts an encoder whose output gathers in r.coded, if there is memory for one.
func (r *recoding) encode(c *compressing, coding compress.Coding) (ok bool) {
	n := int64(compress.Footprint(coding, c.level))
	if r.gw.encoding.Add(n) > c.memory {
		r.gw.encoding.Add(-n)
		c.unhandled.Inc()
		return false
	}
	r.encoding, r.conf = n, c
	r.enc = compress.NewEncoder(coding, c.level, r)
	return true
}

// Write takes what the encoder writes.
func (r *recoding) Write(p []byte) (int, error) {
	r.coded = append(r.coded, p...)
	r.went += int64(len(p))
	return len(p), nil
}

// wholeCoded is how long a body in memory may be that is compressed before any of it is sent, so that its length can be said.
const wholeCoded = 256 << 10

// encodeWhole returns a body as the encoder makes it, and gives the encoder back.
func (r *recoding) encodeWhole(body []byte) []byte {
	r.came = int64(len(body))
	r.enc.Write(body) //nolint:errcheck // to memory
	r.enc.Close()     //nolint:errcheck // to memory
	r.endEncoding()
	return r.coded
}

// endEncoding gives the encoder back.
func (r *recoding) endEncoding() {
	if r.enc == nil {
		return
	}
	r.enc.Release()
	r.enc = nil
	r.gw.encoding.Add(-r.encoding)
	r.conf.in.Add(uint64(r.came))
	r.conf.out.Add(uint64(r.went))
	r.encoding, r.came, r.went = 0, 0, 0
}

// headEdit is what changes in the head of an answer when its body does.
type headEdit struct {
	vary    bool            // it depends on Accept-Encoding
	coding  compress.Coding // of the body; Identity: none
	changed bool            // the bytes are not the endpoint's: its length and digests are another's, and its tag means the same and not the same bytes
	chunked bool            // says so itself
}

// ours is how many lines appendLines adds.
func (e *headEdit) ours() (n int) {
	for _, added := range [...]bool{e.vary, e.coding != compress.Identity, e.chunked} {
		if added {
			n++
		}
	}
	return n
}

// appendLines appends header lines, edited, and at the end its own. A Vary that the route drops has no part in its own.
func (e *headEdit) appendLines(b, lines []byte, route *transform) []byte {
	vary := ""
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		lines = rest
		name, value, ok := bytes.Cut(line, []byte(":"))
		value = bytes.Trim(value, " \t")
		switch {
		case !ok:
		case e.vary && http1.EqualFold(name, "vary"):
			if route.drops(name) {
				continue
			}
			if vary != "" {
				vary += ", "
			}
			vary += string(value)
		case e.changed && http1.EqualFold(name, "etag"):
			mark := len(b)
			b = append(b, "ETag: "...)
			tagged, ok := compress.AppendWeakTag(b, view(value))
			if !ok {
				b = b[:mark]
				continue
			}
			b = append(tagged, '\r', '\n')
		case e.changed && (ofOldBody(name) || http1.EqualFold(name, "transfer-encoding")):
		default:
			b = append(append(b, line...), '\r', '\n')
		}
	}
	if e.vary {
		b = compress.AppendVary(append(b, "Vary: "...), vary)
		b = append(b, '\r', '\n')
	}
	if e.coding != compress.Identity {
		b = append(append(b, "Content-Encoding: "...), e.coding.String()...)
		b = append(b, '\r', '\n')
	}
	if e.chunked {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	}
	return b
}

// ofOldBody reports whether a field is not true any more of a body that is changed.
func ofOldBody(name []byte) bool {
	for _, d := range compress.Dropped {
		if len(d) == len(name) && http1.EqualFold(name, d) {
			return true
		}
	}
	return false
}

// dropOld has fields that are not true any more of a changed body go no further.
func dropOld(h *http1.Head) {
	for i := range h.Fields {
		if f := &h.Fields[i]; f.Known != http1.ContentLength && ofOldBody(h.Name(i)) {
			f.Hop = true
		}
	}
}

// isJSON reports whether a content type is JSON: application/json or any +json, but for gRPC's. Where a list came, one is enough.
func isJSON(contentType string) bool {
	for rest := contentType; rest != ""; {
		var t string
		t, rest = cutAt(rest, ',')
		t, _ = cutAt(t, ';')
		t = strings.ToLower(strings.Trim(t, " \t"))
		if (t == "application/json" || strings.HasSuffix(t, "+json")) && !ofGRPC(t) {
			return true
		}
	}
	return false
}

// ofGRPC reports whether a content type is of the gRPC family, whose frames nobody but its ends may change.
func ofGRPC(contentType string) bool {
	const grpc = "application/grpc"
	return len(contentType) >= len(grpc) && strings.EqualFold(contentType[:len(grpc)], grpc)
}

// encoded reports whether a Content-Encoding says that a body is not as it is meant.
func encoded(contentEncoding string) bool {
	v := strings.Trim(contentEncoding, " \t")
	return v != "" && !strings.EqualFold(v, "identity")
}
