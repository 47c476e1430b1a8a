package config

import (
	"fmt"
	"strings"
)

// expand replaces ${NAME} and ${NAME:-default} by what env says. $${ becomes ${, but stays in a
// template of dimensions. In any template ${names} that cannot be environment variables stay as they are; elsewhere they are a
// fault. It returns what is wrong, or "".
func expand(text string, env func(string) (string, bool), template string) (string, string) {
	if !strings.Contains(text, "${") {
		return text, ""
	}
	var out strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			out.WriteString(text)
			return out.String(), ""
		}
		if i > 0 && text[i-1] == '$' {
			if template != "dimensions" {
				text, i = text[:i-1]+text[i:], i-1
			}
			out.WriteString(text[:i+2])
			text = text[i+2:]
			continue
		}
		out.WriteString(text[:i])
		body, rest, closed := strings.Cut(text[i+2:], "}")
		name, def, hasDefault := strings.Cut(body, ":-")
		switch {
		case closed && isEnvName(name):
			value, set := env(name)
			if hasDefault && value == "" {
				value, set = def, true
			}
			if !set {
				return "", fmt.Sprintf("the environment variable %s is not set: set it, or write ${%s:-default}", name, name)
			}
			out.WriteString(value)
			text = rest
		case template != "":
			out.WriteString("${")
			text = text[i+2:]
		case !closed:
			return "", fmt.Sprintf("%s has no closing }: write ${NAME}, or $${ for the text itself", quote(text[i:]))
		default:
			return "", badEnvName(body, name)
		}
	}
}

func badEnvName(body, name string) string {
	if up := strings.ToUpper(name); isEnvName(up) {
		return fmt.Sprintf("${%s} is no environment variable: their names are capital letters, digits and _: write ${%s}, or $${%s} for the text itself",
			body, strings.Replace(body, name, up, 1), body)
	}
	return fmt.Sprintf("${%s} is no environment variable: write ${NAME} or ${NAME:-default}, or $${%s} for the text itself", body, body)
}

func isEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
