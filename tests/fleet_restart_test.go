package tests

import (
	"strings"
	"testing"
	"time"
)

const restartConfig = `
node: {name: "@name", data_dir: "@data"}
admin: {address: "@admin"}
telemetry: {access_log: {output: "off"}}
listeners: [{name: web, address: "@web"}]
dimensions: [{name: user, from: "header:x-user"}]
routes: [{name: all, respond: {status: 200, body: ok}}]
cluster: {enabled: true, bind: "@mine", join: ["@first", "@second"]}
policies:
  - {name: daily, dimensions: [user], algorithm: quota, limit: 100, window: day, scope: cluster, routes: [all]}
  - {name: fixed, dimensions: [user], algorithm: fixed_window, limit: 100, window: 24h, scope: cluster, routes: [all]}
`

// TestFleetRestart: a gateway that starts again knows what was spent before its first request, from the others and from its disk, and
// nothing is counted twice.
func TestFleetRestart(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*weir){"stopped": (*weir).stop, "killed": (*weir).kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, second, data := freeAddr(t), freeAddr(t), t.TempDir()
			vars := func(n, mine, dir string) map[string]string {
				return map[string]string{"name": n, "mine": mine, "first": first, "second": second, "data": dir}
			}
			a, b := startWeir(t, restartConfig, vars("a", first, data)), startWeir(t, restartConfig, vars("b", second, t.TempDir()))
			together := func(w *weir) {
				t.Helper()
				eventually(t, 20*time.Second, "two gateways in touch", func() bool {
					_, text, err := tryFetch(plainClient, "GET", "http://"+w.vars["admin"]+"/api/v1/cluster", "")
					return err == nil && strings.Contains(strings.ReplaceAll(text, " ", ""), `"heard":2`)
				})
			}
			together(a)
			together(b)
			for i := range 60 { // one by one, so that shares can follow
				if spendAt(t, 1, "ann", a) != 1 {
					t.Fatalf("request %d of 60 was refused", i+1)
				}
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Second) // it is told, and on disk
			end(a)
			a = a.again()
			if n := spendAt(t, 10, "ann", a); n != 10 {
				t.Errorf("%d of 10 let in after the start, 40 were left", n)
			}
			together(a)
			together(b)
			time.Sleep(time.Second)
			n := 0
			for range 60 { // at both in turn
				n += spendAt(t, 1, "ann", a) + spendAt(t, 1, "ann", b)
				time.Sleep(10 * time.Millisecond)
			}
			if n < 25 || n > 32 {
				t.Errorf("%d let in of the 30 that were left", n)
			}
		})
	}
}
