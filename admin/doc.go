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
//  6. The body: media type 415, size 413, form 400, values 422.
//
// Whatever changes the gateway, and whatever was refused for its role, is logged with who, what and from where. A
// request that panics is answered 500 and logged; the gateway goes on.
//
// # Policies
//
// A policy's text, JSON or YAML, goes to the decoder of config files as it is, so that an API's faults are a file's: all at
// once, with line and column. ETag is strong. PUT and DELETE take If-Match, a list or *, and without it the last one wins; GET
// takes If-None-Match. A POST whose name is taken is 409 with the Location of the policy that has it.
//
// # Checks
//
// POST /api/v1/check is how an API server that no gateway stands before asks to spend. One that spends needs the role checker, or
// admin: a viewer's token is for dashboards and for people, and who holds it must not be able to use up somebody's limit. A check of no
// tokens changes nothing, so that a viewer may send it. The role is thus known only after the body: gate 5 comes after 6, and
// a list is refused as a whole, before anything is spent. Checks are no changes to be logged, there are too many; the metrics of
// the policies count them.
//
// One check is answered 200 or, refused, 429; a list is 200, with an answer to each in its order. What two checks of a list
// spend, the second sees. They are not charged together: one may be refused and the others not.
//
// A key names somebody and is no secret: it stands in URLs and in the log.
//
// # Purging
//
// DELETE /api/v1/cache forgets kept answers: by url, by prefix of URLs, by tag, or all=true. A URL has scheme and host, as clients say them. The
// answer says how many this gateway forgot; the others of a cluster are told, once and without an answer.
//
// What this package deliberately does not do: listen (the caller serves [Server.HTTPServer]), speak TLS by itself, keep
// state, redact (what a Controller returns is shown as it is, so secrets must marshal redacted, as config.Secret does), or
// serve pages for browsers.
package admin
