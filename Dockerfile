# docker build -t weir .
# docker run -p 8000:8000 -v ./config.yaml:/etc/weir/config.yaml:ro weir
FROM golang:1.26-bookworm AS build
ARG VERSION=devel
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=${VERSION}" -o /out/weir . \
 && mkdir -p /out/var/lib/weir /out/etc/weir \
 && cp config.example.yaml /out/etc/weir/config.yaml \
 && chown -R 65532:65532 /out/var/lib/weir

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/ /
USER 65532:65532
# node.data_dir (./data) lies here: ACME certificates outlive the container in a volume.
WORKDIR /var/lib/weir
VOLUME /var/lib/weir
# The listener of the example configuration. The admin address stays on the container's loopback.
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["/weir", "status", "--admin", "http://127.0.0.1:8080"]
ENTRYPOINT ["/weir"]
CMD ["run", "-c", "/etc/weir/config.yaml"]
