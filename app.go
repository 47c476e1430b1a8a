package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"weir/admin"
	"weir/config"
	"weir/gateway"
	"weir/telemetry"
	"weir/tls"
)

// app is a running gateway: it owns the sockets, the admin server and everything that watches.
type app struct {
	path  string
	log   *slog.Logger
	level *slog.LevelVar
	hub   *telemetry.Hub
	gw    *gateway.Gateway
	store atomic.Pointer[tls.Store]
	tasks sync.WaitGroup
	ctx   context.Context // ends when the gateway does

	secret [16]byte // of the gateway's hashes
	fleet  *fleet   // nil: this gateway is alone

	loading sync.Mutex                 // one reload or change by API at a time; guards the next four
	base    *config.Config             // what the file says
	extras  []config.Extra             // policies that came by the API
	overlay map[string]json.RawMessage // backpressure that came by the API
	kept    string                     // the directory in which quotas are kept; empty: no quota has been configured yet, or data_dir is empty

	stopped   atomic.Bool
	impatient atomic.Pointer[context.CancelFunc] // ends a wait for the disk

	mu       sync.Mutex                    // guards what follows; who holds it may wait for a file, but not for quotas
	sum      [sha256.Size]byte             // of the file as it was last read
	conf     atomic.Pointer[config.Config] // in force
	sockets  map[string]*socket            // by address
	serving  atomic.Pointer[[]*socket]     // those of sockets, for who must not wait for mu
	access   accessLog
	admin    adminSocket
	reloaded atomic.Pointer[telemetry.ConfigInfo]
}

// accessLog is the open access log and what it was opened with.
type accessLog struct {
	log  *telemetry.AccessLog
	conf telemetry.AccessLogOptions
}

// run is the life of a gateway, until ctx ends or a signal asks it to stop.
func run(ctx context.Context, path string) error {
	known, _ := os.Stat(path) // a file that is not there fails to load
	conf, err := config.Load(path, os.LookupEnv)
	if err != nil {
		return err
	}
	stopProfile, err := startProfile()
	if err != nil {
		return err
	}
	defer stopProfile()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a := &app{path: path, hub: telemetry.NewHub(), sockets: map[string]*socket{}, ctx: ctx}
	a.reloaded.Store(new(telemetry.ConfigInfo))
	a.log, a.level = telemetry.NewLogger(conf.Telemetry.Log.Level, conf.Telemetry.Log.Format, os.Stderr)
	if err := a.chooseSecret(conf); err != nil {
		return err
	}
	if a.fleet, err = newFleet(conf, a.log); err != nil {
		return err
	}
	o := gateway.Options{Hub: a.hub, Log: a.log, HTTP01: a.http01, Secret: a.secret}
	if a.fleet != nil {
		o.Fleet = a.fleet.limits
	}
	a.gw = gateway.New(o)
	a.hub.SetSources(a.sources())
	a.admin.server = admin.New(controller{a}, admin.Options{})

	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGTERM, syscall.SIGINT)
	defer signal.Stop(signals)
	hangups := make(chan struct{}, 1)
	started := make(chan error, 1)
	a.tasks.Go(func() { started <- a.begin(conf) }) // it may wait for a disk, and signals must not
	for {
		select {
		case err := <-started:
			if err != nil {
				return errors.Join(err, a.stop(0))
			}
			a.attend(conf, known, hangups)
			continue
		case <-ctx.Done():
		case s := <-signals:
			if s == syscall.SIGHUP {
				select {
				case hangups <- struct{}{}:
				default: // one is to be seen to, and will see all that has changed
				}
				continue
			}
			a.log.Info("stopping", "signal", s.String(), "timeout", a.shutdownTimeout(conf))
		}
		return a.stopOn(signals, cancel, a.shutdownTimeout(conf))
	}
}

// attend starts what goes on beside the requests.
func (a *app) attend(conf *config.Config, known os.FileInfo, hangups chan struct{}) {
	a.greet(conf)
	a.tasks.Go(func() { a.gw.Run(a.ctx) })
	a.tasks.Go(func() { config.Watch(a.ctx, a.path, known, a.fileChanged) })
	a.tasks.Go(func() { a.onHangups(hangups) })
}

