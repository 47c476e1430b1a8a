package shaping

import (
	"testing"
	"time"

	"weir/internal/mono"
)

const ms = mono.Time(time.Millisecond)

func TestPace(t *testing.T) {
	f := func(want time.Duration, limit int, grants ...mono.Time) {
		t.Helper()
		var p pace
		p.begin(0)
		for _, at := range grants {
			p.grant(limit, at*ms)
		}
		if got, known := p.expect(1, limit); got != want || known != (want != 0) {
			t.Errorf("%v a grant, want %v", got, want)
		}
	}
	f(0, 1)
	f(0, 1, 100, 200, 300, 400, 500, 600, 700)                                     // too few
	f(100*time.Millisecond, 1, 100, 200, 300, 400, 500, 600, 700, 800)             // eight in 800 ms
	f(0, 1, 1, 2, 3, 4, 5, 6, 7, 8, 99)                                            // too soon
	f(10*time.Millisecond, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 100)                      // ten in 100 ms
	f(0, 5, 100, 100, 100, 100, 100, 200, 200, 200, 200)                           // five seats: it takes ten
	f(20*time.Millisecond, 5, 100, 100, 100, 100, 100, 200, 200, 200, 200, 200)    //
	f(20*time.Millisecond, 5, 100, 100, 100, 100, 100, 200, 200, 200, 200, 200, 9) // and another spell has begun
}

func TestPaceGrowsWithTheLimit(t *testing.T) {
	p := pace{per: 8, limit: 10}
	f := func(n, limit int, want time.Duration) {
		t.Helper()
		if got, _ := p.expect(n, limit); got != want {
			t.Errorf("%d at %d seats: %v, want %v", n, limit, got, want)
		}
	}
	f(3, 10, 24)
	f(3, 20, 12)
	f(3, 5, 24) // fewer seats: slower, but by how much is not known
}

// busy returns a bench with one seat, held all the time for 10 ms by one after the other, of which the pace is known, with n waiting.
func busy(n int, c GateConfig) *bench {
	b := newBench(c)
	for range n + 1 {
		b.ask(patient)
	}
	for range 12 {
		b.now += 10 * ms
		b.leave(0)
		b.ask(patient)
	}
	return b
}

func TestTooLateIsRefusedAtOnce(t *testing.T) {
	conf := GateConfig{Limit: 1, MaxLength: 100, MaxWait: time.Hour, Aging: time.Second}
	f := func(want Refusal, waiting int, wait time.Duration, c Class) {
		t.Helper()
		b := busy(waiting, conf)
		if q := b.ask(Ask{Class: c, Due: b.now.Add(wait)}); q.w != nil && want != OK || q.w == nil && q.answer != want {
			t.Errorf("%d wait, %v left: refusal %v, want %v", waiting, wait, q.answer, want)
		}
	}
	same, other := Class{Normal, 0, 0}, Class{Normal, 0, 9}
	f(OK, 40, 201*time.Millisecond, same) // 400 ms at the rate there was, half of that at twice
	f(TooLate, 40, 200*time.Millisecond, same)
	f(OK, 40, time.Millisecond, other)                    // at most one comes first
	f(TooLate, 40, 75*time.Millisecond, Class{Low, 0, 9}) // after 15 that are not open
	f(OK, 40, 76*time.Millisecond, Class{Low, 0, 9})
	f(OK, 40, time.Millisecond, Class{High, 0, 9})
	f(OK, 4, 21*time.Millisecond, same)
	f(TooLate, 4, 20*time.Millisecond, same)
	conf.Aging = 0 // no seat is open
	f(TooLate, 40, 200*time.Millisecond, Class{Low, 0, 9})
	f(OK, 40, 201*time.Millisecond, Class{Low, 0, 9})
}

