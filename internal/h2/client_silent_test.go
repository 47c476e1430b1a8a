package h2

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestSilentServer: a server that says nothing any more is found out though no request waits for it for long, and whether or not it may be pinged.
func TestSilentServer(t *testing.T) {
	for _, patient := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			o := clientOptions()
			o.Quiet, o.Dead, o.IdleTimeout = 15*time.Second, 5*time.Second, time.Hour
			p := newPiped(t, o)
			wait := func() {
				k := asks(t, p.c, "GET", true)
				time.Sleep(4 * time.Second)
				k.Close()
			}
			if patient {
				wait()
				time.Sleep(time.Minute)
			}
			p.answers.Store(false)
			for n := 0; p.c.Usable(); n++ {
				if n == 5 {
					t.Error("it is still used")
					p.c.Retire()
				} else {
					wait()
				}
				time.Sleep(time.Second)
				synctest.Wait()
			}
			<-p.over
		})
	}
}