// begin puts the first configuration in force.
func (a *app) begin(conf *config.Config) error {
	a.loading.Lock()
	defer a.loading.Unlock()
	return a.apply(conf, nil)
}

// onHangups does what SIGHUP asks for, until ctx ends.
func (a *app) onHangups(hangups <-chan struct{}) {
	for {
		select {
		case <-a.ctx.Done():
			return
		case <-hangups:
			a.reopenAccessLog() // it has been rotated, perhaps, whatever has become of the file
			a.reload("SIGHUP")  //nolint:errcheck // it has logged why
		}
	}
}

func (a *app) greet(conf *config.Config) {
	for _, l := range conf.Listeners {
		a.log.Info("listening", "listener", l.Name, "address", a.sockets[l.Address].ln.Addr().String(), "tls", l.TLS)
	}
	a.log.Info("ready", "version", buildVersion(), "admin", a.admin.now.Load().ln.Addr().String(), "config", a.reloaded.Load().Hash, "routes", len(conf.Routes), "pools", len(conf.Pools), "policies", len(conf.Policies))
}

// fileChanged reloads, unless the bytes are those that were loaded last: a reload by API or signal often comes first.
func (a *app) fileChanged() {
	b, err := os.ReadFile(a.path)
	a.mu.Lock()
	same := err == nil && a.sum == sha256.Sum256(b)
	a.mu.Unlock()
	if !same {
		a.reload("file change") //nolint:errcheck // it has logged why
	}
}

// reload loads the file again and puts it in force, or says why not and changes nothing.
func (a *app) reload(who string) (*config.Config, error) {
	a.loading.Lock() // else an older file could come in force last
	defer a.loading.Unlock()
	if b, err := os.ReadFile(a.path); err == nil {
		a.mu.Lock()
		a.sum = sha256.Sum256(b)
		a.mu.Unlock()
	}
	conf, err := config.Load(a.path, os.LookupEnv)
	if err == nil {
		err = a.apply(conf, a.extras)
	}
	if err != nil {
		if len(a.overlay) > 0 {
			err = fmt.Errorf("%w (with the backpressure that came by the API: DELETE /api/v1/backpressure takes that back)", err)
		}
		a.log.Error("reload failed, the configuration in force stays", "by", who, "error", err)
		old := *a.reloaded.Load()
		old.ReloadOK, old.ReloadedAt = false, time.Now()
		a.reloaded.Store(&old)
		return nil, err
	}
	a.log.Info("reloaded", "by", who, "config", a.reloaded.Load().Hash, "routes", len(conf.Routes), "pools", len(conf.Pools), "policies", len(conf.Policies))
	return conf, nil
}

var errStopping = fmt.Errorf("%w: the gateway is stopping", admin.ErrUnavailable)

// apply puts a configuration in force, with policies of the API. What can fail comes first and is undone if it does; the rest cannot
// fail. The caller holds loading.
func (a *app) apply(base *config.Config, extras []config.Extra) (err error) {
	if a.stopped.Load() {
		return errStopping
	}
	conf, err := a.merge(base, extras)
	if err == nil {
		conf, err = withOverlay(conf, a.overlay)
	}
	if err != nil {
		return err
	}
	var undo []func()
	defer func() {
		if err != nil {
			for _, f := range undo {
				f()
			}
		}
	}()
	applyFleet, err := a.prepareFleet(conf)
	if err != nil {
		return err
	}
	snap, err := a.gw.Compile(conf)
	if err != nil {
		return err
	}
	installed := false
	undo = append(undo, func() {
		if !installed {
			snap.Discard()
		}
	})
	forget, err := a.prepareQuotas(conf, snap)
	if err != nil {
		return err
	}
	undo = append(undo, forget)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped.Load() {
		return errStopping
	}
	use, err := a.prepareSockets(conf, &undo)
	if err != nil {
		return err
	}
	a.gw.Install(snap)
	installed = true
	if err = a.joinFleet(conf); err != nil { // the limits are there to learn what others have spent, and no request is yet
		return err
	}
	applyFleet()
	a.base, a.extras = base, extras
	a.show(conf)
	use()
	return nil
}

