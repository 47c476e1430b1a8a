package config

// Pool is a set of endpoints that answer the same requests.
type Pool struct {
	Name        string      `yaml:"name" required:"true" doc:"unique; letters, digits, _ . -"`
	Demo        *Respond    `yaml:"demo" doc:"an upstream inside this process that echoes requests as JSON, for trying things out; instead of endpoints"`
	Balance     string      `yaml:"balance" default:"p2c" enum:"round_robin,weighted,least_requests,p2c,random,ring_hash,maglev" doc:"how an endpoint is picked"`
	HashOn      string      `yaml:"hash_on" doc:"a dimension, for ring_hash and maglev"`
	Protocol    string      `yaml:"protocol" default:"http1" enum:"http1,h2,h2c,auto" doc:"what the endpoints speak: HTTP/1, HTTP/2 over TLS, HTTP/2 in clear text, or what they choose over TLS (in clear text HTTP/1)"`
	TLS         PoolTLS     `yaml:"tls" doc:"TLS towards the endpoints"`
	Endpoints   []Endpoint  `yaml:"endpoints" doc:"who answers"`
	SlowStart   Duration    `yaml:"slow_start" default:"0s" max:"1h" doc:"how long a new or returning endpoint takes to reach its full weight"`
	Health      Health      `yaml:"health" doc:"who is well"`
	Breaker     Breaker     `yaml:"breaker" doc:"per endpoint: stops asking one that fails; what is not given here is as in backpressure.circuit_breaker"`
	Retry       Retry       `yaml:"retry" doc:"second chances"`
	Connections Connections `yaml:"connections" doc:"connections to each endpoint"`
	Timeout     PoolTimeout `yaml:"timeout" doc:"how long an answer may take"`

	own uint64 // bits of the fields of Breaker that the file gives
}

// Endpoint is one server of a pool.
type Endpoint struct {
	Address string `yaml:"address" required:"true" doc:"host:port; a host name is re-resolved"`
	Weight  int    `yaml:"weight" default:"1" min:"1" max:"1000" doc:"share of requests"`
	Zone    string `yaml:"zone" doc:"preferred by gateways of the same node.zone"`
}

// PoolTLS is TLS towards endpoints.
type PoolTLS struct {
	Enabled            bool   `yaml:"enabled" doc:"speak TLS"`
	CA                 string `yaml:"ca" doc:"PEM file of roots; default the system's"`
	ServerName         string `yaml:"server_name" doc:"name sent and verified; default the endpoint's host"`
	InsecureSkipVerify bool   `yaml:"insecure_skip_verify" doc:"true believes any certificate"`
	Cert               string `yaml:"cert" doc:"PEM file: certificate shown to the endpoint"`
	Key                string `yaml:"key" doc:"PEM file: its key"`
}

// Health says which endpoints are well.
type Health struct {
	Active  ActiveHealth  `yaml:"active" doc:"probes; none without path or grpc"`
	Passive PassiveHealth `yaml:"passive" doc:"ejects endpoints by what requests met"`
	Panic   Percent       `yaml:"panic" default:"30%" doc:"some healthy, but fewer than this: use all, and say so; 0% never"`
}

// ActiveHealth probes endpoints.
type ActiveHealth struct {
	Path     string      `yaml:"path" doc:"GET this"`
	GRPC     *GRPCHealth `yaml:"grpc" doc:"instead of path: call grpc.health.v1.Health/Check; SERVING is good. Needs protocol h2 or h2c"`
	Interval Duration    `yaml:"interval" default:"2s" min:"10ms" max:"1h" doc:"between probes of an endpoint, jittered"`
	Timeout  Duration    `yaml:"timeout" default:"500ms" min:"1ms" max:"10m" doc:"a probe without an answer by then failed"`
	Rise     int         `yaml:"rise" default:"2" min:"1" max:"1000" doc:"good probes in a row that make it healthy"`
	Fall     int         `yaml:"fall" default:"3" min:"1" max:"1000" doc:"bad probes in a row that make it unhealthy"`
	Expect   string      `yaml:"expect" default:"200-399" doc:"good status codes: 200 or 200-399 or 200,204"`
}

// GRPCHealth is what gRPC's own health service is asked.
type GRPCHealth struct {
	Service string `yaml:"service" doc:"whose health; empty: the server's as a whole"`
}

