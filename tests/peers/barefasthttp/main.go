// Command barefasthttp is a reverse proxy of fasthttp.Server and fasthttp.HostClient with no feature at all: what a
// request costs in that library before a gateway does anything. It is a peer of the benchmarks, not a gateway.
package main

import (
	"flag"
	"log"

	"github.com/valyala/fasthttp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:8000", "address that takes requests")
	upstream := flag.String("upstream", "127.0.0.1:9001", "address that answers them")
	flag.Parse()

	client := &fasthttp.HostClient{
		Addr:                      *upstream,
		MaxConns:                  1024,
		MaxIdemponentCallAttempts: 1,
		NoDefaultUserAgentHeader:  true,
		DisablePathNormalizing:    true,
	}
	server := &fasthttp.Server{
		NoDefaultServerHeader: true,
		NoDefaultDate:         true,
		Handler: func(ctx *fasthttp.RequestCtx) {
			ctx.Request.Header.Del("Connection")
			if err := client.Do(&ctx.Request, &ctx.Response); err != nil {
				ctx.Error("upstream failed", fasthttp.StatusBadGateway)
				return
			}
			ctx.Response.Header.Del("Connection")
		},
	}
	log.Fatal(server.ListenAndServe(*listen))
}
