// Package http1 is a strict HTTP/1.x codec: message heads, body framing, chunks and trailers (RFC 9112).
//
// It exists because a gateway stands between two parsers that may disagree, and every leniency here is a smuggled request
// there. Nothing is repaired: a message that RFC 9112 allows a recipient to reject is rejected, and what is sent on is
// always serialised anew from parsed parts, never copied.
//
// A [Head] is parsed in one pass over the connection's read buffer, can be resumed when more bytes arrive, and holds
// offsets, not copies: it costs no allocation in steady state. A [Body] hands out views of the same buffer.
//
// What it refuses, beyond the grammar: Content-Length with Transfer-Encoding, a repeated Content-Length even when equal,
// any transfer coding but one final chunked, Transfer-Encoding in HTTP/1.0, bare CR or LF anywhere, line folding, space
// around a field name, control bytes in values, versions other than 1.0 and 1.1, status codes outside 100 to 599.
//
// It does not do deadlines, connection reuse, or routing, and knows no header's meaning beyond framing and hop-by-hop.
package http1
