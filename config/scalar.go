package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// setScalar stores text, as written in a file, into v. It returns what is wrong and what to write, or "".
func setScalar(v reflect.Value, text string) string {
	switch v.Type() {
	case durationType:
		d, problem := parseDuration(text)
		v.SetInt(int64(d))
		return problem
	case sizeType:
		s, problem := parseSize(text)
		v.SetInt(int64(s))
		return problem
	case percentType:
		p, problem := parsePercent(text)
		v.SetFloat(float64(p))
		return problem
	case ratioType:
		r, problem := parseRatio(text)
		v.SetFloat(float64(r))
		return problem
	case amountType:
		a, problem := parseAmount(text)
		v.Set(reflect.ValueOf(a))
		return problem
	case windowType:
		w, problem := parseWindow(text)
		v.Set(reflect.ValueOf(w))
		return problem
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(text)
	case reflect.Bool:
		if text != "true" && text != "false" {
			return badBool(text)
		}
		v.SetBool(text == "true")
	case reflect.Int, reflect.Int64:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return badInteger(text)
		}
		v.SetInt(n)
	default:
		panic("BUG: no scalar of type " + v.Type().String())
	}
	return ""
}

func badBool(text string) string {
	write := "true or false"
	switch strings.ToLower(text) {
	case "yes", "on", "y", "1", "true", "t", "enabled":
		write = "true"
	case "no", "off", "n", "0", "false", "f", "disabled", "none":
		write = "false"
	}
	return fmt.Sprintf("%s is neither true nor false: write %s", quote(text), write)
}

func badInteger(text string) string {
	if plain := strings.NewReplacer("_", "", ",", "", " ", "").Replace(text); plain != text && isDigits(plain) {
		return fmt.Sprintf("%s is not a whole number: write %s", quote(text), plain)
	}
	if isDigits(strings.TrimPrefix(text, "-")) {
		return fmt.Sprintf("%s is too large", quote(text))
	}
	return fmt.Sprintf("%s is not a whole number: write digits only", quote(text))
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func isNumber(s string) bool {
	_, err := strconv.ParseFloat(s, 64)
	return err == nil && strings.Trim(s, "0123456789.-+") == ""
}

// parseDuration reads 250ms, 1m30s, 24h or 0.
func parseDuration(text string) (time.Duration, string) {
	d, err := time.ParseDuration(text)
	if err == nil {
		if d < 0 {
			return 0, fmt.Sprintf("%s is negative: write a duration such as 5s", quote(text))
		}
		return d, ""
	}
	switch {
	case isNumber(text):
		return 0, fmt.Sprintf("%s has no unit: write %ss (or %sms, %sm, %sh)", quote(text), text, text, text, text)
	case strings.HasSuffix(text, "d") && isDigits(text[:len(text)-1]) && len(text) < 6:
		days, _ := strconv.Atoi(text[:len(text)-1])
		return 0, fmt.Sprintf("%s is not a duration: days are written in hours: write %dh", quote(text), 24*days)
	}
	if n, unit := splitUnit(text); n != "" {
		for _, u := range []struct{ short, long string }{
			{"ms", "ms msec msecs millis millisecond milliseconds"}, {"s", "s sec secs second seconds"}, {"m", "m min mins minute minutes"},
			{"h", "h hr hrs hour hours"},
		} {
			for long := range strings.FieldsSeq(u.long) {
				if strings.EqualFold(unit, long) {
					return 0, fmt.Sprintf("%s is not a duration: write %s%s", quote(text), n, u.short)
				}
			}
		}
	}
	return 0, fmt.Sprintf("%s is not a duration: write for example 250ms, 5s, 1m or 24h", quote(text))
}

// splitUnit splits "10 sec" into "10" and "sec"; the number is empty if text does not start with one.
func splitUnit(text string) (number, unit string) {
	text = strings.TrimSpace(text)
	i := 0
	for i < len(text) && text[i] >= '0' && text[i] <= '9' {
		i++
	}
	return text[:i], strings.TrimSpace(text[i:])
}

var sizeUnits = []struct {
	name  string
	shift uint
}{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"B", 0}}

// parseSize reads 512, 16KiB, 10MiB or 1GiB.
func parseSize(text string) (Size, string) {
	number, unit := splitUnit(text)
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || strings.Contains(text, " ") {
		if number != "" && err == nil && unit != "" {
			return 0, fmt.Sprintf("%s is not a size: write %s%s, without a space", quote(text), number, unit)
		}
		return 0, fmt.Sprintf("%s is not a size: write a whole number and a unit, for example 512, 16KiB, 10MiB or 1GiB", quote(text))
	}
	if unit == "" {
		return Size(n), ""
	}
	if unit[0] == '.' {
		return 0, fmt.Sprintf("%s is not a size: write a whole number, in a smaller unit if need be", quote(text))
	}
	for _, u := range sizeUnits {
		if unit == u.name {
			if n > math.MaxInt64>>u.shift {
				return 0, fmt.Sprintf("%s is too large", quote(text))
			}
			return Size(n << u.shift), ""
		}
		if strings.EqualFold(unit[:1], u.name[:1]) {
			return 0, fmt.Sprintf("%s is not a size: write %s%s", quote(text), number, u.name)
		}
	}
	return 0, fmt.Sprintf("%s is not a size: the units are KiB, MiB and GiB: write for example %sKiB", quote(text), number)
}

// parsePercent reads 20%, 0.5% or 0.
func parsePercent(text string) (Percent, string) {
	number, isPercent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || !isNumber(number):
		return 0, fmt.Sprintf("%s is not a percentage: write for example 20%%", quote(text))
	case f < 0 || (isPercent && f > 100):
		return 0, fmt.Sprintf("%s is out of range: write 0%% to 100%%", quote(text))
	case isPercent || f == 0:
		return Percent(f / 100), ""
	case f < 1:
		return 0, fmt.Sprintf("%s has no unit: write %s", quote(text), Percent(f))
	}
	return 0, fmt.Sprintf("%s has no unit: write %s%%", quote(text), number)
}

// parseRatio reads 0.8 or 80%.
func parseRatio(text string) (Ratio, string) {
	if strings.HasSuffix(text, "%") {
		p, problem := parsePercent(text)
		return Ratio(p), problem
	}
	f, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || strings.Trim(text, "0123456789.-+eE") != "":
		return 0, fmt.Sprintf("%s is not a number from 0 to 1: write for example 0.8", quote(text))
	case f >= 10 && f <= 100 && isNumber(text):
		return 0, fmt.Sprintf("%s is out of range: write 0 to 1, or %s%%", quote(text), text)
	case f < 0 || f > 1:
		return 0, fmt.Sprintf("%s is out of range: write 0 to 1", quote(text))
	}
	return Ratio(f + 0), "" // not -0
}

// String returns the size as people write it: 512, 16KiB, 10MiB.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && s%(1<<u.shift) == 0 {
			return strconv.FormatInt(int64(s>>u.shift), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// String returns the share as people write it: 20%.
func (p Percent) String() string {
	return strconv.FormatFloat(math.Round(float64(p)*1e11)/1e9, 'f', -1, 64) + "%"
}

// formatDuration returns d as people write it: 5s, 1m30s, 24h.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
