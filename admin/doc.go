// Package admin lets an operator see and change a gateway over HTTP: an API under /api/v1, /metrics, and /livez and
// /readyz for whatever watches the process. It knows the gateway only as a [Controller].
//
// Answers are JSON, errors application/problem+json (RFC 9457) that say what was wrong and where. Every request passes the same gates, in
// this order; the first that refuses answers:
//
//  1. Without tokens: the peer must be on loopback (403), and Host an IP address or localhost (403). A page of another site that
//     makes its own name resolve to this address (DNS rebinding) fails here.
//  2. A browser's request from another site, by Sec-Fetch-Site or Origin: 403. Whatever its method.
//  3. With tokens: a bearer token, but for /livez and /readyz: 401. All tokens are compared, as hashes, in constant time.
//  4. The path: 404. The method: 405 with Allow.
//  5. The role: a viewer may read and explain, all else needs an admin (validating reads the files that a body names): 403.
//  6. The body: media type 415, size 413, form 400.
//
// Whatever changes the gateway, and whatever was refused for its role, is logged with who, what and from where. A
// request that panics is answered 500 and logged; the gateway goes on.
//
// What this package deliberately does not do: listen (the caller serves [Server.HTTPServer]), speak TLS by itself, keep
// state, redact (what a Controller returns is shown as it is, so secrets must marshal redacted, as config.Secret does), or
// serve pages for browsers.
package admin