// PassiveHealth ejects endpoints that fail requests.
type PassiveHealth struct {
	ConsecutiveFailures int      `yaml:"consecutive_failures" default:"5" min:"0" max:"1000000" doc:"connection errors, time-outs, 502-504 and gRPC's unavailable and deadline exceeded in a row; 0 is off"`
	ErrorRate           Percent  `yaml:"error_rate" default:"50%" doc:"of the requests of the last 10 s; 0% is off"`
	MinRequests         int      `yaml:"min_requests" default:"20" min:"1" max:"1000000" doc:"fewer say nothing about a rate"`
	Eject               Duration `yaml:"eject" default:"5s" min:"1ms" max:"24h" doc:"how long; doubles with each ejection in a row, to 10 times"`
	MaxEject            Percent  `yaml:"max_eject" default:"50%" doc:"never more of the pool than this, but always at least one"`
}

// Breaker stops asking an endpoint that fails, for a while. A pool's has the values in force.
type Breaker struct {
	FailureThreshold  int      `yaml:"failure_threshold" default:"10" min:"0" max:"1000000" doc:"failures in a row that open it; 0 is off"`
	RecoveryThreshold int      `yaml:"recovery_threshold" default:"5" min:"1" max:"1000000" doc:"successes in a row, half open, that close it"`
	Timeout           Duration `yaml:"timeout" default:"30s" min:"1ms" max:"24h" doc:"open this long before it half opens; doubles each time it opens again"`
	MaxTimeout        Duration `yaml:"max_timeout" default:"5m" min:"1ms" max:"24h" doc:"the doubling ends here"`
	HalfOpen          int      `yaml:"half_open" default:"3" min:"1" max:"1000000" doc:"requests at once while half open"`
}

// Retry is when a failed attempt is tried again on another endpoint.
type Retry struct {
	Attempts int      `yaml:"attempts" default:"2" min:"1" max:"5" doc:"attempts in all; 1 is no retry"`
	On       []string `yaml:"on" default:"connect,reset,503" doc:"connect | reset | timeout | a status code | grpc-cancelled | grpc-deadline-exceeded | grpc-internal | grpc-resource-exhausted | grpc-unavailable. Only connect and gRPC's statuses repeat a request that is not idempotent"`
	Budget   Percent  `yaml:"budget" default:"20%" doc:"retries per request over the last 10 s, and up to 3 a second for the whole fleet where there is little traffic"`
	Backoff  Duration `yaml:"backoff" default:"25ms" max:"1m" doc:"before the second retry, doubling, with full jitter; the first, to another endpoint, is at once"`
}

// Connections bounds the connections to each endpoint.
type Connections struct {
	Max          int       `yaml:"max" default:"1024" min:"1" max:"1000000" doc:"open at once, and requests in progress; more wait in the queue"`
	Queue        *int      `yaml:"queue" min:"0" max:"1000000" doc:"requests that may wait for the pool, instead of backpressure.queue.max_length (without backpressure: 1024); 0: none, refused at once"`
	QueueTimeout *Duration `yaml:"queue_timeout" max:"10m" doc:"how long one of them waits, instead of backpressure.queue.max_wait (without backpressure: 500ms)"`
	Idle         int       `yaml:"idle" default:"512" min:"0" max:"1000000" doc:"kept open when not in use"`
	IdleTimeout  Duration  `yaml:"idle_timeout" default:"30s" min:"10ms" max:"24h" doc:"closed after this long without use"`
	DialTimeout  Duration  `yaml:"dial_timeout" default:"1s" min:"1ms" max:"10m" doc:"TCP and TLS handshake"`
}

// PoolTimeout bounds what an endpoint may take.
type PoolTimeout struct {
	ResponseHeader Duration `yaml:"response_header" default:"30s" doc:"from the end of the request to the response's header; 0s is unlimited"`
	Idle           Duration `yaml:"idle" default:"60s" doc:"between two pieces of a response body; 0s is unlimited"`
	Total          Duration `yaml:"total" default:"0s" doc:"one attempt with its body; 0s is unlimited"`
}

// Route says where a request goes.
type Route struct {
	Name     string     `yaml:"name" required:"true" doc:"unique; letters, digits, _ . -"`
	Match    Match      `yaml:"match" doc:"all that is given must hold; nothing given matches everything"`
	Pool     string     `yaml:"pool" doc:"where to; or split, respond, redirect"`
	Split    []Split    `yaml:"split" doc:"several pools by weight"`
	Respond  *Respond   `yaml:"respond" doc:"a fixed answer"`
	Redirect *Redirect  `yaml:"redirect" doc:"an answer that sends the client elsewhere"`
	Priority Priority   `yaml:"priority" doc:"how much its requests matter when not all can be served; or from what a request says"`
	Timeout  Duration   `yaml:"timeout" default:"30s" doc:"from the end of the request to the response's header, all attempts; 0s is unlimited"`
	Rewrite  Rewrite    `yaml:"rewrite" doc:"the path and host the upstream sees"`
	Request  Transform  `yaml:"request" doc:"header fields towards the upstream"`
	Response Transform  `yaml:"response" doc:"header fields towards the client"`
	Cache    RouteCache `yaml:"cache" doc:"answers kept in memory (RFC 9111); a hit counts at the limits, and takes no seat"`
	Mirror   Mirror     `yaml:"mirror" doc:"copies of requests to another pool, answers dropped"`
	Fallback Fallback   `yaml:"fallback" doc:"what to answer when the pool can't"`
	Hold     string     `yaml:"hold" default:"body" enum:"body,headers" doc:"how long a request counts as in progress. body: until its answer is sent; headers: until its answer begins, for answers that go on for long, such as event streams"`
	Body     *Size      `yaml:"body" min:"0" doc:"request body limit, instead of the listener's; 0 is unlimited"`
}

