package gateway

import (
	"fmt"
	"strings"
)

// changes says what the route would change in the bodies of the request and its answer, and in its method.
func (e *Explanation) changes(x *Exchange) {
	say := func(format string, args ...any) { e.Changes = append(e.Changes, fmt.Sprintf(format, args...)) }
	if m := x.car.Method(); len(x.route.targets) > 0 && x.sentMethod() != m {
		say("method %s becomes %s", m, x.sentMethod())
	}
	r := x.route.recode
	if r == nil {
		return
	}
	for _, side := range []struct {
		of string
		d  *document
	}{{"request", r.request}, {"response", r.answer}} {
		if side.d != nil {
			say("JSON of the %s: %d changes, up to %d bytes", side.of, side.d.ops, side.d.limit)
		}
	}
	if c := r.compress; c != nil {
		var names []string
		for _, coding := range c.codings {
			names = append(names, coding.String())
		}
		say("response compressed: %s, %s", strings.Join(names, ", "), c.level)
	}
}
