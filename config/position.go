package config

import (
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxMerge bounds how deep merge keys and aliases may refer to one another.
const maxMerge = 32

// follow returns the node that n stands for, or nil if aliases lead nowhere.
func follow(n *yaml.Node) *yaml.Node {
	for range maxMerge {
		if n == nil || n.Kind != yaml.AliasNode {
			return n
		}
		n = n.Alias
	}
	return nil
}

// isMerge says whether a key is << in the sense of a merge.
func isMerge(key *yaml.Node) bool {
	return key.Kind == yaml.ScalarNode && key.Value == "<<" && (key.Tag == "!!merge" || key.Tag == "")
}

// lookup returns the value of key in a mapping, its own before merged ones, or nil.
func lookup(m *yaml.Node, key string, depth int) *yaml.Node {
	if m = follow(m); m == nil || m.Kind != yaml.MappingNode || depth > maxMerge {
		return nil
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if k := follow(m.Content[i]); k != nil && k.Value == key && !isMerge(k) {
			return m.Content[i+1]
		}
	}
	for i := 0; i+1 < len(m.Content); i += 2 {
		if k := follow(m.Content[i]); k == nil || !isMerge(k) {
			continue
		}
		for _, from := range mergeSources(m.Content[i+1]) {
			if v := lookup(from, key, depth+1); v != nil {
				return v
			}
		}
	}
	return nil
}

// mergeSources returns the mappings that the value of a << names.
func mergeSources(n *yaml.Node) []*yaml.Node {
	n = follow(n)
	if n != nil && n.Kind == yaml.SequenceNode {
		return n.Content
	}
	return []*yaml.Node{n}
}

// locate returns the node at path, or its nearest ancestor that the file has. given says which of the two it is.
func locate(root *yaml.Node, path string) (n *yaml.Node, given bool) {
	n = follow(root)
	for _, step := range steps(path) {
		var next *yaml.Node
		if i, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(step, "["), "]")); err == nil && step[0] == '[' {
			if n.Kind == yaml.SequenceNode && i < len(n.Content) {
				next = n.Content[i]
			}
		} else {
			next = lookup(n, step, 0)
		}
		if next = follow(next); next == nil {
			return n, false
		}
		n = next
	}
	return n, !isNull(n)
}

// steps splits routes[2].match.path into routes, [2], match, path.
func steps(path string) []string {
	if path == "" {
		return nil
	}
	return strings.Split(strings.ReplaceAll(path, "[", ".["), ".")
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// Pos returns where the value at a path like routes[2].match.path stands in the file, or where its nearest ancestor does if
// the file leaves it out. Lines and columns count from 1. The first call reads the text again: this is for messages.
// Safe for concurrent use.
func (c *Config) Pos(path string) (line, col int) {
	c.source.once.Do(func() {
		c.source.root = readTree(c.source.text, &faultList{})
	})
	if c.source.root == nil {
		return 1, 1
	}
	n, _ := locate(c.source.root, path)
	p := placeOf(n)
	return p.line, p.col
}
