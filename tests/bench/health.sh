#!/usr/bin/env bash
# 50 containers with a health check each second: processor time and memory of it, coracle's monitors
# against podman's timers. In a VM with a user manager, as podman needs one. As root, on Debian.
#   tests/bench/health.sh [path to a release build]
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
coracle=$(readlink -f "${1:-$here/../../target/x86_64-unknown-linux-gnu/release/coracle}")
if [ "${2:-}" != inside ]; then
  dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
  mkdir -p "$dir/rootfs/bin"
  cp /bin/busybox "$dir/rootfs/bin/busybox"
  for applet in sh sleep cat wc; do ln -s busybox "$dir/rootfs/bin/$applet"; done
  tar -C "$dir/rootfs" -cf "$dir/busybox.tar" .
  install -m 755 "$coracle" "$dir/coracle"
  "$here/../vm/vm-run" --packages 'podman crun' --memory 2048 --share "$dir/coracle" --share "$dir/busybox.tar" \
    --share "$here/health.sh" --timeout 600 'bash /share/health.sh /share/coracle inside'
  exit
fi
PATH=$PATH:/share
count=${COUNT:-50} seconds=${SECONDS_MEASURED:-30}
busy() { awk '/^cpu /{print $2+$3+$4+$7+$8}' /proc/stat; }
free() { sync; awk '/^MemAvailable/{print $2}' /proc/meminfo; }
for engine in coracle podman; do
  $engine import -q /share/busybox.tar busybox >/dev/null 2>&1 || $engine import /share/busybox.tar busybox >/dev/null
  for checks in none 1s; do
    before=$(free) began=$(date +%s)
    health=(--health-cmd 'echo >>/count' --health-interval 1s)
    [ $checks = none ] && health=()
    for i in $(seq "$count"); do
      $engine run -d --name "c$i" --network none "${health[@]}" busybox sleep 10000 >/dev/null
    done
    sleep 5
    memory=$(((before - $(free)) / count)) ticks=$(busy)
    sleep "$seconds"
    ticks=$(($(busy) - ticks))
    healthy=$($engine inspect --format '{{if .State.Health}}{{.State.Health.Status}}{{end}}' $(seq -f 'c%g' "$count") | grep -c healthy || :)
    # How often one of them was looked at, of how often it should have been.
    age=$(($(date +%s) - began))
    looked=$($engine exec c1 sh -c 'cat /count 2>/dev/null | wc -l')
    awk -v e=$engine -v c=$checks -v t=$ticks -v s="$seconds" -v m=$memory -v n="$healthy" -v l="$looked" -v a=$age \
      'BEGIN { printf "%-8s checks %-4s processor %5.1f %%, %6d kB for each container, %d healthy, the first looked at %d times in %d s\n", e, c, t / s, m, n, l, a }'
    $engine rm -fa -t 0 >/dev/null
  done
done
