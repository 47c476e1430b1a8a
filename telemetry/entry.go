package telemetry

import (
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// Entry is one request as the access log shows it. Strings may point into buffers that are used again: Log copies what
// it writes. Empty strings, zero times and false are left out of the line, but for the fields marked always.
type Entry struct {
	Start    time.Time     // always; wall clock, when the request's header was complete
	Duration time.Duration // always; to the last byte of the response
	Upstream time.Duration // from the first attempt's start to the response's header
	Queue    time.Duration // waited for room
	Limit    time.Duration // waited for limits
	Priority string        // if not the usual one

	Method, Host, Path, Proto string // Method and Path always; Path as the client sent it
	Query                     string // without the question mark; values of AccessLogOptions.SecretQuery are redacted
	Status                    int    // always; 0 if nothing was answered
	GRPC                      bool   // the client got the status GRPCStatus of gRPC
	GRPCStatus                int
	Route, Pool, Endpoint     string
	Policy, Reason            string // who refused, and why: a token of Weir-Reason
	RequestID, TraceID        string
	Client                    netip.Addr // after the rules for trusted proxies
	BytesIn, BytesOut         int64      // always; of the bodies
	MessagesIn, MessagesOut   int64      // of a WebSocket; out also the events of an event stream
	CloseCode                 int        // status of a WebSocket's end (RFC 6455, section 7.4.1)
	Ended                     string     // who or what ended a tunnel or an event stream, if not its own end
	Attempts                  int        // at upstreams
	Cache                     string     // what a route's cache did for it: a result of cache_requests_total
	UserAgent, Referer        string     // a query in Referer is redacted like Query
	TLS                       bool
	Dimensions                []EntryDimension // at most 32 are written
	Error                     string           // what went wrong, in words
}

// EntryDimension is a property of the request that policies know. The value of a secret one is not written.
type EntryDimension struct {
	Name, Value string
	Secret      bool
}

// The longest that is written of what, in bytes before escaping.
const (
	maxPath       = 2048
	maxReferer    = 1024
	maxText       = 512 // user agent, error
	maxHost       = 256
	maxWord       = 128 // names, ids, method
	maxDimensions = 32
)

const redacted = "[redacted]"

// appendEntry appends e to dst as one JSON object and a newline.
func appendEntry(dst []byte, e *Entry, secretQuery []string) []byte {
	dst = append(dst, `{"time":"`...)
	dst = appendTime(dst, e.Start)
	dst = append(dst, '"')
	if e.Client.IsValid() {
		dst = append(dst, `,"client":`...)
		dst = appendAddr(dst, e.Client)
	}
	dst = append(dst, `,"method":`...)
	dst = appendString(dst, e.Method, maxWord)
	dst = appendField(dst, `,"host":`, e.Host, maxHost)
	dst = append(dst, `,"path":`...)
	dst = appendString(dst, e.Path, maxPath)
	if e.Query != "" {
		dst = append(dst, `,"query":`...)
		dst = appendString(dst, redactQuery(e.Query, secretQuery), maxPath)
	}
	dst = appendField(dst, `,"proto":`, e.Proto, maxWord)
	if e.TLS {
		dst = append(dst, `,"tls":true`...)
	}
	dst = appendInt(dst, `,"status":`, int64(e.Status))
	if e.GRPC {
		dst = appendInt(dst, `,"grpc_status":`, int64(e.GRPCStatus))
	}
	dst = appendTimes(dst, e)
	dst = appendInt(dst, `,"bytes_in":`, e.BytesIn)
	dst = appendInt(dst, `,"bytes_out":`, e.BytesOut)
	if e.MessagesIn != 0 || e.MessagesOut != 0 {
		dst = appendInt(dst, `,"messages_in":`, e.MessagesIn)
		dst = appendInt(dst, `,"messages_out":`, e.MessagesOut)
	}
	if e.CloseCode != 0 {
		dst = appendInt(dst, `,"close_code":`, int64(e.CloseCode))
	}
	dst = appendField(dst, `,"ended":`, e.Ended, maxWord)
	dst = appendField(dst, `,"route":`, e.Route, maxWord)
	dst = appendField(dst, `,"pool":`, e.Pool, maxWord)
	dst = appendField(dst, `,"endpoint":`, e.Endpoint, maxHost)
	if e.Attempts != 0 {
		dst = appendInt(dst, `,"attempts":`, int64(e.Attempts))
	}
	dst = appendField(dst, `,"cache":`, e.Cache, maxWord)
	dst = appendField(dst, `,"priority":`, e.Priority, maxWord)
	dst = appendField(dst, `,"policy":`, e.Policy, maxWord)
	dst = appendField(dst, `,"reason":`, e.Reason, maxWord)
	dst = appendField(dst, `,"error":`, e.Error, maxText)
	dst = appendField(dst, `,"request_id":`, e.RequestID, maxWord)
	dst = appendField(dst, `,"trace_id":`, e.TraceID, maxWord)
	dst = appendField(dst, `,"user_agent":`, e.UserAgent, maxText)
	if e.Referer != "" {
		dst = append(dst, `,"referer":`...)
		dst = appendString(dst, redactReferer(e.Referer, secretQuery), maxReferer)
	}
	dst = appendDimensions(dst, e.Dimensions)
	return append(dst, '}', '\n')
}

func appendTimes(dst []byte, e *Entry) []byte {
	dst = appendMillis(dst, `,"duration_ms":`, e.Duration)
	if e.Upstream != 0 {
		dst = appendMillis(dst, `,"upstream_ms":`, e.Upstream)
	}
	if e.Queue != 0 {
		dst = appendMillis(dst, `,"queue_ms":`, e.Queue)
	}
	if e.Limit != 0 {
		dst = appendMillis(dst, `,"limit_wait_ms":`, e.Limit)
	}
	return dst
}

// appendField appends key, which holds its comma, quotes and colon, and s; nothing if s is empty.
func appendField(dst []byte, key, s string, limit int) []byte {
	if s == "" {
		return dst
	}
	return appendString(append(dst, key...), s, limit)
}

func appendInt(dst []byte, key string, n int64) []byte {
	return strconv.AppendInt(append(dst, key...), n, 10)
}

// appendMillis appends d in milliseconds with three decimals, cut. A negative d is written as 0.
func appendMillis(dst []byte, key string, d time.Duration) []byte {
	us := uint64(max(d, 0) / time.Microsecond)
	dst = strconv.AppendUint(append(dst, key...), us/1000, 10)
	us %= 1000
	return append(dst, '.', byte('0'+us/100), byte('0'+us/10%10), byte('0'+us%10))
}

// appendTime appends t in UTC as RFC 3339 with milliseconds.
func appendTime(dst []byte, t time.Time) []byte {
	t = t.UTC()
	year, month, day := t.Date()
	hour, minute, second := t.Clock()
	ms := t.Nanosecond() / 1e6
	year = min(max(year, 0), 9999)
	dst = appendTwo(appendTwo(dst, year/100), year%100)
	dst = appendTwo(append(dst, '-'), int(month))
	dst = appendTwo(append(dst, '-'), day)
	dst = appendTwo(append(dst, 'T'), hour)
	dst = appendTwo(append(dst, ':'), minute)
	dst = appendTwo(append(dst, ':'), second)
	return append(dst, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

func appendTwo(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

// appendAddr appends a as a JSON string. A zone may have come from a client, so it is left out.
func appendAddr(dst []byte, a netip.Addr) []byte {
	dst = append(dst, '"')
	dst = a.Unmap().WithZone("").AppendTo(dst)
	return append(dst, '"')
}

func appendDimensions(dst []byte, all []EntryDimension) []byte {
	if len(all) == 0 {
		return dst
	}
	sep := `,"dimensions":{`
	for _, d := range all[:min(len(all), maxDimensions)] {
		dst = append(dst, sep...)
		dst = appendString(dst, d.Name, maxWord)
		dst = append(dst, ':')
		if d.Secret {
			d.Value = redacted
		}
		dst = appendString(dst, d.Value, maxHost)
		sep = ","
	}
	return append(dst, '}')
}

// redactReferer returns a URL with its query redacted.
func redactReferer(s string, names []string) string {
	_, query, _ := strings.Cut(s, "?")
	clear := redactQuery(query, names)
	if clear == query {
		return s
	}
	return s[:len(s)-len(query)] + clear
}

// redactQuery returns a query with the values of the parameters that are named replaced. It allocates only if there is
// one.
func redactQuery(q string, names []string) string {
	if len(names) == 0 {
		return q
	}
	var b strings.Builder
	done := 0 // q up to here is in b
	for at := 0; at < len(q); {
		end := len(q)
		if i := strings.IndexByte(q[at:], '&'); i >= 0 {
			end = at + i
		}
		if n := secretAt(q[at:end], names); n > 0 {
			b.WriteString(q[done : at+n])
			b.WriteString(redacted)
			done = end
		}
		at = end + 1
	}
	if done == 0 {
		return q
	}
	b.WriteString(q[done:])
	return b.String()
}

// secretAt returns where in a piece of a query between two & a value begins that is not to be shown, or 0. A ; may begin another
// parameter, or belong to the value: from there on nothing is shown.
func secretAt(piece string, names []string) int {
	for at := 0; ; {
		part := piece[at:]
		next := strings.IndexByte(part, ';')
		if next >= 0 {
			part = part[:next]
		}
		if name, _, ok := strings.Cut(part, "="); ok && isOneOf(name, names) {
			return at + len(name) + 1
		}
		if next < 0 {
			return 0
		}
		at += next + 1
	}
}

// isOneOf reports whether the raw name of a query parameter is one of names, as it stands or percent-decoded, or as some servers take it for one.
func isOneOf(raw string, names []string) bool {
	for _, n := range names {
		if raw == n || decodesTo(raw, n) {
			return true
		}
	}
	return false
}

func decodesTo(raw, name string) bool {
	at := 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '+':
			c = ' '
		case c == '%' && i+2 < len(raw) && unhex(raw[i+1])|unhex(raw[i+2]) <= 0xf:
			c = unhex(raw[i+1])<<4 | unhex(raw[i+2])
			i += 2
		}
		switch {
		case at == len(name) && (c == '[' || c == 0): // a list, or where some servers end a name
			return true
		case at < len(name) && (name[at] == c || joins(c) && joins(name[at])):
			at++
		case at == 0 && c == ' ': // PHP drops leading spaces
		default:
			return false
		}
	}
	return at == len(name)
}

// joins reports whether PHP reads c as _ in a name.
func joins(c byte) bool { return c == '_' || c == '.' || c == ' ' || c == '[' }

func unhex(c byte) byte {
	if 'A' <= c && c <= 'F' {
		return c - 'A' + 10
	}
	return nibbles[c]
}
