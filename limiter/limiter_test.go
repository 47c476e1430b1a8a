package limiter

import (
	"testing"
	"unsafe"
)

func TestShardFillsCacheLines(t *testing.T) {
	if n := unsafe.Sizeof(shard{}); n != 192 {
		t.Errorf("a shard is %d bytes", n)
	}
	if n := unsafe.Sizeof(chunk{}); n != 640 {
		t.Errorf("a chunk is %d bytes", n)
	}
}
