package admin

import (
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"weir/config"
)

// Controller is the gateway as the API sees it. Its methods are called from many goroutines. What they return as any is
// marshalled as JSON and shown, so it must hold no secret in clear.
type Controller interface {
	Routes() any
	Pools() any
	Cluster() any
	Config() any
	// Ready reports whether the gateway takes requests and, if not, why.
	Ready() (ok bool, why string)
	// Explain says what would become of a request, without effects. An error is the request's fault (400).
	Explain(ExplainRequest) (any, error)
	// Drain takes an endpoint out, gently; Undrain takes it back. An unknown pool or endpoint is an error that wraps
	// ErrNotFound and names those that are known.
	Drain(pool, endpoint string) error
	Undrain(pool, endpoint string) error
	// Validate checks a config file's text; name stands for the file in messages. Faults of the text are config.Faults.
	Validate(name string, body []byte) error
	// Reload loads the config file again on behalf of who. After an error the old configuration is in force.
	Reload(who string) (any, error)

	// Policies returns a list of what Policy returns of each.
	Policies() any
	// Policy returns a policy as it is in force, with its source, and its etag: text without quotes that is the same as long
	// as the policy is, and not "*" or empty. An unknown name is ErrNotFound.
	Policy(name string) (view any, etag string, err error)
	// CreatePolicy puts the policy of a text in force on behalf of who. Faults of the text are config.Faults, with "body" for
	// a file. ErrConflict, with the name: it is taken, whatever else is wrong with the text.
	CreatePolicy(who string, body []byte) (name string, view any, etag string, err error)
	// PutPolicy makes a text the policy of that name, which the text may leave out. An ifMatch other than "" is the etag that
	// the policy must have, or "*", which any policy has; if not, it is ErrPrecondition. ErrConflict: it is from the file.
	PutPolicy(who, name string, body []byte, ifMatch string) (created bool, view any, etag string, err error)
	// DeletePolicy removes a policy; ifMatch is as for PutPolicy. ErrNotFound: there is none. ErrConflict: it is from the file,
	// or the parent of another.
	DeletePolicy(who, name, ifMatch string) error

	// Backpressure returns what is in force, and the load.
	Backpressure() any
	// SetBackpressure puts the keys of a text in force on behalf of who, over what the file says, and returns what is in force then. Faults
	// of the text are config.Faults, with "body" for a file.
	SetBackpressure(who string, body []byte) (view any, err error)
	// DropBackpressure takes that back. ErrConflict: something that is in force needs it.
	DropBackpressure(who string) (view any, err error)

	// Purge forgets kept answers on behalf of who, here and at the other gateways: by is url, prefix, tag or all. ErrInvalid: value is
	// not what by names.
	Purge(who, by, value string) (view any, err error)

	// CheckFault says what is wrong with a check's metadata, or nothing: a client's fault (422).
	CheckFault(CheckRequest) error
	// Check spends, or looks, as a request with those dimensions would.
	Check(CheckRequest) CheckResult
	// Usage returns what a key spent. ErrNotFound: nothing is known of it.
	Usage(key string) (any, error)
	// Summary returns what the gateway saw, and its busiest keys.
	Summary() any
	// ResetKey gives a key back what it spent, on behalf of who. name is what the key is called where it is shown: of a secret value
	// not the value. ErrNotFound: nothing is known of it.
	ResetKey(who, key string) (name string, view any, err error)
}

// What a Controller's errors wrap. A client is told the whole text.
var (
	ErrNotFound     = errors.New("not found")                                       // nothing has the name given: 404
	ErrConflict     = errors.New("conflict")                                        // 409
	ErrPrecondition = errors.New("it is not, or no longer, what If-Match asks for") // 412
	ErrInvalid      = errors.New("it can't be understood")                          // 400
	ErrUnavailable  = errors.New("not possible now")                                // 503
)

// Options configure a Server. All fields may change while it serves.
type Options struct {
	Tokens  []config.Token // none: everybody on loopback is an admin
	Log     *slog.Logger   // nil: nothing is logged
	Metrics http.Handler   // answers /metrics; nil: 404
	Version string         // of this program
}

// Server answers the admin API. Safe for concurrent use.
type Server struct {
	controller Controller
	settings   atomic.Pointer[settings]
	handler    http.Handler
	validating chan struct{} // a seat per body being validated
}

// settings are Options, made ready.
type settings struct {
	tokens  []credential
	log     *slog.Logger
	metrics http.Handler
	version string
}

// New returns a server for c.
func New(c Controller, o Options) *Server {
	s := &Server{controller: c, validating: make(chan struct{}, 2)}
	s.Reconfigure(o)
	s.handler = s.guard(s.routes())
	return s
}

// Reconfigure changes the options of requests that begin from now on.
func (s *Server) Reconfigure(o Options) {
	n := &settings{tokens: credentials(o.Tokens), log: o.Log, metrics: o.Metrics, version: o.Version}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	s.settings.Store(n)
}

// Handler answers requests as the package comment says.
func (s *Server) Handler() http.Handler { return s.handler }

// HTTPServer returns a server of Handler with time-outs, for the caller to serve and to shut down.
func (s *Server) HTTPServer() *http.Server {
	return &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.settings.Load().log.Handler(), slog.LevelWarn),
	}
}