// Match is what a request must be for its route. All that is given must hold.
type Match struct {
	Hosts   []string     `yaml:"hosts" doc:"api.example.com or *.example.org (any depth below, not itself)"`
	Path    string       `yaml:"path" template:"text" doc:"/exact, /prefix/*, /users/:id/orders, or ~^/regex"`
	Methods []string     `yaml:"methods" doc:"GET, POST…; GET takes HEAD too"`
	Headers []FieldMatch `yaml:"headers" doc:"header fields"`
	Query   []FieldMatch `yaml:"query" doc:"query parameters"`
	When    string       `yaml:"when" doc:"CEL giving a bool: request.{method,host,path,headers,query}, and dimensions by name"`
}

// FieldMatch is a header field or query parameter that must be there. At most one of Value and Regex is given.
type FieldMatch struct {
	Name  string `yaml:"name" required:"true" doc:"header names in any case; query names exactly"`
	Value string `yaml:"value" doc:"exactly this; without value and regex it only has to be there"`
	Regex string `yaml:"regex" template:"text" doc:"RE2, anywhere in the value"`
}

// Split is a pool's share of a route.
type Split struct {
	Pool   string `yaml:"pool" required:"true" doc:"a pool's name"`
	Weight int    `yaml:"weight" min:"0" max:"1000000" doc:"share of requests, in proportion to the others"`
}

// Respond is a fixed answer. As a pool's demo it is an answer of that upstream instead of its echo.
type Respond struct {
	Status  int           `yaml:"status" default:"200" min:"200" max:"599" doc:"status code"`
	Body    string        `yaml:"body" template:"text" doc:"text; or file"`
	File    string        `yaml:"file" doc:"path of the body, read at load, at most 1MiB"`
	Headers []HeaderValue `yaml:"headers" doc:"header fields of the answer"`
}

// Redirect sends the client elsewhere.
type Redirect struct {
	Status int    `yaml:"status" default:"302" enum:"301,302,303,307,308" doc:"status code"`
	To     string `yaml:"to" required:"true" template:"dimensions" doc:"URL or path; ${host}, ${path}, ${query}, ${uri} and dimensions"`
}

// Rewrite changes the path and host that the upstream sees. Prefixes come first, then the regex.
type Rewrite struct {
	StripPrefix string `yaml:"strip_prefix" doc:"taken off the front of the path"`
	Prefix      string `yaml:"prefix" doc:"put in front of it"`
	Regex       string `yaml:"regex" template:"text" doc:"RE2 on the path"`
	To          string `yaml:"to" template:"text" doc:"replacement, $1 or ${name} for groups"`
	Host        string `yaml:"host" doc:"Host sent to the upstream; empty keeps the client's"`
}

// Transform changes header fields: remove, then set, then add.
type Transform struct {
	Set    []HeaderValue `yaml:"set" doc:"replace or create; ${dimension} in values"`
	Add    []HeaderValue `yaml:"add" doc:"append another field"`
	Remove []string      `yaml:"remove" doc:"names"`
}

// HeaderValue is a header field.
type HeaderValue struct {
	Name  string `yaml:"name" required:"true" doc:"header name"`
	Value string `yaml:"value" template:"dimensions" doc:"its value; ${dimension}, ${uri} and ${query} in a route's request and response"`
}

// Mirror copies requests to another pool. Requests whose body is not in memory when an endpoint is asked (over
// 16 KiB, or chunked and still coming) are not copied.
type Mirror struct {
	Pool    string  `yaml:"pool" doc:"a pool's name"`
	Percent Percent `yaml:"percent" default:"0%" doc:"share of requests copied"`
}

// Fallback is what a client gets instead of a refusal for the reasons in On.
type Fallback struct {
	On      []string `yaml:"on" doc:"breaker_open | no_endpoint | timeout | upstream_error | limited | shed | queue_full | queue_timeout"`
	Respond *Respond `yaml:"respond" doc:"a fixed answer; or pool"`
	Pool    string   `yaml:"pool" doc:"another pool, tried once"`
}
