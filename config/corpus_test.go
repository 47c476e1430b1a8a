package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the expected messages and docs/config.md anew")

// corpusEnv is the environment of the corpora.
func corpusEnv(name string) (string, bool) {
	values := map[string]string{"SET": "set", "NUMBER": "10", "EMPTY": ""}
	v, ok := values[name]
	return v, ok
}

// TestFaultsCorpus holds every file of testdata/faults against the messages beside it.
func TestFaultsCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/faults/*.yaml")
	if err != nil || len(files) < 45 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Parse(filepath.Base(file), data, corpusEnv)
			if err == nil {
				t.Fatal("no fault")
			}
			checkFaults(t, data, err)
			got := err.Error() + "\n"
			golden := strings.TrimSuffix(file, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// checkFaults checks what every fault promises: a place inside the file, one line of message, file order.
func checkFaults(t *testing.T, data []byte, err error) {
	t.Helper()
	var faults Faults
	if !errors.As(err, &faults) || len(faults) == 0 {
		t.Fatalf("the error is a %T of %d faults", err, len(faults))
	}
	lines := lineCount(string(data))
	for i, f := range faults {
		switch {
		case f.Line < 1 || f.Line > lines || f.Col < 1:
			t.Errorf("%s: outside of a file of %d lines", f.Error(), lines)
		case f.Message == "" || strings.ContainsAny(f.Message, "\n\r\t"):
			t.Errorf("message %q is not one line", f.Message)
		case i > 0 && (f.Line < faults[i-1].Line || (f.Line == faults[i-1].Line && f.Col < faults[i-1].Col)):
			t.Errorf("%s comes after %s", f.Error(), faults[i-1].Error())
		}
	}
}

// lineCount counts lines as YAML 1.1 ends them, in all the ways it does.
func lineCount(text string) int {
	return 1 + strings.Count(text, "\n") + strings.Count(text, "\r") + strings.Count(text, "\u0085") +
		strings.Count(text, "\u2028") + strings.Count(text, "\u2029")
}

// TestValidCorpus loads every file of testdata/valid.
func TestValidCorpus(t *testing.T) {
	files, err := filepath.Glob("testdata/valid/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		if _, err := Load(file, corpusEnv); err != nil {
			t.Errorf("%v", err)
		}
	}
}
