package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// calendar are the periods that a Window can be.
var calendar = []string{"hour", "day", "week", "month"}

// parseAmount reads 1000 or 5%.
func parseAmount(text string) (Amount, string) {
	if !strings.HasSuffix(text, "%") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return Amount{}, badAmount(text)
		}
		return Amount{Units: n}, ""
	}
	p, problem := parsePercent(text)
	if problem != "" {
		return Amount{}, strings.Replace(problem, "write 0% to 100%", "write more than 0%, up to 100%", 1)
	}
	p = Percent(math.Round(float64(p)*shareUnit) / shareUnit) // as it prints
	if p == 0 {
		return Amount{}, fmt.Sprintf("%s is out of range: write more than 0%%, up to 100%%", quote(text))
	}
	return Amount{Share: p}, ""
}

func badAmount(text string) string {
	if number := strings.TrimSuffix(text, "percent"); number != text && isNumber(strings.TrimSpace(number)) {
		return fmt.Sprintf("%s is neither a number nor a share: write %s%%", quote(text), strings.TrimSpace(number))
	}
	if n, per, ok := strings.Cut(text, "/"); ok && isDigits(n) {
		return fmt.Sprintf("%s is not a whole number: write limit: %s and window: 1%s", quote(text), n, strings.TrimPrefix(per, "1"))
	}
	problem := badInteger(text)
	if strings.HasSuffix(problem, "write digits only") {
		problem += ", or a share such as 5%"
	}
	return problem
}

// parseWindow reads 1m, or hour, day, week or month.
func parseWindow(text string) (Window, string) {
	if slices.Contains(calendar, text) {
		return Window{Calendar: text}, ""
	}
	d, problem := parseDuration(text)
	if problem == "" {
		return Window{Every: d}, ""
	}
	low := strings.ToLower(text)
	for period, words := range map[string]string{
		"hour": "hour hours hourly 1hour", "day": "day days daily 1day 1d 24hours", "week": "week weeks weekly 1week 1w",
		"month": "month months monthly 1month",
	} {
		if slices.Contains(strings.Fields(words), strings.ReplaceAll(low, " ", "")) && low != "1d" {
			return Window{}, fmt.Sprintf("%s is no window: write %s, or a duration such as 24h", quote(text), period)
		}
	}
	if meant := nearest(text, calendar); meant != "" {
		return Window{}, fmt.Sprintf("%s is no window: did you mean %s?", quote(text), meant)
	}
	return Window{}, problem
}

// String returns the amount as people write it: 1000 or 5%.
func (a Amount) String() string {
	if a.Share != 0 {
		return a.Share.String()
	}
	return strconv.FormatInt(a.Units, 10)
}

// String returns the window as people write it: 1m or month.
func (w Window) String() string {
	if w.Calendar != "" {
		return w.Calendar
	}
	return formatDuration(w.Every)
}
