// Package config turns a file and the environment into one validated, defaulted [Config], and reports every fault of a
// file at once, each with its place and what to do.
package config
