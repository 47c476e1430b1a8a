package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	f := func(line string, want procStat) {
		t.Helper()
		got, err := parseStat([]byte(line))
		if err != nil || got != want {
			t.Errorf("parseStat(%q) = %+v, %v; want %+v", line, got, err, want)
		}
	}
	f("7 (nginx) S 1 7 7 0 -1 4194560 100 0 0 0 123 456 0 0 20 0 1 0 50 1 2", procStat{PPID: 1, Utime: 123, Stime: 456})
	f("8 (a ) b (c)) R 7 7 7 0 -1 4194560 100 0 0 0 1 2 3 4 20 0 1 0 50 1 2", procStat{PPID: 7, Utime: 1, Stime: 2})
}

func TestParseStatRefuses(t *testing.T) {
	for _, line := range []string{"", "7 nginx S 1", "7 (nginx) S 1 7", "7 (x) S one 7 7 0 -1 4 100 0 0 0 123 456 0 0",
		"7 (x) S 1 7 7 0 -1 4 100 0 0 0 -123 456 0 0"} {
		if got, err := parseStat([]byte(line)); err == nil {
			t.Errorf("parseStat(%q) = %+v, want an error", line, got)
		}
	}
}

func TestParseResident(t *testing.T) {
	got, err := parseResident("Name:\tx\nVmHWM:\t 9 kB\nVmRSS:\t   15552 kB\nThreads:\t1\n")
	if err != nil || got != 15552 {
		t.Errorf("parseResident = %d, %v", got, err)
	}
	if _, err := parseResident("Name:\tx\n"); err == nil {
		t.Error("want an error without VmRSS")
	}
}

// The process clock must agree with the ticks of /proc within their resolution, and grow by what was burnt.
func TestReadCPU(t *testing.T) {
	before, err := readCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	sum := 0
	for i := range 200_000_000 {
		sum += i ^ sum
	}
	after, err := readCPU(os.Getpid())
	if err != nil {
		t.Fatal(err, sum)
	}
	used := after.Sub(before)
	ticks := time.Duration(used.ticks[0]+used.ticks[1]) * 10 * time.Millisecond
	if used.Total <= 0 || (used.Total-ticks).Abs() > 40*time.Millisecond {
		t.Errorf("clock says %v, ticks say %v", used.Total, ticks)
	}
}

func TestTreeHasSelfAndNoStranger(t *testing.T) {
	pids, err := tree(os.Getpid())
	if err != nil || len(pids) == 0 || pids[0] != os.Getpid() {
		t.Fatalf("tree = %v, %v", pids, err)
	}
	for _, p := range pids {
		if p == os.Getppid() {
			t.Error("the parent is no descendant")
		}
	}
}
