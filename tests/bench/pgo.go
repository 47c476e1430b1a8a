package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"weir/tests/bench/stats"
)

// runPGO loads weir as the scenario pass does, for rounds × duration, and writes the CPU profile that it leaves at exit.
func runPGO(ctx context.Context, opt *options) error {
	if opt.out == "" {
		return errors.New("pgo: -out must name the profile to write")
	}
	r, err := newRig(ctx, opt, settings{})
	if r != nil {
		defer r.close()
	}
	if err != nil {
		return err
	}
	profile := filepath.Join(r.dir, "cpu.pprof")
	l, err := r.gateway(ctx, "weir", settings{}, "WEIR_CPUPROFILE="+profile)
	if err != nil {
		return err
	}
	f := &figures{leg: l.name}
	for range opt.rounds {
		res, err := f.add(l, func() (wrkResult, error) {
			return runWrk(ctx, opt.loadCore, "http://"+l.address+requestPath, opt.conns, opt.duration, "")
		})
		if err == nil {
			err = noErrors(res)
		}
		if err != nil {
			return err
		}
	}
	l.server.stop() // the profile is complete when the process has ended
	data, err := os.ReadFile(profile)
	if err != nil {
		return fmt.Errorf("pgo: weir left no profile: %w", err)
	}
	if len(data) == 0 {
		return errors.New("pgo: the profile is empty")
	}
	fmt.Printf("%d requests, %.2f µs of CPU each; profile of %d bytes in %s\n", f.requests, stats.Of(f.cpu).Median, len(data), opt.out)
	return os.WriteFile(opt.out, data, 0o644)
}
