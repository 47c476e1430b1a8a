// Package cache says whether a response may be stored or reused, and stores it: a shared cache as in RFC 9111, in memory.
//
// # How it is used
//
// [Cache.Lookup] says what is to be done about a request. A Hit is an [Answer] ready to be sent: header lines, and a view of the body. A Miss
// comes with a [Flight], which sees the response: Begin its head, Fill each piece of its body, then Commit or Abort. It says at the head
// what becomes of the response. With Revalidate the request goes out with the flight's conditions in place of its own; Begin then may say
// Freshened, and Answer has what to send. If the upstream fails, Rescue may have something stale. With Stale the answer is sent, and its
// flight, if there is one, is flown behind it by whoever can, without the request: what it selects by is known from what is stored.
//
// Time is an argument. How old and how fresh a response is goes by the monotonic clock from the moment it came, so that a jump of the wall
// clock changes nothing; the wall clock only serves to understand the dates in it, as it comes. A response that a request takes long to
// bring is that much older: the whole time since Lookup counts, as RFC 9111, section 4.2.3, has it.
//
// # What is kept
//
// For each [Key], which is a URL and values of dimensions, a resource: its variants by Vary, the latest first, each with the request's values
// of those fields. A resource is looked up by a hash of 64 bits with a secret, and its whole key compared, so that keys that collide only
// replace each other. Variants and resources do not change: what freshens a variant makes another with the same body, and a new resource in place of the
// old, in one step. So whoever has an answer may go on sending it, whatever is purged or evicted meanwhile; its memory is the collector's then, and
// counted no more but for long bodies that are lent: see [Answer.Lend].
//
// Memory is bounded by MaxSize: an eighth (of small caches up to a half) for bodies on their way, the rest for what is stored, which is counted in
// bytes with keys, heads, tags and an estimate for the structs. What to keep is decided by adaptive W-TinyLFU (github.com/maypok86/otter): a newcomer
// must have been asked for more often than what it would replace, so that a flood of URLs that are asked for once evicts little. A
// body that finds no room, or is longer than allowed, is passed on and not stored.
//
// # Waiting
//
// With Coalesce, requests for a key that differ in no field that its latest variant varies by wait for the first of them. When it lands, they ask again;
// if it was aborted one of them goes in its place. Who is known (Authorization) and who is not do not wait for each other. They go on at once when the head says that the response is not for all, and for ten seconds
// nobody waits for that key. A request that wants a fresh answer (no-cache), a conditional or partial one on a miss, and one with HEAD neither waits nor is waited for.
//
// # Purging
//
// What a purge or an unsafe request makes out of date is removed, and the flights for it marked so that they store nothing. By URL there is an
// index of what is stored and under way; by tag an index of keys; by prefix all keys are looked at. The indices hold no more than what is stored, which pays for
// them. The last 256 purges by prefix and tag are remembered, for fills that began before and have not come to their head yet.
//
// # Where RFC 9111 leaves a choice
//
//   - A response that says nothing of its freshness is not stored, but by Policy.TTL or Policy.Heuristic, and then only with a status that may be.
//     One that is stale at once is stored only if it has a validator and says so itself, or may be served stale.
//   - Of several values of a directive the first counts; one that is not a number makes stale.
//   - no-cache and private with field names keep these fields from being stored, and nothing else.
//   - A status that speaks of the request (400, 416, 431 and the like) is not stored, and makes nothing forgotten; neither are bodies that do not end.
//   - A response that says nothing of its freshness is not stored for a request with Cookie, unless it varies by that; see Policy.StoreCookies.
//   - What a 304 freshens is stored only if it is still there: a purge is not undone. What was purged does not stand in for an error.
//   - RateLimit, X-RateLimit-* and Weir-* of a response are one client's account, and not stored.
//   - Set-Cookie keeps a response from being stored unless it says public or s-maxage; see Policy.StoreCookies.
//   - s-maxage forbids stale answers by configuration or by the client's wish, but not a stale-while-revalidate or stale-if-error
//     of the same response; must-revalidate, proxy-revalidate and no-cache forbid both.
//   - Several ranges at once are answered with the whole.
//   - A 304 and a HEAD do not change Content-Type, Content-Encoding and what else describes a body that did not come with them.
//   - If-Match and If-Unmodified-Since are the origin's.
//   - A condition or a range on a miss is forwarded as it is: a 304 or 206 that comes of it is passed on and not stored.
//
// # What it does not do
//
// It does not read or send requests, transform bodies, store 206 or put parts together, store responses to POST, keep trailers, know request
// fields that are not in Vary or in the key, tell peers of purges, or survive a restart. The monotonic clock may stand still while a machine is
// suspended: what was fresh before is fresh after.
package cache
