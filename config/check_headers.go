package config

import (
	"fmt"
	"slices"
	"strings"
)

func (k *checker) checkTransform(t *Transform, path string) {
	for i, h := range t.Set {
		k.checkHeader(h, fmt.Sprintf("%s.set[%d]", path, i))
	}
	for i, h := range t.Add {
		k.checkHeader(h, fmt.Sprintf("%s.add[%d]", path, i))
	}
	for i, name := range t.Remove {
		at := fmt.Sprintf("%s.remove[%d]", path, i)
		if name == "" {
			k.fault(at, "is empty: write a header name")
		}
		k.checkHeaderName(at, name, "")
	}
}

func (k *checker) checkHeader(h HeaderValue, path string) {
	k.checkHeaderName(path+".name", h.Name, h.Value)
	k.checkText(path+".value", h.Value)
	k.checkTemplate(path+".value", h.Value)
}

// wireHeaders belong to one connection or frame the message: they are the gateway's own.
var wireHeaders = []string{"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length", "expect"}

// checkHeaderName checks the name of a field that a file wants to write or remove.
func (k *checker) checkHeaderName(path, name, value string) {
	switch low := strings.ToLower(name); {
	case name == "": // recorded as missing
	case !isToken(name):
		k.fault(path, "%s is no name of a header field: letters, digits and !#$%%&'*+-.^_`|~", quote(name))
	case low == "host":
		if value == "" {
			value = "…"
		}
		k.fault(path, "Host is not a field to change: write rewrite: {host: %s}", value)
	case slices.Contains(wireHeaders, low):
		k.fault(path, "%s is the gateway's own, as it frames the message or speaks of one connection: remove it here", quote(name))
	}
}

// checkText checks a value that goes into a header field.
func (k *checker) checkText(path, text string) {
	for i := range len(text) {
		if c := text[i]; (c < ' ' && c != '\t') || c == 0x7f {
			k.fault(path, "%s has the control character 0x%02x: a header field is one line of plain text", quote(text), c)
			return
		}
	}
}

// isToken says whether s is a token of RFC 9110, 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte("!#$%&'*+-.^_`|~", c) < 0 {
			return false
		}
	}
	return s != ""
}
