// Package tls terminates TLS and hands connections on by protocol.
//
// A [Store] holds what a server proves itself with: certificate files, certificates from an ACME authority, session
// ticket keys and the authority of client certificates. All a handshake needs hangs on one atomic pointer, so a handshake
// never sees half of two configurations, and a reload disturbs no open connection.
//
// A [Mux] accepts connections and brings each to the point where a handler may read a request: bounds per listener and
// per client, PROXY header, TLS handshake. A connection in clear text is the *net.TCPConn itself: no wrapper, no buffer,
// no deadline, so the kernel's zero-copy paths stay open and an idle connection costs its goroutine and little else. A
// PROXY header is read by exact reads, so none of the bytes after it are taken and there too the connection stays bare.
//
// # Which certificate
//
// A certificate is offered for the DNS names among its subject alternative names: exact, or a wildcard for exactly one
// label. The common name is ignored, as clients ignore it. An exact name wins over a wildcard, files win over ACME. Of
// several certificates for one name the first that the client supports and that has not expired is taken: ECDSA and
// Ed25519 before RSA, then the one that lasts longest.
//
// A name that is not ours is refused with the alert unrecognized_name, also when the client resumes a session: there is no
// fallback certificate. A client that sends no name (as for https://192.0.2.1/) is refused in the same way, with one
// exception: when all certificates are for the same set of names there is nothing to choose, and that one is presented.
//
// # Sessions
//
// Session tickets are encrypted under keys from crypto/rand that change every 12 hours; the current and the previous key
// are accepted, so a stolen key opens at most a day. Keys outlive a reload. They are dropped when the mode or the authority
// of client certificates changes, so that a resumed session cannot stand in for a certificate that is now required.
//
// # ACME
//
// [Store.Run] obtains certificates ahead of the first handshake, by TLS-ALPN-01 and then HTTP-01, and no handshake ever
// waits for the authority. An authority's TLS-ALPN-01 handshake needs no client certificate and ends in the Mux.
//
// # Not done here
//
// The package does not staple OCSP, does not fetch or check revocation lists, does not obtain wildcard certificates (that
// needs DNS-01), obtains no RSA certificates by ACME, does not read TLVs of a PROXY v2 header and does not look into HTTP.
package tls
