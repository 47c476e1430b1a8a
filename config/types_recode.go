package config

// QueryRewrite changes the query that the upstream sees: remove, then set, then add.
type QueryRewrite struct {
	Set    []QueryValue `yaml:"set" doc:"replace or create; ${dimension} in values"`
	Add    []QueryValue `yaml:"add" doc:"append another parameter"`
	Remove []string     `yaml:"remove" doc:"names, and what servers take for them: name[], nam%65"`
}

// QueryValue is a query parameter.
type QueryValue struct {
	Name  string `yaml:"name" required:"true" doc:"name of the parameter, as it is meant: without escapes"`
	Value string `yaml:"value" template:"dimensions" doc:"its value, as it is meant; ${dimension}, ${uri} and ${query}"`
}

// JSONTransform changes JSON bodies: remove, then rename, then set.
type JSONTransform struct {
	Set    []JSONValue  `yaml:"set" doc:"replace or create members, with the objects on the way"`
	Rename []JSONRename `yaml:"rename" doc:"members, in their place; others of the new name go"`
	Remove []string     `yaml:"remove" doc:"paths: user.password, items[0], items[].price, [].id, user[\"first.name\"]"`
	Max    Size         `yaml:"max" default:"1MiB" min:"1KiB" max:"16MiB" doc:"longest body; more is 413 for a request, 502 for a response: nothing passes unchanged"`
}

// JSONValue is a value in a JSON document. One of Value and JSON is given.
type JSONValue struct {
	Path  string `yaml:"path" required:"true" doc:"where: user.tenant, items[].price, [].id, user[\"first.name\"]"`
	Value string `yaml:"value" template:"dimensions" doc:"text, which becomes a string; ${dimension}, ${uri} and ${query}; a single ${dimension} that the request has not is null"`
	JSON  string `yaml:"json" template:"text" doc:"instead of value: any JSON, as text: '1', 'true', '[\"a\"]', '\"\"'"`
}

// JSONRename gives a member of a JSON document another name.
type JSONRename struct {
	Path string `yaml:"path" required:"true" doc:"which: user.id, items[].price"`
	To   string `yaml:"to" required:"true" doc:"its new name, without the path"`
}

// Empty reports whether nothing is to be changed.
func (t *JSONTransform) Empty() bool { return len(t.Set)+len(t.Rename)+len(t.Remove) == 0 }

// Compress bounds the compression of all routes.
type Compress struct {
	MaxMemory Size `yaml:"max_memory" default:"128MiB" min:"8MiB" doc:"of all that compress at once, 0.8MiB to 5MiB each: when it is in use, responses go as they are"`
}

// RouteCompress is how a route's responses are compressed.
type RouteCompress struct {
	Enabled    bool     `yaml:"enabled" doc:"true: compress responses for clients that accept it, which the upstream did not"`
	Algorithms []string `yaml:"algorithms" default:"zstd,br,gzip" doc:"zstd | br | gzip: of those that a client likes as much, the first"`
	Types      []string `yaml:"types" default:"text/html,text/css,text/plain,text/javascript,text/xml,text/csv,text/markdown,application/json,application/*+json,application/x-ndjson,application/javascript,application/xml,application/*+xml,application/wasm,application/yaml,image/svg+xml" doc:"media types: text/html, text/*, application/*+json"`
	MinSize    Size     `yaml:"min_size" default:"1KiB" doc:"shorter bodies stay as they are, where their length is known"`
	Level      string   `yaml:"level" default:"fast" enum:"fast,small" doc:"fast, or small: some 10% shorter, and two to three times the CPU"`
}
