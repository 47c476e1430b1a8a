package tests

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestScripts runs testdata/script: the command line as a user types it. Beside testscript's own commands there are
// `ready`, which waits for the gateway at $ADMIN, and `http METHOD URL STATUS [Name:value...]`, which sends a request, checks
// the status and leaves the body in stdout. $WEB, $ADMIN, $UP and $OTHER are free addresses.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "testdata/script",
		RequireUniqueNames: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("PATH", filepath.Dir(weirBin)+string(os.PathListSeparator)+os.Getenv("PATH"))
			for _, name := range []string{"WEB", "ADMIN", "UP", "OTHER"} {
				e.Setenv(name, freeAddr(t))
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": scriptReady, "http": scriptHTTP},
	})
}

func scriptReady(ts *testscript.TestScript, neg bool, args []string) {
	for range 1000 {
		resp, err := plainClient.Get("http://" + ts.Getenv("ADMIN") + "/readyz")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode == 200 {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	ts.Fatalf("not ready after 10 s")
}

func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: http METHOD URL STATUS [Name:value...]")
	}
	req, err := http.NewRequest(args[0], args[1], nil)
	ts.Check(err)
	for _, f := range args[3:] {
		name, value, _ := strings.Cut(f, ":")
		req.Header.Add(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	resp, err := plainClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if (resp.Status[:3] == args[2]) == neg {
		ts.Fatalf("%s %s: %s", args[0], args[1], resp.Status)
	}
}
