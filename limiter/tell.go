package limiter

import (
	"math"
	"time"

	"weir/internal/mono"
)

// wants reports whether the others should hear of c now.
func (c *cell) wants(now mono.Time, regular bool) bool {
	d := c.look(now)
	c.draw(now)
	c.looked = now
	if c.nothing(d) {
		return false
	}
	drift := c.used - c.told.on(now)
	if c.owe {
		c.owe = false
		if drift > 0.5 && c.e < 0 {
			return true // the others may believe that this is not spent
		}
	}
	share := c.stock*max(c.level, 0) + c.of.slack(c.of.fleet.view().n)
	if c.level > 0 && drift > max(0.5, share/2) && (1-c.stock)*c.level > 0.5 && c.level-drift > -share {
		return true // half of my share is gone, and there is more elsewhere
	}
	if drift < -c.unusedAt() && c.level < 0.9*c.of.size {
		return true // I hold what I foretold and do not use
	}
	if c.of.kind == kindSeats && c.scarce() && drift <= -c.surplus() {
		return true // others may be waiting for what is free here
	}
	near := !c.far(d) && (c.level < 0.8*c.of.size || d > c.due || c.told.s > 0 && d < c.told.s/2)
	if near && c.differs(d) {
		return true
	}
	if !regular {
		return false
	}
	if c.of.kind == kindSliding && drift > 0.5 && now.Sub(c.sent) >= c.of.length()/lateShare {
		return true // what is told late comes back late
	}
	if drift > 0.5 && now.Sub(c.lastAttempt) >= lastWord {
		return true // nobody asks any more: the others should count alike
	}
	if c.toldD > 0 && d == 0 || c.toldD > 0.02*c.of.nominal()/float64(c.of.n) && d < c.toldD/5 {
		return true // the demand is over
	}
	interval := c.of.fleet.interval
	return c.active(d) && now.Sub(c.sent) >= time.Duration(c.patience)*interval-interval/4
}

// nothing reports that there is nothing to tell.
func (c *cell) nothing(d float64) bool {
	return d == 0 && c.toldD == 0 && math.Abs(c.used-c.told.c) < 1.0/256 && c.told.s == 0
}

// differs reports that demand d is another than told, and not by chance.
func (c *cell) differs(d float64) bool {
	by := math.Abs(d - c.toldD)
	if by <= c.toldD/4 {
		return false
	}
	return by > c.chance(d)
}

// chance is by how much the measured demand may differ from d by chance.
func (c *cell) chance(d float64) float64 {
	m := max(c.cost, 1)
	return 3 * math.Sqrt(max(d*m, m*m)/(2*slowTime))
}

// steady reports that c goes on as it foretold, without working anything out: what it did not use is no more than may be, and the demand that
// look would find, roughly, is not worth telling.
func (c *cell) steady(now mono.Time) bool {
	if c.owe || c.troubled(now) || !c.calm(now) || c.used-c.told.on(now) < -c.unusedAt() {
		return false
	}
	rise := (c.refill() - c.sumS - c.self.s - c.tax()) * sec(now.Sub(c.at))
	if level := c.level + rise; (level > 0) != (c.level > 0) || level > c.of.size {
		return false // what may be spent goes by another share
	}
	dt, m := sec(now.Sub(c.counted)), max(c.cost, 1)
	if c.attempts == 0 && c.slow*sec(now.Sub(c.lastAttempt)) > 6*m {
		return false
	}
	more := c.attempts - c.slow*dt
	if math.Abs(more) <= m && math.Abs(c.slow-c.toldD) <= c.toldD/8 {
		return true
	}
	recent := c.fast + (c.attempts-c.fast*dt)/max(dt, fastTime)
	return !c.differs(c.slow+more/max(dt, slowTime)) && !c.jumps(recent)
}

// troubled reports that nodes were not in touch lately: levels may differ, and only what is told often brings them together.
func (c *cell) troubled(now mono.Time) bool {
	v := c.of.fleet.view()
	return c.frozen != 0 || v.fresh < v.n || v.keep < 1 || now.Sub(c.upset) < 5*oneSecond
}

// jumps reports that a recent demand is another than that of a longer time, and not by chance.
func (c *cell) jumps(recent float64) bool {
	m := max(c.cost, 1)
	return math.Abs(recent-c.slow) > 4*math.Sqrt(max(c.slow*m, m*m/fastTime)/(2*fastTime))
}

// far says that a long window cannot be exhausted soon: nothing is worth telling but that a share is half gone.
func (c *cell) far(d float64) bool {
	return c.win.end != 0 && c.level > 30*(c.sumD+d) && c.level > 0
}

// tell writes a record of c, and changes what the others are taken to know.
func (f *Fleet) tell(c *cell, now mono.Time, w *writer) {
	c.wroteD = packLog(c.slow)
	d := unpack(c.wroteD)
	c.rate = c.weight(d)
	due := c.dueAt(c.rate)
	s := min(d, due)
	if c.of.kind == kindSeats || c.level >= c.of.size*0.999 && d < due/2 || c.far(d) {
		s = 0 // far from the limit: what overflows refills
	}
	c.wroteS = packLog(s)
	s = unpack(c.wroteS)
	count := math.Floor(c.used*256) / 256
	if c.of.kind != kindSeats {
		count = max(count, c.told.c) // what was told is not taken back: it stays mine to spend
	}
	by := 0.0 // by chance
	if !c.troubled(now) {
		by = c.chance(d) / 3
	}
	if drift := count - c.told.on(now); math.Abs(drift) > 1.5 || math.Abs(s-c.told.s) > max(c.told.s/10, by) || math.Abs(d-c.toldD) > max(c.toldD/4, 3*by) {
		c.patience = 1
	} else if c.patience < c.mostPatience() {
		c.patience *= 2
	}
	l := line{count, s, now}
	c.past.push(now, d, f.silence()/3)
	c.told, c.toldD, c.sent = l, d, now
	c.refusedCost = math.Floor(c.refusedCost * 0.9)
	f.adopt(c, l, d, now)
	c.draw(now)
	w.add(c, now)
}

// adopt has what was told count: at once where it is to my loss, else when the others have it.
func (f *Fleet) adopt(c *cell, l line, d float64, now mono.Time) {
	hold := 2*f.delay + minGap // until what the others had not told is here
	gains := l.c > c.self.on(now) || l.s > c.self.s
	if hold == 0 || len(c.gains) > 6 {
		c.gains = c.gains[:0]
		c.setSelf(now, l)
		c.demand = d
		return
	}
	if !gains {
		c.setSelf(now, l)
		c.gains = c.gains[:0]
	}
	c.demand = min(c.demand, d)
	g := gain{l, d, gains, now.Add(hold)}
	if len(c.gains) == 0 {
		f.gaining = append(f.gaining, c)
	}
	c.gains = append(c.gains, g)
	if f.gainAt == 0 || g.from < f.gainAt {
		f.gainAt = g.from
	}
}

func (c *cell) mostPatience() int {
	if c.toldD == 0 && c.told.s == 0 && c.of.kind == kindBucket {
		return 8 * maxPatience // nobody goes by what is said of it, but to make up for frames that got lost
	}
	if c.win.end != 0 {
		return int(maxPatience * min(10, max(1, sec(c.of.length())/10)))
	}
	return maxPatience
}
