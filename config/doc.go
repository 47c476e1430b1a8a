// Package config turns a file and the environment into one validated, defaulted [Config], and reports every fault of a
// file at once, each with its place and what to do.
//
// # From bytes to a Config
//
// Parse goes four steps. (1) The bytes are checked (size, UTF-8, control bytes) and read into a tree of YAML nodes, each of
// which knows its line and column. A fault of syntax ends here: what follows a syntax error is a guess. (2) The tree is
// decoded over the structs of this package, whose tags are the schema. Every unknown or repeated key, wrong type, missing
// unit, value out of range and unset variable becomes a [Fault], and decoding goes on. (3) What needs more than one value is
// checked: names, references, addresses, files, expressions. Before that, policies take from their parents what they do not
// give themselves, so that what is checked, shown and hashed is what is in force. A check is silent about a path that already
// has a fault, so that one slip is told once. (4) The faults are sorted into file order.
//
// # Variables and templates
//
// ${NAME} and ${NAME:-default} are environment variables wherever a value stands, if NAME is made of capital letters, digits
// and _ (not a digit first). They are expanded in the decoded value, never in the text of the file, so a variable cannot
// change the file's structure. $${ stands for a plain ${. Header values, redirect.to, rewrite.to, regular expressions and
// bodies may hold other ${names}: there ${tenant} is a dimension or a group. The two never collide, because the name of a
// dimension is lower-case. Everywhere else a ${name} in small letters is a fault.
//
// # Aliases
//
// Anchors, aliases and merge keys (<<) work as in YAML 1.1. What aliases expand to is bounded (maxAliased values), so a small
// file cannot become a large configuration.
//
// # Policies and backpressure of the API
//
// [Config.With] adds policies that came over the network to a Config that is right already. They go the same four steps, each
// with its own text and its own list of faults, against the names, routes and expressions that Parse left behind. What must not
// be done for the network is not: variables, files, aliases.
// [Config.WithBackpressure] does the same with a backpressure section, and pools follow it: a Pool keeps which values of its
// breaker its own text gives, so that the others can be given anew. What the text does not give is right already and is not checked against it;
// what holds between a key that it gives and one that it does not is, and a fault of that is of the former.
//
// # What this package does not do
//
// It opens no sockets, resolves no names and starts nothing but the watcher that [Watch] runs in its caller's goroutine. It
// keeps no global state. It does not say whether two files differ in a way that matters: that is the gateway's to know, which
// compares identities. Certificates are read to see that they fit, and are loaded again by who serves them.
package config
