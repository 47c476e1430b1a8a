// Package h2 is both ends of a connection of HTTP/2 (RFC 9113): frames, header compression, flow control, and the life of streams.
//
// [Conn.Serve] reads as a server, in its caller's goroutine, and hands each request to Options.Handle in another. A [Stream] gives the request's
// head and body and takes the answer, in plain calls that wait: for bytes, for windows, for room. [Client.Serve] reads as a client. Whoever has
// reserved a stream begins a [Call], which takes a request and gives the answer in the same way, but that heads never wait.
//
// What both ends have in common is base and stream; what they do their own way, side.
//
// Nothing is written by who has something to say. It is appended to the connection's output, in whole frames, and one goroutine writes what has
// gathered, as long as there is some; before its first write it lets others go first, so that streams that are ready share a system call. A stream
// does it itself as far as the socket takes what there is at once. So none ever waits in a system call for a peer that does not read, and
// whatever it waits for can be ended at any time. Output is bounded: streams wait for room, in turn, a frame each; a peer that has the connection
// itself say more than it takes loses it.
//
// What a peer has the other end do for nothing is counted (floodgate), and too much of it ends the connection.
//
// The package does not judge what requests mean, knows no trailers' or fields' meaning but what framing needs, pushes nothing, and has no
// priorities.
package h2
