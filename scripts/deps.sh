#!/usr/bin/env bash
# Installs what the tests and benchmarks need on Debian or Ubuntu, and only what is missing. Takes root if something is.
set -euo pipefail

# command → package
wanted=(make:make gcc:gcc curl:curl git:git nginx:nginx-light haproxy:haproxy redis-server:redis-server redis-cli:redis-tools wrk:wrk h2load:nghttp2-client ip:iproute2 taskset:util-linux)

packages=()
for pair in "${wanted[@]}"; do
  command -v "${pair%%:*}" >/dev/null || packages+=("${pair#*:}")
done
# The race detector links against the C library's headers.
[[ -e /usr/include/stdlib.h ]] || packages+=(libc6-dev)

if ((${#packages[@]} == 0)); then
  echo "deps: nothing is missing"
  exit 0
fi
echo "deps: installing ${packages[*]}"
if ((EUID != 0)); then
  echo "deps: run as root, or install these yourself" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
for try in 1 2 3; do
  if apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; then
    exit 0
  fi
  echo "deps: attempt $try failed" >&2
  sleep $((try * 5))
done
exit 1
