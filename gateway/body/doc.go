// Package body changes JSON documents without decoding them: it sets, removes and renames members and elements, and copies
// everything else byte for byte. The order of members, the spelling of numbers and strings, white space and duplicate names
// stay as they came.
//
// # Paths
//
// A path names values from the top of the document down:
//
//	user.address.zip      members by name
//	items[0].id           the first element of an array
//	items[].price         every element
//	[].id                 the top is an array
//	user["first.name"]    a name, written as a JSON string, that holds dots, brackets, quotes or spaces
//
// Names are compared as what they mean ("\u0061" is a), and by case. A name that stands twice in an object is two members,
// and an operation is done to both: a reader may take either, so a duplicate must not hide a member from a removal. A step
// that meets a value of another kind matches nothing: items[0] finds nothing in an object.
//
// # Operations
//
// They act one after the other, each on what those before it made.
//
//   - Set replaces what the path finds. Where the path ends in names, objects that are missing or null on the way are made, and
//     new members go to the end of their object. Elements are replaced but never added.
//   - Remove takes members with their name, and elements, so that those behind move up.
//   - Rename gives members another name, in their place. Other members of the new name are removed from that object.
//
// A value is a JSON text, or a template: text with ${name} in it, which becomes a string. $${ stands for ${. A name that has
// no value is empty text, and where the template is nothing but that name, null.
//
// # How it works
//
// Compile sorts operations into passes. Those of one pass cannot see each other's work (their paths part at some step), so
// that they are done in one go over the document, with a tree of their steps. Usually there is one pass. A pass reads the
// document once, checks all of its grammar (RFC 8259), and copies the stretches between edits. An object in which something
// is renamed is read ahead once, to know which members must go. So a pass costs O(n), for a program of a given size.
//
// No library seen does this. tidwall/sjson 1.2 and buger/jsonparser 1.6 change what is no JSON without a word, change the
// first of duplicate names only, rename nothing, and take one pass an operation. encoding/json/jsontext is an experiment in
// Go 1.26 (GOEXPERIMENT=jsonv2), and would still leave edits, white space and commas to us.
//
// # What it does not do
//
// It decides nothing about requests: whether a document that is not JSON is passed on or refused is the caller's matter, as
// are Content-Type, Content-Encoding, Cache-Control: no-transform and Content-Length. Where an operation guards something (a
// secret removed, a tenant set), pass on nothing that Apply did not take: the reader may be less strict. It does not check
// UTF-8 (bytes that are none are copied), fold the case of names, refuse duplicates, compute values, or take other encodings
// than UTF-8.
package body
