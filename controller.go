package main

import (
	"errors"
	"fmt"
	"net/http"
	"os"

	"weir/admin"
	"weir/config"
	"weir/gateway"
)

// controller is what the admin API sees of the gateway.
type controller struct{ a *app }

// reloaded is the answer to a reload.
type reloaded struct {
	Hash     string `json:"hash"`
	Routes   int    `json:"routes"`
	Pools    int    `json:"pools"`
	Policies int    `json:"policies"`
}

func (c controller) Routes() any { return c.a.gw.Snapshot().Routes() }
func (c controller) Pools() any  { return c.a.gw.Pools() }
func (c controller) Config() any { return c.a.conf.Load().Redacted() }

func (c controller) Ready() (bool, string) {
	why := c.a.gw.Unready()
	return why == "", why
}

func (c controller) Explain(r admin.ExplainRequest) (any, error) {
	h := http.Header{}
	for name, values := range r.Headers {
		for _, v := range values {
			h.Add(name, v)
		}
	}
	return c.a.gw.Explain(c.a.gw.Snapshot(), gateway.Question{Method: r.Method, URL: r.URL, Header: h, Remote: r.Remote})
}

func (c controller) Drain(pool, endpoint string) error   { return c.drain(pool, endpoint, true) }
func (c controller) Undrain(pool, endpoint string) error { return c.drain(pool, endpoint, false) }

func (c controller) drain(pool, endpoint string, drain bool) error {
	return notFound(c.a.gw.DrainEndpoint(pool, endpoint, drain))
}

// notFound says it in the API's words if err is that something is unknown.
func notFound(err error) error {
	if errors.Is(err, gateway.ErrUnknown) {
		return fmt.Errorf("%w: %w", admin.ErrNotFound, err)
	}
	return err
}

func (c controller) Validate(name string, body []byte) error {
	conf, err := config.Parse(name, body, os.LookupEnv)
	if err != nil {
		return err
	}
	snap, _, err := compile(conf)
	if err != nil {
		return err
	}
	snap.Discard()
	return nil
}

func (c controller) Reload(who string) (any, error) {
	conf, err := c.a.reload(who)
	if err != nil {
		return nil, err
	}
	return reloaded{c.a.reloaded.Load().Hash, len(conf.Routes), len(conf.Pools), len(conf.Policies)}, nil
}
