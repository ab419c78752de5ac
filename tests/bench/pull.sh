#!/usr/bin/env bash
# Pulls of a large image from Debian's docker-registry on loopback, coracle and podman in turn: time
# and largest memory. Nothing is asserted.
#   tests/bench/pull.sh [path to a release build] [rounds]
# Needs docker-registry and python3; podman where it runs. Run as a plain user.
set -euo pipefail
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
rounds=${2:-3}
dir=$(mktemp -d)
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run
port=$((20000 + RANDOM % 20000))
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$dir/registry" "$port" > "$dir/registry.yml"
docker-registry serve "$dir/registry.yml" >/dev/null 2>&1 & registry=$!
clean() { kill "$registry" 2>/dev/null || true; "$coracle" system reset -f >/dev/null 2>&1 || true; rm -rf "$dir" 2>/dev/null || true; }
trap clean EXIT
# Four layers of what a Debian has: libraries, programs, documents.
for part in /usr/bin /usr/share /usr/lib/x86_64-linux-gnu /usr/include; do
    [ -d "$part" ] || continue
    { find "$part" -xdev -type f -size -8M -readable -printf '%s %p\n' 2>/dev/null || true; } | sort -k 2 |
        awk -v max=$((60 << 20)) '{ total += $1; if (total <= max) print substr($0, length($1) + 2) }' > "$dir/list"
    tar -cf "$dir/$(basename "$part").tar" -T "$dir/list" 2>/dev/null || true # Not everything may be read.
done
{ echo "FROM scratch"; for tar in "$dir"/*.tar; do echo "ADD $(basename "$tar") /"; done; } > "$dir/Dockerfile"
name=127.0.0.1:$port/large
"$coracle" build -q -t "$name" "$dir" >/dev/null
"$coracle" push -q --tls-verify=false "$name"
"$coracle" image inspect --format 'image of {{.Size}} bytes' "$name"
"$coracle" rmi "$name" >/dev/null
"$coracle" builder prune -a -f >/dev/null # Its layers would be there already.
measure() { # name, then the command
    python3 - "$@" <<'PY'
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL).returncode
took = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f"{sys.argv[1]:10} {took:6.2f} s   {peak:6.0f} MiB" + ("" if code == 0 else f"   FAILED ({code})"))
PY
}
for _ in $(seq "$rounds"); do
    measure coracle "$coracle" pull -q --tls-verify=false "$name"
    "$coracle" rmi "$name" >/dev/null
    if podman info >/dev/null 2>&1; then
        measure podman podman --root "$dir/podman" --runroot "$dir/podman-run" pull -q --tls-verify=false "$name"
        podman --root "$dir/podman" --runroot "$dir/podman-run" rmi -f "$name" >/dev/null
    fi
done
