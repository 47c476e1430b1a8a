package http1

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

var lim = Limits{Bytes: 16 << 10, Fields: 100}

func parseRequest(s string) (*Head, int, Fault) {
	h := new(Head)
	h.Reset()
	n, f := h.ParseRequest([]byte(s), lim)
	return h, n, f
}

func TestRequestFaults(t *testing.T) {
	f := func(raw string, want Fault) {
		t.Helper()
		_, n, got := parseRequest(raw)
		if got != want || (want == None) != (n == len(raw)) {
			t.Errorf("%q: took %d, fault %q, want %q", raw, n, got, want)
		}
	}
	const host = "Host: a\r\n"
	f("GET / HTTP/1.1\r\n"+host+"\r\n", None)
	f("\r\nGET / HTTP/1.1\r\n"+host+"\r\n", None)
	f("GET / HTTP/1.0\r\n\r\n", None)
	f("GET / HTTP/1.1\r\n"+host+"A:\r\nB:\t x \t\r\n\r\n", None)
	f("GET / HTTP/1.1\r\n"+host+"A: \x80\xff caf\xc3\xa9\r\n\r\n", None)
	f("\r\n\r\nGET / HTTP/1.1\r\n"+host+"\r\n", BadLine)
	f("GET / HTTP/1.1\n"+host+"\r\n", BareLF)
	f("\nGET / HTTP/1.1\r\n"+host+"\r\n", BareLF)
	f("GET / HTTP/1.1\r\nHost: a\n\r\n", BareLF)
	f("GET / HTTP/1.1\r\n"+host+"\n", BareLF)
	f("GET / HTTP/1.1\r\n"+host+"A: b\rc\r\n\r\n", BareCR)
	f("GET / HTTP/1.1\r\n"+host+"A: b\r\r\n\r\n", BareCR)
	f("GET /\r HTTP/1.1\r\n"+host+"\r\n", BadTarget)
	f("GET /\r\n", BadLine)
	f("GET  / HTTP/1.1\r\n"+host+"\r\n", BadLine)
	f("GET /  HTTP/1.1\r\n"+host+"\r\n", BadVersion)
	f("GET / HTTP/1.1 \r\n"+host+"\r\n", BadVersion)
	f(" GET / HTTP/1.1\r\n"+host+"\r\n", BadLine)
	f("G@T / HTTP/1.1\r\n"+host+"\r\n", BadMethod)
	f("GET /\x80 HTTP/1.1\r\n"+host+"\r\n", BadTarget)
	f("GET /#a HTTP/1.1\r\n"+host+"\r\n", BadTarget)
	f("GET / HTTP/1.2\r\n"+host+"\r\n", BadVersion)
	f("GET / HTTP/2.0\r\n"+host+"\r\n", BadVersion)
	f("GET / http/1.1\r\n"+host+"\r\n", BadVersion)
	f("GET / HTTP/01.1\r\n"+host+"\r\n", BadVersion)
	f("GET / HTTP/1.1\r\n"+host+" folded\r\n\r\n", Folded)
	f("GET / HTTP/1.1\r\n folded\r\n"+host+"\r\n", Folded)
	f("GET / HTTP/1.1\r\n"+host+"A : b\r\n\r\n", BadName)
	f("GET / HTTP/1.1\r\n"+host+": b\r\n\r\n", BadName)
	f("GET / HTTP/1.1\r\n"+host+"A\r\n\r\n", BadName)
	f("GET / HTTP/1.1\r\n"+host+"A(b): c\r\n\r\n", BadName)
	f("GET / HTTP/1.1\r\n"+host+"A\xe9: c\r\n\r\n", BadName)
	f("GET / HTTP/1.1\r\n"+host+"A: b\x00c\r\n\r\n", BadValue)
	f("GET / HTTP/1.1\r\n"+host+"A: 12345678901\x7f\r\n\r\n", BadValue)
	f("GET / HTTP/1.1\r\n"+host+"A: \x0b\r\n\r\n", BadValue)
	f("GET / HTTP/1.1\r\n\r\n", BadHost)
	f("GET / HTTP/1.1\r\n"+host+host+"\r\n", BadHost)
	f("GET / HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\n", None)
	f("GET / HTTP/1.1\r\n"+host+"Content-Length: 5\r\nContent-Length: 5\r\n\r\n", BadLength)
	for _, v := range []string{"", "+5", "-5", "5, 5", "0x5", "5 5", "1234567890123456789", "\u0665", "5.0", "5;"} {
		f("GET / HTTP/1.1\r\n"+host+"Content-Length: "+v+"\r\n\r\n", BadLength)
	}
	f("GET / HTTP/1.1\r\n"+host+"Transfer-Encoding: ChunKed\r\n\r\n", None)
	for _, v := range []string{"", "identity", "gzip", "gzip, chunked", "chunked, chunked", "chunked;q=1", "xchunked", "chunked,", "\"chunked\""} {
		f("GET / HTTP/1.1\r\n"+host+"Transfer-Encoding: "+v+"\r\n\r\n", BadCoding)
	}
	f("GET / HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", BadCoding)
	f("GET / HTTP/1.1\r\n"+host+"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", LengthAndCoding)
	f("GET / HTTP/1.1\r\n"+host+"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", LengthAndCoding)
	f("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", CodingIn10)
	f("GET / HTTP/1.1\r\n"+host+"Connection: a b\r\n\r\n", BadConnection)
	f("GET / HTTP/1.1\r\n"+host+strings.Repeat("A: b\r\n", 100)+"\r\n", TooManyFields)
	f("GET / HTTP/1.1\r\n"+host+"A: "+strings.Repeat("b", lim.Bytes)+"\r\n\r\n", HeadTooLarge)
	f("GET /"+strings.Repeat("b", lim.Bytes)+" HTTP/1.1\r\n\r\n", TargetTooLong)
}

