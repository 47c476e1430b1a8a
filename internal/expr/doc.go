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
// # What it does not do
//
// It has no clock, no randomness and no state: the same request gives the same result. It cannot list header fields or
// query parameters, nor see any but the first of each name, nor bodies or responses. It does not decide what an error
// means; its caller does.
package expr
