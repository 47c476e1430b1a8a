package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"

	"weir/admin"
	"weir/config"
	"weir/gateway"
)

// Backpressure that came by the API stands in app.overlay, key by key over what the file says. It is kept in memory: it outlives a
// reload, not a restart.

// overlayText is the section that a set of keys makes, or nothing.
func overlayText(keys map[string]json.RawMessage) ([]byte, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	return json.Marshal(keys)
}

// withOverlay returns conf with the keys of the API.
func withOverlay(conf *config.Config, keys map[string]json.RawMessage) (*config.Config, error) {
	text, err := overlayText(keys)
	if err != nil || text == nil {
		return conf, err
	}
	return conf.WithBackpressure(text)
}

// Backpressure is what is in force, with the load at the moment.
func (c controller) Backpressure() any {
	return c.pressureView(c.a.conf.Load())
}

// pressureView shows the section as it is in force, where it comes from, and the load.
func (c controller) pressureView(conf *config.Config) any {
	view := json.RawMessage("{}")
	if b := conf.Backpressure; b != nil {
		text, err := json.Marshal(b.View())
		if err != nil {
			return map[string]string{"error": err.Error()}
		}
		view = text
	}
	c.a.loading.Lock()
	keys := slices.Sorted(maps.Keys(c.a.overlay))
	c.a.loading.Unlock()
	rest, err := json.Marshal(struct {
		Enabled bool                 `json:"enabled"`
		ByAPI   []string             `json:"by_api"` // keys that came by the API
		Load    gateway.LoadView     `json:"load"`
		Queues  []gateway.QueueView  `json:"queues"`
		Shaping []gateway.PacingView `json:"shaping,omitempty"`
	}{conf.Backpressure != nil, append([]string{}, keys...), c.a.gw.Load(), c.a.gw.Queues(), c.a.gw.Pacings()})
	if err != nil {
		return map[string]string{"error": err.Error()}
	}
	if len(view) == 2 {
		return json.RawMessage(rest)
	}
	return json.RawMessage(slices.Concat(view[:len(view)-1], []byte(","), rest[1:]))
}

// SetBackpressure puts keys of the section in force, over those of the file and of earlier calls.
func (c controller) SetBackpressure(_ string, body []byte) (any, error) {
	if _, err := config.ParseBackpressure(body); err != nil {
		return nil, err
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(body, &keys); err != nil {
		return nil, config.Faults{{File: "body", Line: 1, Col: 1, Message: "the body is no JSON object: " + err.Error()}}
	}
	a := c.a
	a.loading.Lock()
	old := a.overlay
	merged := maps.Clone(old)
	if merged == nil {
		merged = map[string]json.RawMessage{}
	}
	maps.Copy(merged, keys)
	a.overlay = merged
	err := a.apply(a.base, a.extras)
	if err != nil {
		a.overlay = old
	}
	a.loading.Unlock()
	if err != nil {
		return nil, err
	}
	return c.Backpressure(), nil
}

// DropBackpressure takes back what came by the API.
func (c controller) DropBackpressure(string) (any, error) {
	a := c.a
	a.loading.Lock()
	old, base := a.overlay, a.base
	a.overlay = nil
	if conf, err := config.Load(a.path, os.LookupEnv); err == nil { // it may be there in vain since it was changed under the overlay
		base = conf
	}
	err := a.apply(base, a.extras)
	if err != nil {
		a.overlay = old
		err = fmt.Errorf("%w: %w", admin.ErrConflict, err)
	}
	a.loading.Unlock()
	if err != nil {
		return nil, err
	}
	return c.Backpressure(), nil
}
