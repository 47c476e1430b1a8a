package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/mono"
)

// TestPurgeTeller is a table of time: what is taken when, and told when. Everything is told three times, 20 ms apart, and nothing more often.
func TestPurgeTeller(t *testing.T) {
	var teller purgeTeller
	var gathered, told []string
	start := mono.Time(time.Hour)
	step := func(ms int, want, next string, gathers ...string) {
		t.Helper()
		if gathered = append(gathered, gathers...); len(gathers) > 0 {
			teller.more = true
		}
		told = nil
		at := teller.step(start.Add(time.Duration(ms)*time.Millisecond), func() (frames [][]byte) {
			for _, g := range gathered {
				frames = append(frames, []byte(g))
			}
			gathered = nil
			return frames
		}, func(frame []byte) { told = append(told, string(frame)) })
		then := "never"
		if at != mono.Never {
			then = fmt.Sprint(at.Sub(start).Milliseconds())
		}
		if got := strings.Join(told, " "); got != want || then != next {
			t.Errorf("at %d: told %q, again at %s, want %q, %s", ms, got, then, want, next)
		}
	}
	step(0, "", "never")
	step(30, "a b", "50", "a", "b")
	step(31, "", "50", "c")
	step(49, "", "50", "d")
	step(50, "c d a b", "70")
	step(70, "c d a b", "90")
	step(90, "c d", "never")
	step(200, "", "never")
	step(201, "", "220", "e")
	step(300, "e", "320")
}
