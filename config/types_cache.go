package config

// Cache is the memory for answers of all routes.
type Cache struct {
	Enabled bool `yaml:"enabled" default:"true" doc:"false: no route keeps answers, whatever it says; what was kept is forgotten"`
	MaxSize Size `yaml:"max_size" default:"256MiB" min:"1MiB" doc:"of all that is kept or on its way, with heads and keys; what is asked for least makes room"`
}

// RouteCache is how a route's answers are kept.
type RouteCache struct {
	Enabled              bool     `yaml:"enabled" doc:"true: keep what answers to GET allow, and answer GET and HEAD from that"`
	MaxObject            Size     `yaml:"max_object" default:"8MiB" doc:"longest body that is kept; 0: as long as there is room for"`
	TTL                  Duration `yaml:"ttl" default:"0s" max:"8760h" doc:"how long an answer is fresh that does not say so itself; 0s: such answers are not kept"`
	StaleWhileRevalidate Duration `yaml:"stale_while_revalidate" default:"0s" max:"8760h" doc:"for how long past its time an answer is given while it is fetched anew behind it; an answer may say so itself, or forbid it"`
	StaleIfError         Duration `yaml:"stale_if_error" default:"0s" max:"8760h" doc:"for how long past its time an answer is given when the upstream fails or has no room; an answer may say so itself, or forbid it"`
	StaleUnderLoad       Duration `yaml:"stale_under_load" default:"1m" max:"8760h" doc:"for how long past its time an answer is given, and nobody asked, while a level of backpressure.degrade with serve_stale is in force; or for its stale-if-error if that is longer; an answer may forbid it"`
	Heuristic            Percent  `yaml:"heuristic" default:"0%" doc:"without ttl, how long an answer is fresh that does not say so itself, as a share of its time since Last-Modified, at most a day; 0%: such answers are not kept"`
	Key                  []string `yaml:"key" doc:"dimensions that tell callers apart beside the URL and Vary: answers are not shared between their values"`
	Tags                 string   `yaml:"tags" default:"header:surrogate-key" doc:"response field with tags to purge by, between spaces or commas; empty: none"`
	IgnoreClient         bool     `yaml:"ignore_client" default:"true" doc:"clients have no say in whether they get what is kept: of their Cache-Control only no-store (of what it brings nothing is kept) and only-if-cached count. false: no-cache, max-age and others count too (RFC 9111), and any client can have all its requests sent on"`
	IgnoreCookies        bool     `yaml:"ignore_cookies" doc:"true: answers with Set-Cookie are kept, and those that do not say how long they are fresh also of requests with Cookie: only where cookies change nothing"`
	Coalesce             bool     `yaml:"coalesce" default:"true" doc:"of requests at once for the same, one is sent and the others wait for its answer"`
}
