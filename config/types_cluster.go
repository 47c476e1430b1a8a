package config

// Cluster is the fleet that this gateway belongs to.
type Cluster struct {
	Enabled   bool     `yaml:"enabled" doc:"true: policies of scope: cluster are one limit for all gateways of the cluster"`
	Name      string   `yaml:"name" default:"weir" doc:"the same on all gateways; those of another cluster are refused. Needs a restart"`
	Bind      string   `yaml:"bind" default:"127.0.0.1:7946" doc:"IP:port for the other gateways, TCP and UDP. Off loopback a key is required. Needs a restart"`
	Advertise string   `yaml:"advertise" doc:"IP:port that the others reach this one at; default: bind, or a private address of the machine. Needs a restart"`
	Join      []string `yaml:"join" doc:"host:port of some gateways; names are resolved again and again; none: this one waits to be joined"`
	Key       Secret   `yaml:"key" doc:"32 bytes in base64, from weir keygen: encrypts what gateways tell each other"`
	Keys      []Secret `yaml:"keys" doc:"instead of key, to change it: the first encrypts, all are understood. Reload [old, new] everywhere, then [new, old], then [new]"`
	Interval  Duration `yaml:"interval" default:"100ms" min:"20ms" max:"5s" doc:"how often spending is told when nothing is urgent: shorter sends more, longer shares a little less well"`
}

// Redis is the store of strict policies.
type Redis struct {
	Addresses []string `yaml:"addresses" doc:"host:port; several: a Redis Cluster, or sentinels if master is given"`
	Master    string   `yaml:"master" doc:"name of the master that sentinels watch"`
	Username  string   `yaml:"username" doc:"default: none"`
	Password  Secret   `yaml:"password" doc:"${VAR} or file:/path"`
	TLS       bool     `yaml:"tls" doc:"true: TLS 1.2 or later, certificates are verified"`
	CA        string   `yaml:"ca" doc:"PEM file to verify certificates with; default: those of the system"`
	Timeout   Duration `yaml:"timeout" default:"50ms" min:"1ms" max:"5s" doc:"for one answer: then on_outage says what happens. Longer waits for a slow store, shorter adds less to requests when it is away"`
	Prefix    string   `yaml:"prefix" default:"weir" doc:"of all keys"`
}
