package expr

import (
	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// metered are the options of a program that the library's meter ends at maxCost.
var metered = []cel.ProgramOption{cel.CostTracking(dynCosts{}), cel.CostLimit(maxCost)}

// dynCosts tells the meter what a call cost whose overload was only found when it ran, as for values of the JSON. The
// library counts such a call as one unit, however long a list it searched or a string it made.
type dynCosts struct{}

// CallCost implements cost.ActualCostEstimator. nil lets the library's own count stand.
func (dynCosts) CallCost(function, overload string, args []ref.Val, result ref.Val) *uint64 {
	if overload != "" {
		return nil
	}
	n := 10 + length(result)
	for _, arg := range args {
		n += length(arg)
	}
	units := n / 10
	if function == operators.In {
		if list, ok := args[1].(traits.Lister); ok {
			if size, ok := list.Size().(types.Int); ok {
				units += uint64(size)
			}
		}
	}
	if units == 1 { // as the library counts it itself
		return nil
	}
	total := units // so that only what is returned is allocated
	return &total
}

// length returns how many bytes are in v, as far as looking at them takes time.
func length(v ref.Val) uint64 {
	switch v := v.(type) {
	case types.String:
		return uint64(len(v))
	case types.Bytes:
		return uint64(len(v))
	}
	return 0
}