func TestResponseFaults(t *testing.T) {
	f := func(raw string, want Fault) {
		t.Helper()
		h := new(Head)
		h.Reset()
		if _, got := h.ParseResponse([]byte(raw), lim); got != want {
			t.Errorf("%q: fault %q, want %q", raw, got, want)
		}
	}
	f("HTTP/1.1 200 OK\r\n\r\n", None)
	f("HTTP/1.1 200\r\n\r\n", None)
	f("HTTP/1.1 200 \r\n\r\n", None)
	f("HTTP/1.0 599 caf\xe9\r\n\r\n", None)
	f("\r\nHTTP/1.1 200 OK\r\n\r\n", BadLine)
	for _, s := range []string{"099", "600", "99", "20", "abc", "2 0"} {
		f("HTTP/1.1 "+s+" X\r\n\r\n", BadStatus)
	}
	f("HTTP/1.1 1000 X\r\n\r\n", BadStatus)
	f("HTTP/1.1  200 X\r\n\r\n", BadStatus)
	f("HTTP/9.9 200 X\r\n\r\n", BadVersion)
	f("HTTP/1.1 200 a\x00b\r\n\r\n", BadStatus)
	f("HTTP/1.1 200 OK\n\n", BareLF)
	f("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", BadName)
	f("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", CodingIn10)
}

func TestHopByHop(t *testing.T) {
	h, _, f := parseRequest("GET / HTTP/1.1\r\nHost: a\r\nX-Mine: 1\r\nConnection: Close, x-mine , host,content-length\r\nContent-Length: 0\r\nTE: trailers\r\nUpgrade: h2c\r\nKeep-Alive: 5\r\nX_Y: 1\r\n\r\n")
	if f != None {
		t.Fatal(f)
	}
	var kept []string
	for i := range h.Fields {
		if !h.Fields[i].Hop {
			kept = append(kept, string(h.Name(i)))
		}
	}
	if got, want := strings.Join(kept, " "), "Host Content-Length X_Y"; got != want {
		t.Errorf("kept %q, want %q", got, want)
	}
	if !h.Close || h.UpgradeOpt || !h.Fields[len(h.Fields)-1].Underscore {
		t.Errorf("close %v, upgrade %v", h.Close, h.UpgradeOpt)
	}
	if v, ok := h.Lookup("te"); !ok || string(v) != "trailers" {
		t.Errorf("te = %q, %v", v, ok)
	}
}

// A head must parse the same however it is cut into reads.
func TestResume(t *testing.T) {
	const raw = "\r\nPOST /a?b HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\nConnection: x\r\nX: y\r\n\r\n"
	for i := 0; i <= len(raw); i++ {
		rd := NewReader(io.MultiReader(strings.NewReader(raw[:i]), strings.NewReader(raw[i:]+"abc")))
		h := new(Head)
		if err := rd.ReadRequest(h, lim); err != nil {
			t.Fatalf("cut at %d: %v", i, err)
		}
		if string(h.Method()) != "POST" || string(h.Target()) != "/a?b" || h.Length != 3 || len(h.Fields) != 4 || !h.Fields[3].Hop {
			t.Fatalf("cut at %d: %+v", i, h)
		}
	}
}

