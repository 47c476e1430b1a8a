#!/usr/bin/env bash
# Three gateways and a demo upstream on this machine: scripts/local.sh start | deploy | stop. State and logs are in .weir/.
set -euo pipefail
cd "$(dirname "$0")/.."
weir=bin/weir
state=.weir

# name, port, admin port, cluster port
gateways=("gateway-1 8001 8081 7941" "gateway-2 8002 8082 7942" "gateway-3 8003 8083 7943")

# running NAME: is the process of NAME's pid file one that this script started? (A pid may have been given to another since.)
running() {
  local pid
  pid=$(cat "$state/$1.pid" 2>/dev/null) || return 1
  tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q "run -c examples/local/"
}

# launch NAME CONFIG ADMIN_PORT: starts weir and waits until its admin address says that it is ready.
launch() {
  local name=$1 config=$2 admin=$3
  nohup "$weir" run -c "$config" >"$state/$name.log" 2>&1 </dev/null &
  echo $! >"$state/$name.pid"
  for _ in $(seq 100); do
    curl -fsS -o /dev/null "http://127.0.0.1:$admin/readyz" 2>/dev/null && return
    running "$name" || break
    sleep 0.1
  done
  echo "$name did not become ready; $state/$name.log ends with:" >&2
  tail -5 "$state/$name.log" >&2
  stop >/dev/null
  exit 1
}

start() {
  for name in upstream gateway-1 gateway-2 gateway-3; do
    if running "$name"; then
      echo "$name runs already; make stop-rate-limiter ends it" >&2
      exit 1
    fi
  done
  mkdir -p "$state"
  launch upstream examples/local/upstream.yaml 9081
  for line in "${gateways[@]}"; do
    read -r name port admin cluster <<<"$line"
    WEIR_NODE=$name WEIR_PORT=$port WEIR_ADMIN_PORT=$admin WEIR_CLUSTER_PORT=$cluster launch "$name" examples/local/gateway.yaml "$admin"
  done
  cat <<TEXT
Three gateways that share one limit, 50 requests/s per user with bursts of 100, in front of a demo upstream (127.0.0.1:9001):

  gateway     requests                admin
  gateway-1   http://127.0.0.1:8001   http://127.0.0.1:8081
  gateway-2   http://127.0.0.1:8002   http://127.0.0.1:8082
  gateway-3   http://127.0.0.1:8003   http://127.0.0.1:8083

Try:   curl -i -H 'x-user-id: ann' http://127.0.0.1:8001/hello
       curl -s http://127.0.0.1:8081/metrics | grep weir_limiter
       curl -s http://127.0.0.1:8081/api/v1/cluster
       make deploy-policies
       make load-test
Stop:  make stop-rate-limiter
TEXT
}

stop() {
  local stopped=0
  for name in gateway-1 gateway-2 gateway-3 upstream; do
    if running "$name"; then
      pid=$(cat "$state/$name.pid")
      kill -TERM "$pid"
      for _ in $(seq 100); do
        running "$name" || break
        sleep 0.1
      done
      if running "$name"; then
        kill -KILL "$pid"
      fi
      stopped=$((stopped + 1))
    fi
    rm -f "$state/$name.pid"
  done
  echo "stopped $stopped processes"
}

# deploy makes the policies of examples/policies those of all three gateways, besides what they have.
deploy() {
  local admins=() failed=0
  for line in "${gateways[@]}"; do
    read -r name port admin _ <<<"$line"
    admins+=(--admin "http://127.0.0.1:$admin")
  done
  "$weir" policies apply -f examples/policies "${admins[@]}" || failed=$?
  echo
  "$weir" policies ls "${admins[@]}" || failed=$?
  if [ "$failed" != 0 ]; then
    echo "not all is deployed; make start-rate-limiter starts the gateways" >&2
    exit 1
  fi
}

case ${1:-} in
start) start ;;
deploy) deploy ;;
stop) stop ;;
*)
  echo "usage: scripts/local.sh start|deploy|stop" >&2
  exit 2
  ;;
esac
