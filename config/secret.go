package config

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

const redacted = "[redacted]"

// String returns "[redacted]", or nothing for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String, quoted: %#v shows no more.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// MarshalJSON writes String.
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(s.GoString()), nil }

// MarshalText writes String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalYAML writes String.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Format writes String for every verb, so that %x, %q and %d show no more.
func (s Secret) Format(w fmt.State, verb rune) {
	text := s.String()
	if verb == 'q' || w.Flag('#') {
		text = s.GoString()
	}
	_, _ = io.WriteString(w, text)
}

// maxSecret bounds a secret's file.
const maxSecret = 64 << 10

// readSecret reads a secret's file. The newline that editors leave at its end is not part of it.
func readSecret(path string) (string, string) {
	data, problem := readBounded(path, maxSecret)
	if problem != "" {
		return "", problem
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" {
		return "", fmt.Sprintf("the file %s is empty", path)
	}
	return text, ""
}

// readBounded reads a regular file of at most limit bytes. It returns what is wrong, or "".
func readBounded(path string, limit int64) ([]byte, string) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fileProblem(path, err)
	}
	if info.IsDir() {
		return nil, fmt.Sprintf("%s is a directory: write the path of a file", path)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Sprintf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fileProblem(path, err)
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fileProblem(path, err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Sprintf("the file %s is larger than %s", path, Size(limit))
	}
	return data, ""
}

func fileProblem(path string, err error) string {
	switch {
	case os.IsNotExist(err):
		return fmt.Sprintf("there is no file %s", path)
	case os.IsPermission(err):
		return fmt.Sprintf("the file %s may not be read by this user: check its owner and mode", path)
	}
	return fmt.Sprintf("the file %s cannot be read: %v", path, err)
}