func readBody(raw string, h *Head, r io.Reader) (string, *Body, error) {
	rd := NewReader(r)
	b := new(Body)
	b.Request(h, &rd, lim)
	var out []byte
	for {
		p, err := b.Next()
		out = append(out, p...)
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return string(out), b, err
		}
	}
}

func TestChunks(t *testing.T) {
	f := func(raw, want string, fault error) {
		t.Helper()
		for name, r := range map[string]io.Reader{"whole": strings.NewReader(raw), "bytes": iotest.OneByteReader(strings.NewReader(raw))} {
			got, _, err := readBody(raw, &Head{Chunked: true}, r)
			if !errors.Is(err, fault) || fault == nil && (err != nil || got != want) {
				t.Errorf("%s %q: got %q, %v; want %q, %v", name, raw, got, err, want, fault)
			}
		}
	}
	f("0\r\n\r\n", "", nil)
	f("3\r\nabc\r\n0\r\n\r\n", "abc", nil)
	f("03\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n", "abc0123456789", nil)
	f("3;ext=\"v\"\r\nabc\r\n0;x\r\n\r\n", "abc", nil)
	f("3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n", "abc", nil)
	f("3\r\nabc", "", io.ErrUnexpectedEOF)
	f("3\r\nab", "", io.ErrUnexpectedEOF)
	f("3\r\nabc\r\n", "", io.ErrUnexpectedEOF)
	f("3\r\nabc\r\n0\r\n", "", io.ErrUnexpectedEOF)
	for _, s := range []string{"\r\n", "x\r\n", "-1\r\n", "+3\r\nabc\r\n", "0x3\r\nabc\r\n", " 3\r\nabc\r\n", "3 \r\nabc\r\n", "3 ;a\r\nabc\r\n",
		"3\nabc\r\n", "3\r\nabcd\r\n", "3\r\nabc\n0\r\n", "3\r\nabc\rX", "ffffffffffffffffff\r\n", "1000000000000000\r\n", "3;a\x00\r\nabc\r\n",
		"3;a\rb\r\nabc\r\n", "3;" + strings.Repeat("a", 600) + "\r\nabc\r\n"} {
		f(s+"0\r\n\r\n", "", BadChunk)
	}
	f(strings.Repeat("1;"+strings.Repeat("a", 400)+"\r\nx\r\n", 50)+"0\r\n\r\n", "", BadChunk)
	f("0\r\nX: 1\n\r\n", "", BadTrailer)
	f("0\r\n X: 1\r\n\r\n", "", BadTrailer)
	f("0\r\nX : 1\r\n\r\n", "", BadTrailer)
	f("0\r\nX: "+strings.Repeat("a", 20<<10)+"\r\n\r\n", "", HeadTooLarge)
}

func TestTrailersAreSeen(t *testing.T) {
	_, b, err := readBody("", &Head{Chunked: true}, strings.NewReader("1\r\nx\r\n0\r\nX-Sum: 9\r\nHost: evil\r\n\r\nNEXT"))
	if err != nil {
		t.Fatal(err)
	}
	if v, ok := b.Trailers.Lookup("x-sum"); !ok || string(v) != "9" {
		t.Errorf("x-sum = %q, %v", v, ok)
	}
	if got := string(b.rd.Bytes()); got != "NEXT" {
		t.Errorf("left %q behind the body", got)
	}
}

func TestBodyLimit(t *testing.T) {
	f := func(h Head, raw string, limit int64, want error) {
		t.Helper()
		rd := NewReader(iotest.OneByteReader(strings.NewReader(raw)))
		var b Body
		b.Request(&h, &rd, lim)
		b.Max = limit
		var err error
		for err == nil {
			_, err = b.Next()
		}
		if !errors.Is(err, want) {
			t.Errorf("%q within %d: %v, want %v", raw, limit, err, want)
		}
	}
	f(Head{Length: 3}, "abc", 3, io.EOF)
	f(Head{Length: 3}, "abc", 2, BodyTooLarge)
	f(Head{Chunked: true, Length: -1}, "2\r\nab\r\n1\r\nc\r\n0\r\n\r\n", 3, io.EOF)
	f(Head{Chunked: true, Length: -1}, "2\r\nab\r\n2\r\n", 3, BodyTooLarge) // before the bytes themselves come
	f(Head{Chunked: true, Length: -1}, "fffffffffffffff\r\n", 3, BodyTooLarge)
}

