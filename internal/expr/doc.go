// Package expr compiles and evaluates conditions and values that users write in CEL, the Common Expression Language
// (https://cel.dev). It is the only package that knows the library.
//
// An expression sees the request and the dimensions:
//
//	request.method, request.host, request.path     strings
//	request.headers["name"]                        first value of a field, its name in any case
//	request.query["name"]                          first value of a parameter, decoded
//	tenant, user_id, …                             the dimensions by name, as strings
//
// A header field or parameter that the request does not have is an evaluation error, unless the expression asks first:
// "x-a" in request.headers, has(request.query.page), or request.headers[?"x-a"].orValue("none"). A dimension that the
// request does not have is "", which reads better in conditions (tenant == "acme") and cannot fail them. Besides the
// standard functions (startsWith, contains, matches with RE2, size, int, …) there are those of the strings extension
// (lowerAscii, split, replace, substring, trim, …) and optional values.
//
// # Settle expressions
//
// What an exchange really cost is known after the response. A settle expression sees the request as above, and:
//
//	response.status, response.bytes                ints; the bytes of the body that were sent to the client
//	response.headers["name"]                       first value of a field, its name in any case
//	response.json                                  the body, if it is JSON: response.json.usage.total_tokens
//	request.messages, response.messages            how many messages passed, of a call of gRPC
//
// It gives an int, a double, which is rounded up, or a string of digits, so that response.headers["x-cost"] does. A number
// of the JSON is an int if it is whole, however it is written, so that response.json.usage.total_tokens * 2 works; for one
// that may be either, write double(response.json.price) * 1000.0. Lists of the JSON can be walked and searched, but its
// objects only be asked by name, and neither compared as a whole. What is missing is an error, unless the expression asks
// first: has(response.json.usage), response.json.?usage.?total_tokens.orValue(1), or
// response.headers[?"x-cost"].orValue("1").
//
// # Hints
//
// Most conditions of many begin with whom they are for: tenant == "acme" && …. [Program.Implies] says which value of which
// dimension a condition demands, so that the few that may hold are found by an index, without evaluating the others.
//
// # Bounds
//
// An expression runs on the way of every request, over strings that strangers chose, so its cost must be bounded before
// the first one. CEL has no recursion and no unbounded loop; what remains is bounded in four ways.
//
//   - Source and nesting are limited.
//   - The library's estimate of the worst case, for strings of 16 KiB each, must stay below 10 billion units (a unit is about
//     ten bytes looked at or made). It is generous: it lets a loop over a split path pass, but not a loop within it.
//   - One evaluation may spend 200,000 units. A program whose worst case is higher runs with the library's meter, which
//     ends it with an error; one whose worst case is lower runs without, as it cannot get there (longer strings than the
//     estimate assumed are an error themselves). Tests hold the estimate against the meter.
//   - The meter reads after each call, so no single call may make much out of little: replace() takes a short literal, and
//     join() and format() are refused. Regular expressions must be literals, so that they are compiled once, and never
//     from a stranger's text.
//
// A settle expression has no estimate, as nobody knows the shape of the JSON; it always runs with the meter, and compares
// no lists or maps. Strings of the JSON are held to 16 KiB as those of the request are; how long a body is decoded at all
// is bounded by the caller.
//
// # What it does not do
//
// It has no clock, no randomness and no state: the same request gives the same result. It cannot list header fields or
// query parameters, nor see any but the first of each name, nor a request's body. Only settle expressions see the response.
// It does not decide what an error means; its caller does.
package expr
