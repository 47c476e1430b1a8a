package telemetry

import (
	"io"
	"log/slog"
)

// NewLogger returns the gateway's own log: level is debug, info, warn or error, format is text or json. The level can be
// changed later through the LevelVar. Other words are a programmer's error: a configuration's are checked before.
func NewLogger(level, format string, w io.Writer) (*slog.Logger, *slog.LevelVar) {
	v := new(slog.LevelVar)
	if err := v.UnmarshalText([]byte(level)); err != nil {
		panic("BUG: log level: " + err.Error())
	}
	o := &slog.HandlerOptions{Level: v}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, o)), v
	case "json":
		return slog.New(slog.NewJSONHandler(w, o)), v
	}
	panic("BUG: log format: " + format)
}