// prepareSockets has ready what conf wants of sockets, certificates and the access log, for use to put in force. What it adds to undo is for
// when conf comes to nothing.
func (a *app) prepareSockets(conf *config.Config, undo *[]func()) (use func(), err error) {
	added, err := a.bind(conf)
	if err != nil {
		return nil, err
	}
	*undo = append(*undo, func() { closeAll(added) })
	adminChange, err := a.prepareAdmin(conf)
	if err != nil {
		return nil, err
	}
	*undo = append(*undo, adminChange.discard)
	log, err := a.prepareAccessLog(conf)
	if err != nil {
		return nil, err
	}
	*undo = append(*undo, func() { a.discardAccessLog(log) })
	if err = a.applyTLS(conf); err != nil {
		return nil, err
	}
	return func() {
		a.useAccessLog(log)
		a.useSockets(conf, added)
		a.useAdmin(conf, adminChange)
	}, nil
}

// show makes conf what people are shown as in force.
func (a *app) show(conf *config.Config) {
	a.setLogLevel(conf)
	a.reloaded.Store(&telemetry.ConfigInfo{Hash: conf.Hash(), ReloadOK: true, ReloadedAt: time.Now()})
	a.conf.Store(conf)
}

func (a *app) setLogLevel(conf *config.Config) {
	if err := a.level.UnmarshalText([]byte(conf.Telemetry.Log.Level)); err != nil {
		a.log.Error("BUG: log level", "error", err)
	}
}

func (a *app) http01(path, host string) ([]byte, bool) {
	if s := a.store.Load(); s != nil {
		return s.HTTP01(path, host)
	}
	return nil, false
}

func (a *app) accessOptions(conf *config.Config) telemetry.AccessLogOptions {
	o := telemetry.AccessLogOptions{Output: conf.Telemetry.AccessLog.Output, Sample: float64(conf.Telemetry.AccessLog.Sample), Log: a.log}
	for _, d := range conf.Dimensions {
		if name, ok := strings.CutPrefix(d.From, "query:"); ok && d.Secret {
			o.SecretQuery = append(o.SecretQuery, name)
		}
	}
	return o
}

// prepareAccessLog opens the access log that conf wants, if it is another one.
func (a *app) prepareAccessLog(conf *config.Config) (accessLog, error) {
	o := a.accessOptions(conf)
	if a.access.log != nil && fmt.Sprint(o.Output, o.Sample, o.SecretQuery) == fmt.Sprint(a.access.conf.Output, a.access.conf.Sample, a.access.conf.SecretQuery) {
		return a.access, nil
	}
	log, err := telemetry.OpenAccessLog(o)
	return accessLog{log, o}, err
}

func (a *app) discardAccessLog(l accessLog) {
	if l.log != a.access.log {
		l.log.Close() //nolint:errcheck // nothing was written to it
	}
}

// reopenAccessLog lets a rotated log go.
func (a *app) reopenAccessLog() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.access.log.Reopen(); err != nil {
		a.log.Error("access log", "error", err)
	}
}

func (a *app) useAccessLog(l accessLog) {
	if l.log == a.access.log {
		return
	}
	a.access = l
	if old := a.gw.SetAccessLog(l.log); old != nil {
		old.Close() //nolint:errcheck // its writer has logged why
	}
}

// sources are what metrics ask for at a scrape.
func (a *app) sources() telemetry.Sources {
	return telemetry.Sources{
		Pools: a.gw.PoolStats, Gates: a.gw.GateStats, Load: a.gw.LoadStats, Pacings: a.gw.PacingStats, Limiters: a.gw.LimiterStats, LimiterMemory: a.gw.LimiterMemory, Tokens: a.gw.TokenStats, Cluster: a.clusterStats, Store: a.storeStats, Cache: a.gw.CacheStats, Connections: a.listenerStats, Certificates: a.certificates,
		Config:           func() telemetry.ConfigInfo { return *a.reloaded.Load() },
		AccessLogDropped: a.gw.AccessLogDropped,
	}
}

// startProfile writes a CPU profile until the end if WEIR_CPUPROFILE names a file: that is how default.pgo is made.
func startProfile() (stop func(), err error) {
	path := os.Getenv("WEIR_CPUPROFILE")
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		f.Close() //nolint:errcheck // the profile is read, or it is not
	}, nil
}
