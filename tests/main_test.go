// Package tests drives the real weir binary from outside, over sockets, files and signals. It imports nothing of weir.
//
// The binary is built once, in TestMain; WEIR_RACE=1 builds it with the race detector. Every server listens on a free
// loopback port below the ephemeral range and ends with its test. A real upstream is nginx, which .ci/run installs.
package tests

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// weirBin is the path of the binary under test.
var weirBin string

// raced says that the binary was built with the race detector: budgets of memory do not hold then.
var raced = os.Getenv("WEIR_RACE") == "1"

func TestMain(m *testing.M) { os.Exit(buildAndRun(m)) }

func buildAndRun(m *testing.M) int {
	dir, err := os.MkdirTemp("", "weir-tests-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := dependOnSources(".."); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	weirBin = filepath.Join(dir, "weir")
	args := []string{"build", "-o", weirBin}
	if raced {
		args = append(args, "-race")
	}

	if out, err := exec.Command("go", append(args, "weir")...).CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "go build weir: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// dependOnSources looks at every source file of the module: `go test` remembers what a test looked at, and would otherwise
// show a cached result although the binary has changed.
func dependOnSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && filepath.Ext(path) == ".go" {
			_, err = os.Stat(path)
		}
		return err
	})
}
