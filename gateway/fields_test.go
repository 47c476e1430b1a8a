package gateway

import (
	"fmt"
	"strconv"
	"strings"
)

// item is a member of a structured field list (RFC 9651) whose members are strings with integer parameters: all that
// RateLimit and RateLimit-Policy hold.
type item struct {
	name   string
	params map[string]int64
}

// parseItems is a parser of such lists that shares nothing with what renders them.
func parseItems(s string) ([]item, error) {
	var all []item
	for {
		s = strings.TrimLeft(s, " ")
		it := item{params: map[string]int64{}}
		if s == "" || s[0] != '"' {
			return nil, fmt.Errorf("no string at %q", s)
		}
		s = s[1:]
		for {
			if s == "" || s[0] < ' ' || s[0] > '~' {
				return nil, fmt.Errorf("open string at %q", s)
			}
			c := s[0]
			s = s[1:]
			if c == '"' {
				break
			}
			if c == '\\' {
				if s == "" || s[0] != '"' && s[0] != '\\' {
					return nil, fmt.Errorf("bad escape at %q", s)
				}
				c, s = s[0], s[1:]
			}
			it.name += string(c)
		}
		for strings.HasPrefix(s, ";") {
			end := strings.IndexAny(s[1:]+",", ";,") + 1
			key, value, _ := strings.Cut(strings.TrimLeft(s[1:end], " "), "=")
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil || n > 999_999_999_999_999 || n < 0 || key == "" || strings.Trim(key, "abcdefghijklmnopqrstuvwxyz") != "" {
				return nil, fmt.Errorf("bad parameter at %q", s)
			}
			it.params[key], s = n, s[end:]
		}
		all = append(all, it)
		if s == "" {
			return all, nil
		}
		if s[0] != ',' {
			return nil, fmt.Errorf("no comma at %q", s)
		}
		s = s[1:]
	}
}

// headerOf returns the value of a field in header lines, and how often it is there.
func headerOf(lines, name string) (value string, times int) {
	for line := range strings.SplitSeq(lines, "\r\n") {
		if k, v, ok := strings.Cut(line, ": "); ok && strings.EqualFold(k, name) {
			value = v
			times++
		}
	}
	return value, times
}
