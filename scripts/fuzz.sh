#!/usr/bin/env bash
# Runs every fuzz target of the main module for the given time each: scripts/fuzz.sh 3s. Stops at the first that fails.
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:?usage: scripts/fuzz.sh TIME [REGEXP]   (3s, 1m; only targets that match)}
only=${2:-.}

targets=$(grep -rHoE --include='*_test.go' --exclude-dir=bench --exclude-dir=peers '^func Fuzz[A-Za-z0-9_]*' . |
  sed -E 's|^(.*)/[^/]*:func (Fuzz.*)$|\1 \2|' | sort -u | grep -E "$only") || {
  echo "fuzz: no target matches $only" >&2
  exit 1
}
count=0
while read -r dir name; do
  if ! out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$time" "$dir" 2>&1); then
    # Go before 1.27 sometimes reports its own end of the fuzz time as a failure, with these two lines (golang/go#75804).
    if ! grep -A1 "^--- FAIL: $name (" <<<"$out" | grep -qx "    context deadline exceeded"; then
      printf '%s\n' "$out" >&2
      exit 1
    fi
  fi
  printf 'fuzz %-24s %-28s %s\n' "$dir" "$name" "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -1)"
  count=$((count + 1))
done <<<"$targets"
echo "fuzz: $count targets, $time each, nothing found"
