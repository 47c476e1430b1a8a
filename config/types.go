package config

import "time"

// The types of this file are the schema of the config file: the tags are the single source for decoding (yaml), defaults
// (default), required keys, ranges (min, max), the JSON Schema and the reference (doc, enum), and for what this version does
// not do yet (later: the key is known and refused with that text, unless it holds its default or says enabled: false).
// write is what to write instead of a value that cannot be read.
// words are names of values that are no numbers, as in off=0: min and max do not hold for them. alone marks the one key of a struct
// that may be written without the others: a single value stands for it. template marks values that may hold ${names} that are no environment variables: text, or dimensions, where $${ is left for
// who fills the template in.

// Duration is a span of time, written 250ms, 5s, 1m or 24h.
type Duration = time.Duration

// Size is a number of bytes, written 512, 16KiB, 10MiB or 1GiB.
type Size int64

// Percent is a share from 0 to 1, written 20%.
type Percent float64

// Secret is a string that is never printed: it marshals as "[redacted]". In the file it is the value itself, ${VAR}, or
// file:/path.
type Secret string

// Config is one whole configuration, defaulted and validated. It is immutable once loaded.
type Config struct {
	Node            Node          `yaml:"node" doc:"who this gateway is"`
	Admin           Admin         `yaml:"admin" doc:"API, metrics, health"`
	Listeners       []Listener    `yaml:"listeners" doc:"addresses that take requests"`
	TrustedProxies  []string      `yaml:"trusted_proxies" doc:"CIDRs whose X-Forwarded-For, Forwarded and PROXY header are believed; default nobody"`
	TLS             TLS           `yaml:"tls" doc:"certificates and client authentication for listeners with tls: true"`
	Dimensions      []Dimension   `yaml:"dimensions" doc:"who is asking: names usable in policies, hash_on and header templates"`
	JWT             JWT           `yaml:"jwt" doc:"tokens that jwt: dimensions read; a bad one is 401"`
	Pools           []Pool        `yaml:"pools" doc:"sets of endpoints that answer requests"`
	Routes          []Route       `yaml:"routes" doc:"which request goes where; the first match in file order wins"`
	Policies        []Policy      `yaml:"policies" doc:"limits"`
	Backpressure    *Backpressure `yaml:"backpressure" doc:"queues, shedding, adaptive concurrency; left out: as many at once as connections.max says, queues by priority alone, nothing is shed"`
	Shaping         []Shaping     `yaml:"shaping" doc:"bandwidth per flow"`
	Cache           Cache         `yaml:"cache" doc:"memory for answers, of all routes that say cache: {enabled: true}"`
	Compress        Compress      `yaml:"compress" doc:"memory of all routes that say compress: {enabled: true}"`
	Cluster         Cluster       `yaml:"cluster" doc:"one limit for several gateways"`
	Redis           Redis         `yaml:"redis" doc:"store of policies of scope: strict"`
	Telemetry       Telemetry     `yaml:"telemetry" doc:"logs and traces"`
	Headers         Headers       `yaml:"headers" doc:"what clients are told about limits"`
	ShutdownTimeout Duration      `yaml:"shutdown_timeout" default:"30s" doc:"how long SIGTERM waits for requests in flight"`

	source *source // for Pos
	known  *known  // for With
}

// Node names this gateway.
type Node struct {
	Name    string `yaml:"name" doc:"default: the host name"`
	Zone    string `yaml:"zone" doc:"endpoints in the same zone are preferred"`
	DataDir string `yaml:"data_dir" default:"./data" doc:"what must outlive a restart (ACME certificates, quotas); \"\" keeps nothing on disk"`

	LimiterMemory Size `yaml:"limiter_memory" default:"256MiB" min:"1MiB" doc:"buckets of all policies together, of which one policy, and each of its overrides, takes a quarter at most; when it is full, newcomers share buckets and nobody who is limited is forgotten: more keeps more callers apart"`
}

// Admin is the operator's listener.
type Admin struct {
	Address  string  `yaml:"address" default:"127.0.0.1:8080" doc:"API, /metrics, /livez, /readyz. Off loopback: tokens are required, and cert and key, or insecure"`
	Tokens   []Token `yaml:"tokens" doc:"bearer tokens; none needed on loopback"`
	Cert     string  `yaml:"cert" doc:"PEM file; with key: the admin address speaks TLS"`
	Key      string  `yaml:"key" doc:"PEM file"`
	Insecure bool    `yaml:"insecure" doc:"true allows tokens in clear text off loopback"`
}

