package config

import (
	"fmt"
	"slices"
)

// leastBurst is the part of a second whose bytes a burst holds at least: timers are too coarse for less, and the rate is not reached.
const leastBurst = 100

// minShape is the least rate that bodies flow at.
const minShape = Size(1 << 10)

func (k *checker) checkShaping() {
	rules := k.c.Shaping
	k.checkNames("shaping", len(rules), func(i int) string { return rules[i].Name })
	for i := range rules {
		path := fmt.Sprintf("shaping[%d]", i)
		if rules[i].By != "" {
			k.checkReference(path+".by", "dimension", rules[i].By, &k.known.dimensions)
		}
		k.checkRates(&rules[i], path)
	}
	k.checkShapedRoutes(rules)
}

// checkShapedRoutes checks that the routes of rules exist, and that no route is in two of them.
func (k *checker) checkShapedRoutes(rules []Shaping) {
	everywhere := slices.IndexFunc(rules, func(s Shaping) bool { return len(s.Routes) == 0 })
	if everywhere >= 0 && k.faultyBelow(fmt.Sprintf("shaping[%d].routes", everywhere)) {
		everywhere = -1 // it was meant to have some
	}
	holder := map[string]int{}
	for i := range rules {
		if k.faults.full() {
			return
		}
		path := fmt.Sprintf("shaping[%d].routes", i)
		if everywhere >= 0 && i != everywhere && !k.faultyBelow(path) {
			at, other := i, everywhere
			if i < everywhere {
				at, other = everywhere, i
			}
			k.fault(fmt.Sprintf("shaping[%d].routes", at), "the rule and that of line %d hold for the same routes, as one of them has no routes: and so holds for every route: give both routes that the other does not have",
				k.line(fmt.Sprintf("shaping[%d]", other)))
		}
		for j, name := range rules[i].Routes {
			at := fmt.Sprintf("%s[%d]", path, j)
			k.checkReference(at, "route", name, &k.known.routes)
			switch other, taken := holder[name]; {
			case taken && other == i:
				k.fault(at, "the route %s is given twice: remove one", quote(name))
			case taken:
				k.fault(at, "the route %s is in the rule %s already, and a route has one rule: remove it from one of them", quote(name), quote(rules[other].Name))
			default:
				holder[name] = i
			}
		}
	}
}

// checkRates checks what a rule says of each direction.
func (k *checker) checkRates(s *Shaping, path string) {
	if s.Download == 0 && s.Upload == 0 && !k.faults.paths[path+".download"] && !k.faults.paths[path+".upload"] {
		k.fault(path, "the rule slows nothing down: write download: or upload:, in bytes per second, for example download: 10MiB")
	}
	totals := 0
	for _, way := range []struct {
		key         string
		rate, total Size
	}{{"download", s.Download, s.TotalDownload}, {"upload", s.Upload, s.TotalUpload}} {
		rate, total := path+"."+way.key, path+".total_"+way.key
		if way.rate > 0 && way.rate < minShape {
			k.fault(rate, "%v bytes per second is too little: write %v or more, or 0 for no limit", way.rate, minShape)
		}
		if k.faults.paths[total] {
			totals++
		}
		if way.total == 0 {
			continue
		}
		totals++
		switch {
		case k.faults.paths[rate]:
		case way.rate == 0:
			k.fault(total, "is of all flows together, and nothing says what one may have: write %s: too, as much as the total if one may have all", way.key)
		case way.total < way.rate:
			k.fault(total, "%v is less than %s, %v, which one flow may have: write as much or more, or a lower %s", way.total, way.key, way.rate, way.key)
		case s.Guarantee > way.rate:
			k.fault(path+".guarantee", "%v is more than %s, %v, which no flow exceeds: write as much or less", s.Guarantee, way.key, way.rate)
		}
	}
	k.checkBurst(s, path)
	if s.Guarantee > 0 && totals == 0 {
		k.fault(path+".guarantee", "without a total nothing is shared, and every flow has its rate: write total_download: or total_upload: too, or leave guarantee out")
	}
}

// checkBurst checks that a burst that is given lets a flow reach its rates.
func (k *checker) checkBurst(s *Shaping, path string) {
	rate, key := s.Download, "download"
	if s.Upload > rate {
		rate, key = s.Upload, "upload"
	}
	least := (rate + leastBurst - 1) / leastBurst
	if s.Burst == nil || *s.Burst >= least {
		return
	}
	least = (least + 1<<10 - 1) >> 10 << 10 // whole KiB
	k.fault(path+".burst", "%v is less than goes in 10 ms at %s, %v, so that flows would be much slower: write %v or more, or leave burst out", *s.Burst, key, rate, least)
}
