// Command limiters measures one decision of weir's limiter beside golang.org/x/time/rate and throttled, in one run: one key, one hot
// key and two threads, 10,000 and 1,000,000 keys, and refusals; with allocations, and bytes per key.
//
//	limiters -out docs/bench/limiter.md
//
// Linux only, two processors at least.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime"
	"time"

	"weir/tests/bench/machine"
)

// options are the flags.
type options struct {
	rounds     int
	slice      time.Duration
	out, repo  string
	loadBefore string
}

func main() {
	opt := &options{loadBefore: machine.LoadAverage()}
	flag.IntVar(&opt.rounds, "rounds", 15, "rounds, each with every limiter")
	flag.DurationVar(&opt.slice, "slice", 50*time.Millisecond, "of one limiter in one round")
	flag.StringVar(&opt.out, "out", "", "file to write the report to as well")
	flag.StringVar(&opt.repo, "repo", ".", "git tree that the report names")
	flag.Parse()
	if err := run(opt); err != nil {
		fmt.Fprintln(os.Stderr, "limiters:", err)
		os.Exit(1)
	}
}

func run(opt *options) error {
	if flag.NArg() > 0 || opt.rounds < 1 || opt.slice <= 0 {
		return errors.New("usage: limiters [-rounds N] [-slice D] [-out FILE] [-repo DIR]")
	}
	if runtime.GOMAXPROCS(0) < 2 {
		return errors.New("two processors are needed")
	}
	var tables []*table
	for _, s := range scenes() {
		fmt.Fprintf(os.Stderr, "%s\n", s.name)
		t, err := measure(s, contenders(), opt.rounds, opt.slice)
		if err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		tables = append(tables, t)
	}
	report := render(opt, tables)
	fmt.Print(report)
	if opt.out == "" {
		return nil
	}
	return os.WriteFile(opt.out, []byte(report), 0o644)
}
