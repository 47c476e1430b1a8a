package config

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// FuzzParse parses any bytes: no panic, never long, and every fault has a place inside the file and one line of message.
func FuzzParse(f *testing.F) {
	for _, pattern := range []string{"testdata/faults/*.yaml", "testdata/valid/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 64<<10 {
			return
		}
		begin := time.Now()
		c, err := Parse("fuzz", data, corpusEnv)
		if took := time.Since(begin); took > 20*time.Second {
			t.Errorf("%d bytes took %v", len(data), took)
		}
		if (c == nil) == (err == nil) {
			t.Fatalf("got %v and %v", c, err)
		}
		if err != nil {
			checkFaults(t, data, err)
			return
		}
		if c.Hash() == "" {
			t.Error("no hash")
		}
		if line, col := c.Pos("routes[0].match.path"); line < 1 || col < 1 {
			t.Errorf("position %d:%d", line, col)
		}
	})
}