// Token lets its bearer use the admin API.
type Token struct {
	Name  string `yaml:"name" required:"true" doc:"unique: who, for the audit log"`
	Token Secret `yaml:"token" required:"true" doc:"at least 16 characters: ${VAR} or file:/path"`
	Role  string `yaml:"role" default:"viewer" enum:"admin,checker,viewer" doc:"viewer may only read; checker may spend by POST /api/v1/check too; admin may change things"`
}

// Listener is an address that takes requests.
type Listener struct {
	Name          string         `yaml:"name" required:"true" doc:"unique; letters, digits, _ . -"`
	Address       string         `yaml:"address" required:"true" doc:"host:port, [::1]:port or :port"`
	TLS           bool           `yaml:"tls" doc:"true: certificates from tls: by SNI"`
	HTTP2         bool           `yaml:"http2" default:"true" doc:"HTTP/2 by ALPN, and in clear text by prior knowledge, beside HTTP/1"`
	HTTP3         bool           `yaml:"http3" later:"HTTP/3 is not available in this version: write http3: false" doc:"HTTP/3"`
	ProxyProtocol bool           `yaml:"proxy_protocol" doc:"PROXY protocol v1 and v2, required from trusted_proxies and refused from others"`
	RedirectHTTPS bool           `yaml:"redirect_https" doc:"answer every request 308 to https:// (ACME challenges are still answered)"`
	Limits        ListenerLimits `yaml:"limits" doc:"what one client may take"`
}

// ListenerLimits bounds what connections of a listener may take.
type ListenerLimits struct {
	Connections      int      `yaml:"connections" default:"50000" min:"1" max:"10000000" doc:"open at once; more are closed at accept"`
	ConnectionsPerIP int      `yaml:"connections_per_ip" default:"1024" min:"1" max:"10000000" doc:"open at once per address (IPv6: per prefix)"`
	IPv6Prefix       int      `yaml:"ipv6_prefix" default:"64" min:"1" max:"128" doc:"bits of an IPv6 address that count as one client"`
	HeaderBytes      Size     `yaml:"header_bytes" default:"16KiB" min:"1KiB" max:"1MiB" doc:"request line and header fields; more is 431"`
	Headers          int      `yaml:"headers" default:"100" min:"1" max:"10000" doc:"header fields; more is 431"`
	HeaderTimeout    Duration `yaml:"header_timeout" default:"5s" min:"10ms" max:"1h" doc:"from the first byte of a request (or of a handshake) to the end of its header"`
	IdleTimeout      Duration `yaml:"idle_timeout" default:"60s" min:"10ms" max:"24h" doc:"between requests"`
	Body             Size     `yaml:"body" default:"10MiB" doc:"request body; more is 413; 0 is unlimited"`
	BodyMinRate      Size     `yaml:"body_min_rate" default:"1KiB" doc:"bytes per second, either way, below which a connection is closed after 5 s of grace; 0 is no minimum"`
	Streams          int      `yaml:"streams" default:"100" min:"1" max:"10000" doc:"HTTP/2 requests in progress at once per connection; further ones are refused, to be sent again"`
	Resets           int      `yaml:"resets" default:"500" min:"10" max:"10000000" doc:"HTTP/2 requests that a connection may give up at once before they are answered; a tenth comes back each second, and one with each request that is answered. More end it"`
	ControlFrames    int      `yaml:"control_frames" default:"2000" min:"100" max:"10000000" doc:"HTTP/2 frames that ask for nothing (pings, settings, resets and the like) on a connection at once; half comes back each second. More end it"`
}

// TLS is what listeners with tls: true present.
type TLS struct {
	MinVersion   string        `yaml:"min_version" default:"1.2" enum:"1.2,1.3" doc:"lowest TLS version"`
	Certificates []Certificate `yaml:"certificates" doc:"names come from the certificate; changed files are picked up"`
	ACME         ACME          `yaml:"acme" doc:"certificates from an ACME authority, HTTP-01 and TLS-ALPN-01"`
	ClientAuth   ClientAuth    `yaml:"client_auth" doc:"certificates of clients"`
}

