package cache

import (
	"strings"
	"time"
)

const imfLayout = "Mon, 02 Jan 2006 15:04:05 GMT"

// parseDate reads an HTTP-date in any of its three forms (RFC 9110, section 5.6.7), in seconds since 1970. The usual form is
// read without allocation. Of two-digit years those more than 50 years after year are in the past.
func parseDate(s string, year int) (int64, bool) {
	if len(s) == len(imfLayout) {
		return parseIMF(s)
	}
	if t, err := time.Parse("Mon Jan _2 15:04:05 2006", s); err == nil {
		return t.Unix(), true
	}
	return parseRFC850(s, year)
}

func parseRFC850(s string, year int) (int64, bool) {
	day, rest, ok := strings.Cut(s, ", ")
	if !ok || len(rest) != len("02-Jan-06 15:04:05 GMT") || rest[2] != '-' || rest[6] != '-' {
		return 0, false
	}
	switch day {
	case "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday":
	default:
		return 0, false
	}
	yy, ok := digits(rest[7:9])
	if !ok {
		return 0, false
	}
	y := year - year%100 + yy
	for y > year+50 {
		y -= 100
	}
	for y <= year-50 {
		y += 100
	}
	return parseParts(rest[:2], rest[3:6], y, rest[9:])
}

func parseIMF(s string) (int64, bool) {
	if s[3] != ',' || s[4] != ' ' || s[7] != ' ' || s[11] != ' ' || third("MonTueWedThuFriSatSun", s[:3]) < 0 {
		return 0, false
	}
	y, ok := digits(s[12:16])
	if !ok {
		return 0, false
	}
	return parseParts(s[5:7], s[8:11], y, s[16:])
}

// parseParts reads day, month and " 15:04:05 GMT".
func parseParts(day, month string, year int, clock string) (int64, bool) {
	if clock[0] != ' ' || clock[3] != ':' || clock[6] != ':' || clock[9:] != " GMT" {
		return 0, false
	}
	m := third("JanFebMarAprMayJunJulAugSepOctNovDec", month)
	d, ok1 := digits(day)
	h, ok2 := digits(clock[1:3])
	min, ok3 := digits(clock[4:6])
	sec, ok4 := digits(clock[7:9])
	if m < 0 || !ok1 || !ok2 || !ok3 || !ok4 || d < 1 || h > 23 || min > 59 || sec > 60 {
		return 0, false
	}
	t := time.Date(year, time.Month(m+1), d, h, min, sec, 0, time.UTC)
	if t.Month() != time.Month(m+1) && sec < 60 { // the 31st of February
		return 0, false
	}
	return t.Unix(), true
}

// third returns which of the names of three letters in all it is, or -1.
func third(all, name string) int {
	i := strings.Index(all, name)
	if i%3 != 0 {
		return -1
	}
	return i / 3
}

func digits(s string) (n int, ok bool) {
	for i := range len(s) {
		if !digit(s[i]) {
			return 0, false
		}
		n = n*10 + int(s[i]-'0')
	}
	return n, true
}
