package limiter

import (
	"testing"
	"time"
	_ "time/tzdata"

	"pgregory.net/rapid"
)

func location(t fataler, name string) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

func TestAround(t *testing.T) {
	f := func(place, period, at, wantStart, wantEnd string) {
		t.Helper()
		loc := location(t, place)
		now, err := time.Parse(time.RFC3339, at)
		if err != nil {
			t.Fatal(err)
		}
		start, end := Calendar{period, loc}.Around(now)
		if got := start.Format(time.RFC3339); got != wantStart {
			t.Errorf("%s of %s in %s starts %s, want %s", period, at, place, got, wantStart)
		}
		if got := end.Format(time.RFC3339); got != wantEnd {
			t.Errorf("%s of %s in %s ends %s, want %s", period, at, place, got, wantEnd)
		}
	}
	f("UTC", "month", "2024-02-29T23:59:59Z", "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z")
	f("UTC", "month", "2026-12-31T00:00:00Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z")
	f("UTC", "week", "2026-11-25T12:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z")
	f("UTC", "week", "2026-11-23T00:00:00Z", "2026-11-23T00:00:00Z", "2026-11-30T00:00:00Z")
	f("UTC", "week", "2026-11-22T23:59:59Z", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")
	f("UTC", "week", "2027-01-01T00:00:00Z", "2026-12-28T00:00:00Z", "2027-01-04T00:00:00Z")
	f("UTC", "hour", "1969-12-31T23:59:59Z", "1969-12-31T23:00:00Z", "1970-01-01T00:00:00Z")
	f("America/New_York", "day", "2026-03-08T12:00:00-04:00", "2026-03-08T00:00:00-05:00", "2026-03-09T00:00:00-04:00")
	f("America/New_York", "week", "2026-11-01T12:00:00-05:00", "2026-10-26T00:00:00-04:00", "2026-11-02T00:00:00-05:00")
	f("America/New_York", "hour", "2026-11-01T01:30:00-04:00", "2026-11-01T01:00:00-04:00", "2026-11-01T01:00:00-05:00")
	f("America/New_York", "hour", "2026-11-01T01:30:00-05:00", "2026-11-01T01:00:00-05:00", "2026-11-01T02:00:00-05:00")
	// 0 o'clock is skipped.
	f("America/Sao_Paulo", "day", "2018-11-04T12:00:00-02:00", "2018-11-04T01:00:00-02:00", "2018-11-05T00:00:00-02:00")
	f("America/Sao_Paulo", "day", "2018-11-03T23:59:59-03:00", "2018-11-03T00:00:00-03:00", "2018-11-04T01:00:00-02:00")
	f("Asia/Beirut", "day", "2022-03-27T12:00:00+03:00", "2022-03-27T01:00:00+03:00", "2022-03-28T00:00:00+03:00")
	f("Africa/Cairo", "day", "2024-04-26T12:00:00+03:00", "2024-04-26T01:00:00+03:00", "2024-04-27T00:00:00+03:00")
	// 23 o'clock comes twice, on the day before.
	f("America/Sao_Paulo", "day", "2018-02-17T23:30:00-03:00", "2018-02-17T00:00:00-02:00", "2018-02-18T00:00:00-03:00")
	f("Africa/Cairo", "day", "2023-10-26T23:30:00+02:00", "2023-10-26T00:00:00+03:00", "2023-10-27T00:00:00+02:00")
	// 0 o'clock comes twice.
	f("America/Havana", "day", "2024-11-03T00:30:00-04:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00")
	f("America/Havana", "day", "2024-11-03T00:30:00-05:00", "2024-11-03T00:00:00-04:00", "2024-11-04T00:00:00-05:00")
	// One minute of a day, then the last hour of the one before once more: the day has begun.
	f("America/St_Johns", "day", "2010-11-07T00:00:30-02:30", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30")
	f("America/St_Johns", "day", "2010-11-06T23:30:00-03:30", "2010-11-07T00:00:00-02:30", "2010-11-08T00:00:00-03:30")
	// A day that was not.
	f("Pacific/Apia", "day", "2011-12-29T12:00:00-10:00", "2011-12-29T00:00:00-10:00", "2011-12-31T00:00:00+14:00")
	f("Pacific/Apia", "week", "2011-12-31T12:00:00+14:00", "2011-12-26T00:00:00-10:00", "2012-01-02T00:00:00+14:00")
	// The clock is moved by half an hour.
	f("Australia/Lord_Howe", "hour", "2026-10-04T02:45:00+11:00", "2026-10-04T02:30:00+11:00", "2026-10-04T03:00:00+11:00")
	f("Australia/Lord_Howe", "hour", "2026-04-05T01:45:00+10:30", "2026-04-05T01:30:00+10:30", "2026-04-05T02:00:00+10:30")
}

// Whatever the place: periods tile time, and each is found by its start, which is its number.
func TestPeriodsTile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		loc := location(t, rapid.SampledFrom([]string{"UTC", "America/New_York", "America/Sao_Paulo", "Asia/Beirut", "Africa/Cairo", "America/Havana",
			"America/St_Johns", "Pacific/Apia", "Australia/Lord_Howe", "Asia/Tehran", "Asia/Kathmandu", "Europe/Dublin"}).Draw(t, "place"))
		c := Calendar{rapid.SampledFrom([]string{"hour", "day", "week", "month"}).Draw(t, "period"), loc}
		at := time.Unix(rapid.Int64Range(5e8, 2.2e9).Draw(t, "at"), rapid.Int64Range(0, 1e9-1).Draw(t, "ns"))
		if rapid.Bool().Draw(t, "transition") { // go near a change of the clock
			if from, _ := at.In(loc).ZoneBounds(); !from.IsZero() {
				at = from.Add(time.Duration(rapid.Int64Range(-int64(26*time.Hour), int64(26*time.Hour)).Draw(t, "near")))
			}
		}
		start, end := c.Around(at)
		if at.Before(start) || !at.Before(end) {
			t.Fatalf("%v is not in %v to %v", at.In(loc), start, end)
		}
		f := func(at time.Time, wantStart, wantEnd time.Time) {
			if s, e := c.Around(at); !s.Equal(wantStart) && !wantStart.IsZero() || !e.Equal(wantEnd) && !wantEnd.IsZero() {
				t.Fatalf("%v is in %v to %v, want %v to %v", at.In(loc), s, e, wantStart, wantEnd)
			}
		}
		f(start, start, end)
		f(end.Add(-1), start, end)
		f(end, end, time.Time{})
		f(start.Add(-1), time.Time{}, start)
		p := newCalendarPeriods(c, 0)
		if got := p.of(start.Unix()); got != p.around(at) {
			t.Fatalf("%+v is not %+v", got, p.around(at))
		}
	})
}
