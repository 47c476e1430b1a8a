// Package store keeps what quota policies have counted across restarts, in one file of node.data_dir.
//
// A [Store] holds one [Record] per policy and key: the window that was saved last, and what is used of it. It is never on
// the request path. The gateway loads a policy when it starts, and hands over what changed about ten times a second; a
// SIGKILL or a power cut at any instant loses what was not handed over yet, and no more.
//
// # The file
//
// quota.db is a bbolt database: a copy-on-write B+ tree in pages of 4 KiB. A transaction writes its pages where no page in
// use is, syncs, and then writes and syncs one of two header pages with a checksum; whichever header is whole and newer is
// the state. So a batch is there as a whole or not at all.
//
//	meta           version → 1 (8 bytes), SHA-256 of a policy → the day it was used last (8 bytes)
//	SHA-256(policy)    key (16 bytes) → window, used (8 bytes each)       one bucket per policy; all numbers big endian
//
// Options of bbolt that differ from its defaults, or were considered:
//
//   - The list of free pages is written with every transaction (NoFreelistSync off). To leave it out saves a page or two
//     of some hundred, but then opening, and every Save that fails, scans the whole file, and does so in a goroutine of
//     bbolt's whose panic nobody can recover.
//   - The list is kept as a hash map: the array is searched in full for every page that is written.
//   - The first memory map is as small as bbolt has it: a larger one makes the file of a small gateway 16 MiB at once, and
//     spares nothing, for here no reader ever makes a writer wait to map anew.
//   - Pages are of 4 KiB whatever the machine's are, so that a data directory can move to another one of the same byte
//     order. Smaller ones would make large batches two to three times as fast, but a disk writes sectors of up to 4 KiB,
//     and a power cut in one would damage the pages beside the one that is written, perhaps both headers.
//   - Both syncs of a transaction stay.
//
// # Damaged files
//
// bbolt trusts its file: there a wrong page number is a read outside of the map, a cycle an endless recursion, a wrong
// count an allocation of terabytes. None of them can be recovered from in Go. So Open takes the lock, and before bbolt
// sees the file reads it all once and checks every header, page number, offset, count and order of keys (check.go). What
// goes wrong later, such as a file that is cut while it is open, is a panic or a fault in the caller's goroutine, and
// becomes an error.
//
// # What this package deliberately does not do
//
// It does not merge: a record replaces that of its key, and to add up is the caller's. It has no checksum over records: a
// flipped bit in a count goes unseen, and so does a disk that says it has synced and has not. It does not make the file
// smaller: pages that become free are used again. It keeps no file for two processes at a time, reads no configuration,
// starts no goroutine, logs nothing, and does not know what a key stands for. It never deletes or repairs a file that it
// does not understand.
package store
