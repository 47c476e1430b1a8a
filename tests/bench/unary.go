package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// runUnary is a gRPC server in clear on address: it answers every call with one message of messageLen bytes and status 0. It knows no
// more of HTTP/2 than that takes, so that it keeps up with any gateway on the core that it shares with the load.
func runUnary(ctx context.Context, address string) error {
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = ln.Close() })() // it is over
	for {
		c, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		go func() {
			defer c.Close()    //nolint:errcheck // it is over
			_ = answerUnary(c) // the gateway sees that its connection ends
		}()
	}
}

// messageLen is the length of a call's message, both ways.
const messageLen = 110

// message is a gRPC message with its prefix.
func message() []byte {
	return append([]byte{0, 0, 0, 0, messageLen}, bytes.Repeat([]byte{'m'}, messageLen)...)
}

// answerUnary answers the calls of one connection.
func answerUnary(c net.Conn) error {
	rd, wr := bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 64<<10)
	preface := make([]byte, len(http2.ClientPreface))
	if _, err := io.ReadFull(rd, preface); err != nil {
		return err
	}
	f := http2.NewFramer(wr, rd)
	f.SetReuseFrames()
	// No dynamic table: then the heads are the same for every call.
	head, trailers := heads()
	body := message()
	if err := f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20}, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 1000}); err != nil {
		return err
	}
	window := 0 // bytes of bodies that were read and not yet given back
	for {
		if rd.Buffered() == 0 {
			if err := wr.Flush(); err != nil {
				return err
			}
		}
		fr, err := f.ReadFrame()
		if err != nil {
			return err
		}
		ended := false
		switch fr := fr.(type) {
		case *http2.SettingsFrame:
			if !fr.IsAck() {
				err = f.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !fr.IsAck() {
				err = f.WritePing(true, fr.Data)
			}
		case *http2.HeadersFrame:
			ended = fr.StreamEnded()
		case *http2.DataFrame:
			ended = fr.StreamEnded()
			if window += int(fr.Length); window > 16<<10 {
				err = f.WriteWindowUpdate(0, uint32(window))
				window = 0
			}
		}
		if ended {
			id := fr.Header().StreamID
			err = errors.Join(err, f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head, EndHeaders: true}),
				f.WriteData(id, false, body), f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: trailers, EndHeaders: true, EndStream: true}))
		}
		if err != nil {
			return err
		}
	}
}

func heads() (head, trailers []byte) {
	var b bytes.Buffer
	enc := hpack.NewEncoder(&b)
	enc.SetMaxDynamicTableSizeLimit(0)
	write := func(fields ...string) []byte {
		b.Reset()
		for i := 0; i < len(fields); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1], Sensitive: true}) // a buffer takes everything
		}
		return bytes.Clone(b.Bytes())
	}
	return write(":status", "200", "content-type", "application/grpc"), write("grpc-status", "0")
}
