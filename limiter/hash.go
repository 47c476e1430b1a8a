package limiter

import (
	"encoding/binary"

	"github.com/dchest/siphash"
)

// Key names a bucket: a keyed 128-bit hash of a policy's identity and its dimension values. Two different framings share
// a key with a chance of 2^-128, and a client that does not know the secret cannot look for such a pair.
type Key struct{ Hi, Lo uint64 }

// Hasher makes keys with SipHash-2-4-128 (Aumasson and Bernstein, 2012). Hashers of the same secret agree on every
// machine. The zero value is a hasher of the all-zero secret. Safe for concurrent use.
type Hasher struct{ k0, k1 uint64 }

// NewHasher returns the hasher of secret.
func NewHasher(secret [16]byte) Hasher {
	return Hasher{binary.LittleEndian.Uint64(secret[:8]), binary.LittleEndian.Uint64(secret[8:])}
}

// Sum hashes what AppendPart framed. About 1 ns a byte and 20 ns in all, no allocation.
func (h Hasher) Sum(framed []byte) Key {
	lo, hi := siphash.Hash128(h.k0, h.k1, framed)
	return Key{Hi: hi, Lo: lo}
}

// AppendPart appends part to dst behind its length (uvarint), so that different sequences of parts never make the same
// bytes: ("ab", "c") is not ("a", "bc"), and a part may hold any byte. It allocates only if dst has no room.
func AppendPart(dst []byte, part string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(part)))
	return append(dst, part...)
}
