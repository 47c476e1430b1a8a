package http1

// Fault says why a message was refused. The zero value is no fault; it implements error.
type Fault uint8

// The faults of messages.
const (
	None Fault = iota
	BadLine
	BadMethod
	BadTarget
	BadVersion
	BadStatus
	BareCR
	BareLF
	Folded
	BadName
	BadValue
	BadHost
	BadLength
	BadCoding
	LengthAndCoding
	CodingIn10
	BadChunk
	BadTrailer
	HeadTooLarge
	TooManyFields
	TargetTooLong
	BadConnection
	BodyTooLarge
	faults
)

var faultText = [faults]string{
	None:            "no fault",
	BadLine:         "malformed start line",
	BadMethod:       "method is not a token",
	BadTarget:       "malformed request target",
	BadVersion:      "unknown HTTP version",
	BadStatus:       "malformed status line",
	BareCR:          "carriage return without line feed",
	BareLF:          "line feed without carriage return",
	Folded:          "folded header line",
	BadName:         "header name is not a token followed by a colon",
	BadValue:        "control byte in a header value",
	BadHost:         "missing, repeated or malformed Host",
	BadLength:       "repeated or malformed Content-Length",
	BadCoding:       "transfer coding other than a single chunked",
	LengthAndCoding: "Content-Length together with Transfer-Encoding",
	CodingIn10:      "Transfer-Encoding in an HTTP/1.0 message",
	BadChunk:        "malformed chunk",
	BadTrailer:      "malformed trailer",
	HeadTooLarge:    "header too large",
	TooManyFields:   "too many header fields",
	TargetTooLong:   "request target too long",
	BadConnection:   "malformed Connection header",
	BodyTooLarge:    "body larger than the limit",
}

// Error returns the reason in words.
func (f Fault) Error() string { return faultText[f] }

// TooLarge reports whether the message was refused for its size, not for its form.
func (f Fault) TooLarge() bool {
	return f == HeadTooLarge || f == TooManyFields || f == TargetTooLong
}