// Certificate is a pair of PEM files.
type Certificate struct {
	Cert string `yaml:"cert" required:"true" doc:"PEM file: certificate and chain"`
	Key  string `yaml:"key" required:"true" doc:"PEM file: private key"`
}

// ACME obtains certificates for Domains.
type ACME struct {
	Enabled   bool     `yaml:"enabled" doc:"true: obtain them; it accepts the authority's terms of service"`
	Email     string   `yaml:"email" doc:"contact at the authority"`
	Domains   []string `yaml:"domains" doc:"exact host names"`
	Directory string   `yaml:"directory" doc:"directory URL; default Let's Encrypt"`
	CAFile    string   `yaml:"ca_file" doc:"PEM file of roots trusted for the directory; default the system's"`
	Storage   string   `yaml:"storage" default:"dir" enum:"dir,redis" later:"storage in redis is not available in this version: write storage: dir" doc:"dir: node.data_dir/acme; redis: shared by several gateways"`
}

// ClientAuth is how clients prove themselves.
type ClientAuth struct {
	Mode string `yaml:"mode" default:"none" enum:"none,request,require" doc:"request: verified if given; require: refused without"`
	CA   string `yaml:"ca" doc:"PEM file of roots that sign client certificates"`
}

// Dimension is a named property of a request.
type Dimension struct {
	Name    string `yaml:"name" required:"true" doc:"unique; small letters, digits, _"`
	From    string `yaml:"from" required:"true" doc:"client_ip | client_ip:V4,V6 (prefix lengths) | header:N | cookie:N | query:N | jwt:CLAIM | cert:cn | host | path | method | route | expr: CEL"`
	Default string `yaml:"default" doc:"value when the request has none; without it the dimension is absent"`
	Secret  bool   `yaml:"secret" doc:"never logged in clear"`
}

// JWT is where tokens come from and what signs them. Keys may come from several places at once.
type JWT struct {
	Header   string   `yaml:"header" default:"authorization" doc:"header field that carries the token, with or without Bearer before it"`
	JWKSFile string   `yaml:"jwks_file" doc:"file of public keys, a JSON Web Key Set"`
	JWKSURL  string   `yaml:"jwks_url" doc:"URL of public keys: https, or http on loopback"`
	Refresh  Duration `yaml:"refresh" default:"5m" min:"10s" max:"24h" doc:"how often keys are read again: shorter trusts a withdrawn key for less long, longer asks less"`
	Secret   Secret   `yaml:"secret" doc:"shared key of HS256 tokens, at least 32 characters: ${VAR} or file:/path"`
	Issuer   string   `yaml:"issuer" doc:"iss that a token must have; empty: any"`
	Audience string   `yaml:"audience" doc:"aud that a token must have; empty: any"`
}

// Headers is what clients are told about limits.
type Headers struct {
	RateLimit string `yaml:"ratelimit" default:"draft10" enum:"draft10,off" doc:"RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-10"`
	Legacy    bool   `yaml:"legacy" doc:"X-RateLimit-Limit, -Remaining and -Reset as well"`
	Reason    bool   `yaml:"reason" default:"true" doc:"Weir-Reason on refusals"`
}

// Telemetry is where a gateway tells what it does.
type Telemetry struct {
	AccessLog AccessLog `yaml:"access_log" doc:"a line per request"`
	Log       Log       `yaml:"log" doc:"the gateway's own log, on stderr"`
	Tracing   Tracing   `yaml:"tracing" doc:"export of spans (trace context is passed on in any case)" later:"span export is not available in this version, traceparent is passed on and logged: leave tracing out"`
}

// AccessLog is the log of requests.
type AccessLog struct {
	Output string  `yaml:"output" default:"stdout" doc:"stdout | stderr | off | a file's path"`
	Format string  `yaml:"format" default:"json" enum:"json" doc:"one JSON object a line"`
	Sample Percent `yaml:"sample" default:"100%" doc:"share of requests written; refusals and 5xx are always written"`
}

// Log is the log of the gateway itself.
type Log struct {
	Level  string `yaml:"level" default:"info" enum:"debug,info,warn,error" doc:"least severity written"`
	Format string `yaml:"format" default:"text" enum:"text,json" doc:"text for people, json for machines"`
}

// Tracing exports spans.
type Tracing struct {
	OTLP   string  `yaml:"otlp" doc:"URL of an OTLP collector"`
	Sample Percent `yaml:"sample" default:"1%" doc:"share of requests traced"`
}
