package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestUnary: a client gets whole answers, one after another and beside each other.
func TestUnary(t *testing.T) {
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- runUnary(ctx, local(port)) }()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: 10 * time.Second}
	for range 100 { // until it listens
		if c, err := net.Dial("tcp", local(port)); err == nil {
			c.Close() //nolint:errcheck // it was only to see
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for range 300 { // more than a window of bodies
		req, err := http.NewRequest(http.MethodPost, "http://"+local(port)+"/a.B/C", strings.NewReader(strings.Repeat("x", 300)))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || string(got) != string(message()) || res.Trailer.Get("Grpc-Status") != "0" || res.StatusCode != 200 {
			t.Fatalf("%d, %q, %v, %v", res.StatusCode, got, res.Trailer, err)
		}
		res.Body.Close() //nolint:errcheck // read to its end
	}
	client.CloseIdleConnections()
	stop()
	if err := <-over; err != nil {
		t.Error(err)
	}
}
