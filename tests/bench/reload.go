package main

import "context"

func runReload(ctx context.Context, opt *options) error { return nil }
