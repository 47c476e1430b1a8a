// Package route maps a request head to a route: the first rule, in the order of the file, of which all holds.
//
// # Paths
//
// A rule's path is one of
//
//	""  or  "/*"        every path
//	"/exact"            this path; "/exact/" is another one
//	"/prefix/*"         "/prefix" and everything below it: "/prefix/", "/prefix/a/b", but not "/prefixed"
//	"/users/:id/orders" ":id" stands for one segment that is not empty; "/*" may follow
//	"~^/v[12]/"         a regular expression (RE2), anywhere in the path unless anchored
//
// Paths are case-sensitive, and normalised before they are matched (see [Normalize]); a pattern that no normalised path
// can match is refused, with the one to write. Normalisation keeps the escapes of reserved characters (%40 is not @, RFC
// 3986, 2.2), and so does what is forwarded; but many servers read both as one. Therefore they are one to a [Table]:
// patterns, regular expressions among them, see reserved characters (!$&'()*+,;=:@[]) decoded. Neither form dodges a route.
// A host may end in a dot, which changes nothing.
//
// # How a look-up works
//
// "First match in file order" is a linear search, and the table answers as one would; the tests hold it against one.
// It finds the same rule without asking them all. Rules are grouped by host pattern, and those of a group hang in a tree
// of path segments whose nodes carry ascending lists of rule numbers. A host of n labels belongs to at most n+1 groups
// (itself, a wildcard for each shorter suffix, any), and in each tree the path selects the nodes on its way down. Every
// rule that matches host and path is in one of the lists met; every rule in one of them does, but for regular
// expressions, which hang where their literal beginning leads ("~^/users/[0-9]+$" below /users). The lowest rule
// that accepts the rest of the head wins, and a rule at or above the best one so far is never asked, nor a subtree
// that has only such rules.
//
// So the cost is one map look-up per label and segment, plus the rules that match host and path but not the rest. Those
// are linear: a thousand rules with the same host and path that differ in one header's value are asked one after the
// other, and so are a thousand regular expressions that begin with no literal segment, at about 0.2 to 1 µs each.
//
// # What it does not do
//
// It does not read requests, parse queries or decode parameters; it does not order rules by how special they are, nor
// find rules that can never be reached; it does not reuse memory between tables: a reload compiles a new one.
package route
