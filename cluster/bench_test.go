package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// deaf drops everything.
type deaf struct{}

func (deaf) Receive(Kind, []byte)         {}
func (deaf) State() []byte                { return nil }
func (deaf) Merge([]byte)                 {}
func (deaf) Members(alive, left []uint64) {}

// One frame to nine members with encryption, over loopback. What receiving costs is in it too, since they are in this process.
func BenchmarkBroadcast(b *testing.B) {
	var first *Cluster
	for i := range 10 {
		cfg := Config{Name: fmt.Sprint("n", i), Bind: "127.0.0.1:0", Keys: [][]byte{key(1)}}
		if first != nil {
			cfg.Join = []string{first.Address().String()}
		}
		c, err := Start(context.Background(), cfg, deaf{})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		if first == nil {
			first = c
		}
	}
	for len(*first.table.targets.Load()) < 9 {
		<-time.After(10 * time.Millisecond)
	}
	frame := make([]byte, 600)
	b.ReportAllocs()
	for b.Loop() {
		first.Broadcast(KindSpending, frame)
	}
}

// What is ours of receiving a frame.
func BenchmarkNotifyMsg(b *testing.B) {
	c := &Cluster{table: newTable(), queue: newQueue(queueFrames)}
	c.table.put(nodeNamed("b", 1), meta{instance: 7}, true, 0)
	frame := appendFrame(nil, KindSpending, 7, 1, make([]byte, 600))
	b.ReportAllocs()
	for b.Loop() {
		delegate{c}.NotifyMsg(frame)
	}
}
