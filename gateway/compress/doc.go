// Package compress chooses a content coding for a response, says which responses may have one, and encodes: gzip, br
// (Brotli) and zstd.
//
// A response is compressed in three steps. [Rules.Suitable] says whether it may be at all, whoever asks: if so, its Vary
// field needs Accept-Encoding ([AppendVary]) even when this client gets it as it is. [Negotiate] chooses the coding. If that
// is not Identity, the response goes through an [Encoder], gets a Content-Encoding, a weak ETag ([AppendWeakTag]), loses the
// fields in [Dropped], and is framed without a length.
//
// # What an encoder costs
//
// Heap bytes that an encoder holds at most, from NewEncoder to Release, and MB/s of JSON in pieces of 16 KiB, on one core of
// a 2-core machine, with what is left of 16 KiB:
//
//	        Fast                        Small
//	gzip    0.8 MiB  590 MB/s  23.8 %   1.1 MiB  300 MB/s  21.0 %
//	br      1.0 MiB  130 MB/s  21.6 %   1.8 MiB   45 MB/s  18.8 %
//	zstd    0.9 MiB  375 MB/s  21.9 %   5.1 MiB  285 MB/s  19.9 %
//
// So zstd, gzip, br is the order for speed, and br before gzip the one for size. [Footprint] states the bytes to programs;
// they do not grow with the response. Encoders wait in pools, which the garbage collector empties when they are idle. How
// many are at work at a time is the caller's to bound.
//
// # Streams
//
// An encoder holds back up to some 128 KiB until it has a block. A stream whose source pauses (server-sent events, long
// polls, logs) must be flushed after each piece that came when no further one is at hand; a flush costs a few bytes, and
// small pieces compress badly. A flush with nothing new is free and writes nothing.
//
// # BREACH
//
// A compressed response that holds both a secret and what a request said (a CSRF token beside a search term) tells the
// secret to who can make a victim send requests and see the lengths of answers (breachattack.com, 2013); TLS does not help.
// No coding is safe from that. Leave compression off for such routes, or mask the secret anew in each response.
//
// # Entity tags
//
// A strong tag names bytes, and those change, so it becomes weak, as nginx does. If-None-Match compares weakly and goes on
// working. If-Match and If-Range compare strongly, and fail with a tag that was weakened: a client that edits what it read
// should ask for the identity coding.
//
// # Modules
//
// klauspost/compress does gzip, at 2 to 3 times the speed of compress/gzip, and zstd, which the standard library does not
// write. andybalholm/brotli does br in plain Go; its newer writer (NewWriterV2) cannot flush.
//
// # What it does not do
//
// It decodes nothing, compresses no requests, has no deflate (senders and readers disagree on what it is) and no
// dictionaries, does not honour ranges, and does not change messages: fields are text in and text out. Signatures over
// fields that change (RFC 9421) are the caller's to think of.
package compress
