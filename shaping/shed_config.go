package shaping

import (
	"errors"
	"fmt"
)

// ShedConfig says when and how requests are refused by their band.
type ShedConfig struct {
	Threshold   float64        // load, in (0,1], from which requests are shed. Nearer to 1 wastes less, and answers later to a wave
	Rate        float64        // in [0,1]: how fast; 0 sheds nothing
	Multipliers [Bands]float64 // by band, in [0,1]; that of Critical is 0
}

// PriorityLevel is one of the configuration's: 1 is High, 2 Normal, 3 Low.
type PriorityLevel struct {
	Level      int
	Multiplier float64
}

// MultipliersOf returns the multipliers by band. A level that is left out is not shed.
func MultipliersOf(levels []PriorityLevel) (m [Bands]float64, err error) {
	var errs []error
	seen := [Bands]bool{}
	for _, l := range levels {
		switch {
		case l.Level == int(Critical):
			errs = append(errs, errors.New("level 0 (critical) is never shed: leave it out"))
		case l.Level < 0 || l.Level >= Bands:
			errs = append(errs, fmt.Errorf("level %d: 1 (high), 2 (normal) or 3 (low)", l.Level))
		case seen[l.Level]:
			errs = append(errs, fmt.Errorf("level %d is there twice", l.Level))
		default:
			seen[l.Level], m[l.Level] = true, l.Multiplier
		}
	}
	return m, errors.Join(errs...)
}

// Validate returns what is wrong with c, in the words of the configuration.
func (c ShedConfig) Validate() error {
	var errs []error
	if !(c.Threshold > 0 && c.Threshold <= 1) {
		errs = append(errs, fmt.Errorf("load_threshold is %v: above 0 and up to 1", c.Threshold))
	}
	if !(c.Rate >= 0 && c.Rate <= 1) {
		errs = append(errs, fmt.Errorf("shedding_rate is %v: 0 (off) to 1", c.Rate))
	}
	sum := 0.0
	for b, m := range c.Multipliers {
		if !(m >= 0 && m <= 1) {
			errs = append(errs, fmt.Errorf("multiplier of level %d is %v: 0 (never shed) to 1", b, m))
		}
		sum += m
	}
	if c.Multipliers[Critical] != 0 {
		errs = append(errs, errors.New("level 0 (critical) is never shed: its multiplier is 0"))
	}
	if c.Rate > 0 && sum == 0 {
		errs = append(errs, errors.New("no priority level may be shed: give one a multiplier above 0, or shedding_rate 0"))
	}
	return errors.Join(errs...)
}
