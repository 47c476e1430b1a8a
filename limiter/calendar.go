package limiter

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"weir/internal/mono"
)

// Calendar names the periods of a quota: hours, days, weeks (from Monday) or months, in a place's time. A day on which the
// clock is moved has 23 or 25 hours; an hour is 60 minutes even then.
type Calendar struct {
	Period   string         // hour | day | week | month
	Location *time.Location // nil is UTC
}

func (c Calendar) validate() error {
	switch c.Period {
	case "hour", "day", "week", "month":
		return nil
	}
	return fmt.Errorf("period %q is none of hour, day, week, month", c.Period)
}

// Around returns the period that t is in: from start, up to and without end. Where the clock is moved back over the start of a
// period, that starts the first time and goes on; where it skips the start, it starts at what comes next.
func (c Calendar) Around(t time.Time) (start, end time.Time) {
	loc := c.Location
	if loc == nil {
		loc = time.UTC
	}
	t = t.In(loc)
	if c.Period == "hour" {
		return hour(t)
	}
	y, m, d := t.Date()
	months, days := time.Month(0), 1
	switch c.Period {
	case "week":
		d -= (int(t.Weekday()) + 6) % 7
		days = 7
	case "month":
		d, months, days = 1, 1, 0
	}
	for start = midnight(y, m, d, loc); ; start = end {
		m, d = m+months, d+days
		if end = midnight(y, m, d, loc); t.Before(end) {
			return start, end
		}
	}
}

// hour is the hour of the clock that t is in. Where the clock is moved by a part of an hour, one is shorter.
func hour(t time.Time) (start, end time.Time) {
	_, offset := t.Zone()
	into := (t.Unix() + int64(offset)) % 3600
	if into < 0 {
		into += 3600
	}
	start = t.Add(-time.Duration(into)*time.Second - time.Duration(t.Nanosecond()))
	end = start.Add(time.Hour)
	from, to := t.ZoneBounds()
	if !from.IsZero() && start.Before(from) {
		start = from
	}
	if !to.IsZero() && to.Before(end) {
		end = to
	}
	return start, end
}

// midnight is the first instant at which a clock in loc shows 0 o'clock of that day, or later: it may be moved at midnight.
func midnight(y int, m time.Month, d int, loc *time.Location) time.Time {
	shown := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
	for t := shown.Add(-48 * time.Hour).In(loc); ; {
		_, offset := t.Zone()
		from, to := t.ZoneBounds()
		at := shown.Add(-time.Duration(offset) * time.Second)
		if at.Before(from) {
			at = from
		}
		if to.IsZero() || at.Before(to) {
			return at.In(loc)
		}
		t = to
	}
}

// period is a window with a number: the windows of a policy have ascending ones.
type period struct {
	id         int64
	start, end mono.Time
}

// periods tells the windows of a policy.
type periods interface {
	// at returns the window of an instant.
	at(now mono.Time) period
	// of returns the window of that number.
	of(id int64) period
	// same reports whether the other's numbers mean the same windows.
	same(other periods) bool
}

// fixedPeriods are windows of equal length, counted from 1970.
type fixedPeriods struct{ per, epoch int64 }

func (f fixedPeriods) at(now mono.Time) period {
	return f.of(floorDiv(saturate(int64(now), f.epoch), f.per))
}

func (f fixedPeriods) of(id int64) period {
	start := id*f.per - f.epoch
	return period{id, mono.Time(start), mono.Time(saturate(start, f.per))}
}

func (f fixedPeriods) same(other periods) bool { return f == other }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}

// saturate is a+b, b ≥ 0, at most MaxInt64.
func saturate(a, b int64) int64 {
	if s := a + b; s >= a {
		return s
	}
	return math.MaxInt64
}

// calendarPeriods are those of a calendar. Their numbers are the seconds since 1970 of their start. The one in progress is worked
// out once; the wall clock is read from the monotonic one, so that setting it moves no window of a running process.
type calendarPeriods struct {
	calendar Calendar
	epoch    int64
	current  atomic.Pointer[period]
}

func newCalendarPeriods(c Calendar, epoch int64) *calendarPeriods {
	return &calendarPeriods{calendar: c, epoch: epoch}
}

func (c *calendarPeriods) at(now mono.Time) period {
	if p := c.current.Load(); p != nil && p.start <= now && now < p.end {
		return *p
	}
	p := c.around(time.Unix(0, saturate(int64(now), c.epoch)))
	c.current.Store(&p)
	return p
}

func (c *calendarPeriods) of(id int64) period {
	if p := c.current.Load(); p != nil && p.id == id {
		return *p
	}
	return c.around(time.Unix(id, 0))
}

func (c *calendarPeriods) around(t time.Time) period {
	start, end := c.calendar.Around(t)
	return period{start.Unix(), mono.Time(start.UnixNano() - c.epoch), mono.Time(end.UnixNano() - c.epoch)}
}

func (c *calendarPeriods) same(other periods) bool {
	o, ok := other.(*calendarPeriods)
	return ok && o.calendar.Period == c.calendar.Period && o.calendar.Location.String() == c.calendar.Location.String()
}
