package config

import (
	"os"
	"reflect"
	"sync"

	"go.yaml.in/yaml/v3"
)

// source is the text a Config came from.
type source struct {
	name string
	text []byte
	once sync.Once // fills root, for Pos
	root *yaml.Node

	expanded map[string]string // text of the file by what variables made of it
}

// Load reads the file at path. env looks up environment variables (os.LookupEnv); secrets and files that the file names are
// read too, relative to the working directory. The error is [Faults]: everything wrong with the file at once.
func Load(path string, env func(string) (string, bool)) (*Config, error) {
	data, problem := readBounded(path, maxFile)
	if problem != "" {
		return nil, Faults{{File: path, Line: 1, Col: 1, Message: problem}}
	}
	return Parse(path, data, env)
}

// Parse is Load for bytes that are already there; name stands for the file in messages. data must not change afterwards.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, error) {
	faults := &faultList{file: name}
	root := readTree(data, faults)
	if root != nil && root.Kind != yaml.MappingNode {
		faults.add(placeOf(root), "", "%s where keys are wanted: write listeners: …", describe(root))
	}
	if len(faults.list) > 0 {
		return nil, faults.err()
	}
	c := &Config{source: &source{name: name, text: data}}
	v := reflect.ValueOf(c).Elem()
	keep := c.source
	v.Set(layoutOf(v.Type()).defaults)
	c.source = keep
	d := &decoder{env: env, faults: faults, expanded: map[string]string{}}
	d.value(root, v, nil)
	c.source.expanded = d.expanded
	if c.Node.Name == "" {
		c.Node.Name, _ = os.Hostname()
	}
	check(c, root, faults)
	if err := faults.err(); err != nil {
		return nil, err
	}
	return c, nil
}
