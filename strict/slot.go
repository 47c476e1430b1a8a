package strict

import "strings"

// slots is how many parts the keys of a cluster are in.
const slots = 1 << 14

// crcTable is of CRC-16/XMODEM, polynomial 0x1021.
var crcTable = func() (t [256]uint16) {
	for i := range t {
		c := uint16(i) << 8
		for range 8 {
			if c&0x8000 != 0 {
				c = c<<1 ^ 0x1021
			} else {
				c <<= 1
			}
		}
		t[i] = c
	}
	return t
}()

// slotOf is the slot of a key: of what is between the first brace and the next, unless that is nothing.
func slotOf(key string) uint16 {
	if i := strings.IndexByte(key, '{'); i >= 0 {
		if n := strings.IndexByte(key[i+1:], '}'); n > 0 {
			key = key[i+1 : i+1+n]
		}
	}
	c := uint16(0)
	for i := range len(key) {
		c = c<<8 ^ crcTable[byte(c>>8)^key[i]]
	}
	return c % slots
}