// Nobody is refused early before the rate is known.
func TestNotTooLateAtAnUnknownRate(t *testing.T) {
	b := newBench(GateConfig{Limit: 1, MaxLength: 100, MaxWait: time.Hour})
	for range 50 {
		b.ask(patient)
	}
	for range 7 {
		b.now += 1000 * ms
		b.leave(0)
	}
	if q := b.ask(Ask{Due: b.now + 1}); q.w == nil {
		t.Errorf("refusal %v", q.answer)
	}
	for len(b.seated) > 0 {
		b.leave(0)
	}
	b.ask(patient)
	b.ask(patient)
	if _, known := b.g.pace.expect(1, 1); known {
		t.Error("the rate is known from before the queue was empty")
	}
}

// Refusing early leaves no seat empty, and nobody out whose turn would come in time: those that ask for less than their share are
// all served.
func TestEarlyRefusalWastesNothing(t *testing.T) {
	b := newBench(GateConfig{Limit: 4, MaxLength: 400, MaxWait: 200 * time.Millisecond})
	flood, small, high := &tenant{class: Class{Normal, 0, 1}, rate: 3000}, &tenant{class: Class{Normal, 0, 2}, rate: 100}, &tenant{class: Class{High, 0, 3}, rate: 50}
	b.serve([]*tenant{flood, small, high}, 10*time.Millisecond, 5*time.Second)
	st := b.g.Stats()
	if n := flood.served + small.served + high.served; n < 1950 || st.Of(TooLate) < 5000 {
		t.Errorf("%d served of 2000 there was room for, %d refused early", n, st.Of(TooLate))
	}
	if small.served+high.served < small.asked+high.asked-10 {
		t.Errorf("%d of %d and %d of %d served", small.served, small.asked, high.served, high.asked)
	}
}

func TestDelay(t *testing.T) {
	b := newBench(GateConfig{Limit: 1, MaxLength: 100, MaxWait: time.Hour})
	f := func(want mono.Time) {
		t.Helper()
		if got := b.g.Delay(b.now); got != time.Duration(want) {
			t.Errorf("at %v: %v, want %v", time.Duration(b.now), got, time.Duration(want))
		}
		if st := b.g.Stats(); st.Delay != time.Duration(want) {
			t.Errorf("at %v: stats say %v, want %v", time.Duration(b.now), st.Delay, time.Duration(want))
		}
	}
	step := func(at mono.Time, ask, leave int) {
		b.now = at * ms
		for range ask {
			b.ask(patient)
		}
		for range leave {
			b.leave(0)
		}
	}
	f(0)
	step(1000, 5, 0) // one sits, four wait
	f(0)
	step(1050, 0, 1) // who had waited 50 ms
	f(0)             // it was empty in the last 100 ms
	step(1150, 0, 1)
	f(0)             // or 200 ms
	step(1240, 3, 1) // waited 240 ms
	f(150 * ms)
	step(1310, 0, 0)
	f(240 * ms)
	step(1600, 0, 0) // nobody was given a seat for 200 ms: who is next has waited for 600
	f(600 * ms)
	step(1600, 0, 4)
	f(0) // empty
	step(1601, 2, 0)
	f(0)
}

func TestPeek(t *testing.T) {
	b := newBench(GateConfig{Limit: 1, MaxLength: 4, MaxWait: time.Hour})
	f := func(c Class, want Forecast) {
		t.Helper()
		before := b.g.Stats()
		if got := b.g.Peek(c, b.now); got != want {
			t.Errorf("%+v: got %+v, want %+v", c, got, want)
		}
		if after := b.g.Stats(); after != before {
			t.Errorf("it was %+v and is %+v", before, after)
		}
	}
	a, other, high := Class{Normal, 0, 0}, Class{Normal, 0, 2}, Class{High, 0, 3}
	f(a, Forecast{AtOnce: true})
	b.ask(patient)
	f(a, Forecast{Position: 0, Wait: -1})
	for range 4 {
		b.ask(patient)
	}
	f(a, Forecast{Refusal: QueueFull, Position: 4, Wait: -1})
	f(other, Forecast{Position: 0, Wait: -1})
	f(high, Forecast{Position: 0, Wait: -1})
	for range 12 {
		b.now += 10 * ms
		b.leave(0)
		b.ask(patient)
	}
	f(a, Forecast{Refusal: QueueFull, Position: 4, Wait: 50 * time.Millisecond})
	f(high, Forecast{Position: 0, Wait: 10 * time.Millisecond})
	b.leave(0)
	f(Class{Low, 0, 9}, Forecast{Position: 3, Wait: 40 * time.Millisecond})
	b.g.Reshape(GateConfig{Limit: 1, MaxLength: 4, MaxWait: 10 * time.Millisecond}, b.now)
	f(a, Forecast{Refusal: TooLate, Position: 3, Wait: 40 * time.Millisecond})
}

