package main

import (
	"strings"
	"testing"
)

func TestFigures(t *testing.T) {
	tables, err := readFigures(strings.NewReader(`{"table":"a","columns":["x","y"],"cells":["1","2"]}
{"table":"b","columns":["1","2","3","4","5","6","7","8","9","10"],"cells":["a","b","c","d","e","f","g","h","i","j"]}
{"table":"a","columns":["x","y"],"cells":["3","4"]}
`))
	if err != nil || len(tables) != 2 {
		t.Fatalf("%v %v", tables, err)
	}
	if got, want := tables[0].markdown(), "| x | y |\n|---|---:|\n| 1 | 2 |\n| 3 | 4 |\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := tables[1].markdown(), "|  |  |\n|---|---:|\n| 1 | a |\n| 2 | b |\n"; !strings.HasPrefix(got, want) {
		t.Errorf("%q, want it to begin with %q", got, want)
	}
	if _, err := readFigures(strings.NewReader(`{"table":`)); err == nil {
		t.Error("half a line is no error")
	}
}
