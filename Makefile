# `make` lists the targets. Tests need what `make deps` installs.
GO          ?= go
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOTESTSUM   ?= gotest.tools/gotestsum@v1.13.0
GOLANGCI    ?= github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZTIME    ?= 30s
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
BENCHFLAGS  ?=
LOADFLAGS   ?= -duration 5s -rate 150

# All packages of the main module but the black-box tests, which run alone: they measure times. One that fails there is run again by
# itself, twice at most, and what it said is kept: only a test that fails each time has failed. Unit tests have no second chance.
UNIT  = $$($(GO) list ./... | grep -v '^weir/tests')
# Those that have something to say without the race detector too; the others are slow and full of waiting.
PLAIN = $$($(GO) list ./... | grep -vE '^weir/(tests|cluster|strict)')
BLACKBOX = $(GO) run $(GOTESTSUM) --format standard-quiet --rerun-fails=2 --rerun-fails-max-failures=6 --rerun-fails-run-root-test --packages ./tests/... -- -timeout 14m
BENCH = bin/bench

.DEFAULT_GOAL := help
.PHONY: help build run test unit race fuzz blackbox bench bench-protocols bench-reload bench-fleet bench-idle bench-limiter bench-overload pgo lint lint-full fmt deps start-rate-limiter stop-rate-limiter \
	deploy-policies load-test clean bench-tools

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | awk -F'\t' '{printf "  %-20s %s\n", $$1, $$2}'

build: ## static binary bin/weir, profile-guided if default.pgo is there
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/weir .

run: ## the gateway with the example configuration
	$(GO) run . run -c config.example.yaml

test: ## everything but fuzzing: black box, race, unit, the other modules' own tests (about 15 min on 2 cores)
	$(BLACKBOX)
	cd tests/bench && $(GO) vet ./... && $(GO) test ./...
	cd tests/bench/limiters && $(GO) vet ./... && $(GO) test ./...
	cd tests/h2spec && $(GO) test ./...
	cd tests/grpc && $(GO) test ./...
	$(GO) test -race -timeout 10m $(UNIT)
	$(GO) test -timeout 6m $(PLAIN)

unit: ## unit and property tests
	$(GO) test -timeout 6m $(UNIT)

race: ## unit and property tests under the race detector
	$(GO) test -race -timeout 10m $(UNIT)

fuzz: ## every fuzz target for FUZZTIME (30s) each
	./scripts/fuzz.sh $(FUZZTIME)

blackbox: ## the real binary against real peers
	$(BLACKBOX)

bench-tools: build
	cd tests/bench && $(GO) build -o ../../$(BENCH) .
	cd tests/peers && CGO_ENABLED=0 $(GO) build -trimpath -o ../../bin/barefasthttp ./barefasthttp

# Benchmarks are built for x86 servers from about 2015 on; the reports say so. `make build` is portable.
bench bench-protocols bench-reload bench-fleet bench-limiter: export GOAMD64 := $(or $(GOAMD64),v3)

bench: bench-tools ## CPU per request beside nginx, haproxy and bare fasthttp → docs/bench/h1.md (BENCHFLAGS="-rounds 3"); GOAMD64=v1 measures the portable build
	$(BENCH) h1 -out docs/bench/h1.md $(BENCHFLAGS)

bench-protocols: bench-tools ## HTTP/2, gRPC and cache hits beside nginx and haproxy → docs/bench/protocols.md (about 5 min)
	$(BENCH) protocols -legs weir,nginx,haproxy -scenarios h2c,h2,grpc,cache,large -rounds 7 -duration 2s -title "HTTP/2, gRPC and the cache: weir beside its peers" -out docs/bench/protocols.md $(BENCHFLAGS)

bench-reload: bench-tools ## 10,000 routes and 1,000 policies reloaded under load → docs/bench/reload.md
	$(BENCH) reload -rounds 4 -duration 4s -out docs/bench/reload.md $(BENCHFLAGS)

bench-fleet: bench-tools ## gateways that share limits: error, excess, failures, traffic, CPU per request → docs/bench/fleet.md (about 9 min)
	$(BENCH) fleet -rounds 9 -duration 2s -out docs/bench/fleet.md $(BENCHFLAGS)

bench-idle: bench-tools ## 10,000 idle WebSockets and event streams: memory of each → docs/bench/idle.md (about 2 min)
	$(BENCH) idle -out docs/bench/idle.md $(BENCHFLAGS)

bench-limiter: ## one decision beside golang.org/x/time/rate and throttled → docs/bench/limiter.md
	cd tests/bench/limiters && $(GO) build -o ../../../bin/limiters .
	bin/limiters -out docs/bench/limiter.md

bench-overload: ## overload, fairness, priorities and bandwidth before an upstream of known capacity → docs/bench/overload.md (about 9 min)
	cd tests/bench && $(GO) test -run '^TestOverloadReport$$' -count 1 -timeout 30m -overload-report $(CURDIR)/docs/bench/overload.md

fleet-table: ## limits shared by 3, 10 and 30 nodes, in simulation → docs/bench/fleet-sim.md
	$(GO) test ./limiter -run '^TestFleetTable$$' -count 1 -timeout 20m -fleet-table $(CURDIR)/docs/bench/fleet-sim.md

pgo: bench-tools ## refresh default.pgo from the load of the benchmark, and build with it
	$(BENCH) pgo -rounds 4 -duration 5s -out default.pgo $(BENCHFLAGS)
	$(MAKE) build

lint: ## gofmt, go vet, staticcheck in all modules
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); if [ -n "$$unformatted" ]; then echo "gofmt these: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...
	cd tests/bench && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd tests/bench/limiters && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd tests/h2spec && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd tests/grpc && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...
	cd tests/peers && $(GO) vet ./barefasthttp

lint-full: lint ## and golangci-lint with .golangci.yml (its first build takes minutes)
	$(GO) run $(GOLANGCI) run ./...
	cd tests/bench && $(GO) run $(GOLANGCI) run -c ../../.golangci.yml ./...
	cd tests/bench/limiters && $(GO) run $(GOLANGCI) run -c ../../../.golangci.yml ./...

fmt: ## gofmt every file
	gofmt -w $$(git ls-files '*.go')

deps: ## install what tests and benchmarks need (Debian, root)
	./scripts/deps.sh

start-rate-limiter: build ## three gateways and a demo upstream on this machine
	@./scripts/local.sh start

stop-rate-limiter: ## end them
	@./scripts/local.sh stop

deploy-policies: build ## the policies of examples/policies to those three gateways: what changed, and what each has now
	@./scripts/local.sh deploy

load-test: ## 5 s of load on the three gateways: who answered what (LOADFLAGS="-duration 20s -rate 500")
	@cd tests/bench && $(GO) run . load -targets 127.0.0.1:8001,127.0.0.1:8002,127.0.0.1:8003 $(LOADFLAGS)

clean: ## remove what was built
	rm -rf bin
	$(GO) clean