// Whom a full queue turns away.
func TestDisplacement(t *testing.T) {
	f := func(want Refusal, displaced int, c Class, waiting ...Class) {
		t.Helper()
		b := newBench(GateConfig{Limit: 1, MaxLength: len(waiting), MaxWait: time.Hour})
		b.ask(patient)
		var guests []*guest
		for _, c := range waiting {
			guests = append(guests, b.ask(Ask{Class: c, Due: mono.Never}))
		}
		q := b.ask(Ask{Class: c, Due: mono.Never})
		if q.answer != want {
			t.Errorf("refusal %v, want %v", q.answer, want)
		}
		for i, q := range guests {
			if (q.answer == Displaced) != (i == displaced) {
				t.Errorf("%d of %d: refusal %v", i, len(guests), q.answer)
			}
		}
		b.want(t, "after", 1, len(waiting))
		if st := b.g.Stats(); displaced >= 0 && st.Refused[Displaced][waiting[displaced].Band] != 1 {
			t.Errorf("%+v", st)
		}
	}
	one, two := Class{Normal, 1, 1}, Class{Normal, 1, 2}
	low, high, critical := Class{Low, 1, 3}, Class{High, 1, 4}, Class{Critical, 1, 5}
	f(QueueFull, -1, one, one)
	f(QueueFull, -1, one, one, one)
	f(OK, 0, one, low)
	f(OK, 1, two, one, one)
	f(QueueFull, -1, two, one)
	f(QueueFull, -1, low, one, one, one)
	f(OK, 1, critical, high, low, one)
	f(OK, 2, critical, high, high, one)
	f(QueueFull, -1, critical, critical, critical)
}

// Who has aged is displaced like anybody of its band.
func TestAgedAreDisplaced(t *testing.T) {
	f := func(newcomer Band, want, oldOne Refusal) {
		t.Helper()
		b := newBench(GateConfig{Limit: 1, MaxLength: 1, MaxWait: time.Hour, Aging: time.Second})
		b.ask(patient)
		old := b.ask(Ask{Class: Class{Low, 0, 7}, Due: mono.Never})
		b.now = 99_000 * ms
		if q := b.ask(Ask{Class: Class{newcomer, 0, 8}, Due: mono.Never}); q.answer != want || old.answer != oldOne {
			t.Errorf("band %d: refusal %v, and %v of the other", newcomer, q.answer, old.answer)
		}
	}
	f(Low, QueueFull, OK)
	f(Normal, OK, Displaced)
	f(Critical, OK, Displaced)
}

// What is above takes 15 seats, and the next goes to who has aged meanwhile, though nobody has come since.
func TestAgedHaveTheOpenSeat(t *testing.T) {
	b := newBench(GateConfig{Limit: 1, MaxLength: 40, MaxWait: time.Hour, Aging: 10 * time.Millisecond})
	b.ask(patient)
	low := b.ask(Ask{Class: Class{Low, 0, 7}, Due: mono.Never})
	b.now = ms
	for range 30 {
		b.ask(patient)
	}
	for n := range openEvery {
		if b.now = max(ms, mono.Time(n)*10*ms/(openEvery-1)); low.answer != OK || len(low.w.answer) > 0 || low.seat.gate != nil {
			t.Fatalf("served after %d", n)
		}
		b.leave(0)
	}
	if b.seated[0] != low {
		t.Error("who has aged was not served")
	}
}