func TestNextHereDoesNotRead(t *testing.T) {
	rd := NewReader(strings.NewReader("3\r\nabc\r\n"))
	b := Body{rd: &rd, lim: lim, kind: bodyChunked}
	if _, err := b.NextHere(); err != ErrMore {
		t.Fatalf("with nothing read: %v", err)
	}
	if err := rd.Fill(); err != nil {
		t.Fatal(err)
	}
	if p, err := b.NextHere(); string(p) != "abc" || err != nil {
		t.Fatalf("%q, %v", p, err)
	}
	if _, err := b.NextHere(); err != ErrMore {
		t.Fatalf("inside the body: %v", err)
	}
}

// What a trailer section says about framing is not believed, and does not end the body.
func TestTrailersDoNotFrame(t *testing.T) {
	got, _, err := readBody("", &Head{Chunked: true}, strings.NewReader("1\r\nx\r\n0\r\nTransfer-Encoding: gzip\r\nContent-Length: x\r\nHost: a\r\nHost: b\r\n\r\n"))
	if got != "x" || err != nil {
		t.Fatalf("%q, %v", got, err)
	}
}

// Views of the head must hold still while a large body passes through the reader.
func TestHeadHoldsStill(t *testing.T) {
	body := strings.Repeat("0123456789abcdef", 40<<10/16)
	for _, framing := range []string{"length", "chunked"} {
		raw := "POST / HTTP/1.1\r\nHost: a\r\n"
		if framing == "length" {
			raw += "Content-Length: 40960\r\n\r\n" + body
		} else {
			raw += "Transfer-Encoding: chunked\r\n\r\na000\r\n" + body + "\r\n0\r\nT: 1\r\n\r\n"
		}
		raw += "GET /next HTTP/1.1\r\nHost: b\r\n\r\n"
		rd := NewReader(iotest.HalfReader(strings.NewReader(raw)))
		var h Head
		if err := rd.ReadRequest(&h, lim); err != nil {
			t.Fatal(err)
		}
		var b Body
		b.Request(&h, &rd, lim)
		n := 0
		for {
			p, err := b.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(framing, err)
			}
			if !strings.HasPrefix(body[n:], string(p)) {
				t.Fatalf("%s: wrong bytes at %d", framing, n)
			}
			n += len(p)
		}
		if string(h.Method()) != "POST" || n != len(body) {
			t.Fatalf("%s: method %q, body %d", framing, h.Method(), n)
		}
		rd.Unpin()
		if err := rd.ReadRequest(&h, lim); err != nil || string(h.Target()) != "/next" {
			t.Fatalf("%s: next request: %q, %v", framing, h.Target(), err)
		}
		rd.Release()
	}
}

func TestChunkSizeRoundTrip(t *testing.T) {
	for _, n := range []int{1, 9, 10, 15, 16, 255, 4096, 32 << 10, 1 << 40} {
		rd := NewReader(bytes.NewReader(AppendChunkSize(nil, n)))
		if err := rd.Fill(); err != nil {
			t.Fatal(err)
		}
		b := Body{rd: &rd, lim: lim, kind: bodyChunked}
		if f := b.size(); f != None || b.left != int64(n) {
			t.Errorf("%d: read back %d, %v", n, b.left, f)
		}
	}
}

const typical = "GET /v1/items/42?full=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\nX-Api-Key: 0123456789abcdef\r\nAccept-Encoding: gzip, br\r\nCookie: session=abcdefghijklmnopqrstuvwxyz\r\n\r\n"

func TestParseAllocatesNothing(t *testing.T) {
	var h Head
	buf := []byte(typical)
	if n := testing.AllocsPerRun(100, func() {
		h.Reset()
		if n, f := h.ParseRequest(buf, lim); n == 0 || f != None {
			t.Fatal(f)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParseRequest(b *testing.B) {
	var h Head
	buf := []byte(typical)
	b.ReportAllocs()
	b.SetBytes(int64(len(buf)))
	for b.Loop() {
		h.Reset()
		h.ParseRequest(buf, lim)
	}
}
