#!/usr/bin/env bash
# First output of a container with `--pull=lazy` against the time of a whole pull: an image of 500 MB (what does not
# compress, in 1,000 files) from Debian's docker-registry behind a slow line on loopback. It must be under a tenth.
#   tests/bench/lazy.sh [path to a build] [megabytes] [megabytes a second]
# Needs docker-registry, python3 and busybox. Run as a plain user.
set -euo pipefail
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
size=${2:-500} rate=${3:-20}
here=$(dirname "$(readlink -f "$0")")
dir=$(mktemp -d)
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run CONTAINERS_CONF=/dev/null
fast=$((20000 + RANDOM % 10000)) slow=$((30000 + RANDOM % 10000))
printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$dir/registry" "$fast" > "$dir/registry.yml"
docker-registry serve "$dir/registry.yml" >/dev/null 2>&1 & registry=$!
python3 "$here/throttle.py" "$slow" "$fast" $((rate * 1000000)) & line=$!
clean() { kill "$registry" "$line" 2>/dev/null || true; "$coracle" system reset -f >/dev/null 2>&1 || true; rm -rf "$dir" 2>/dev/null || true; }
trap clean EXIT
mkdir -p "$dir/tree/bin" "$dir/tree/data"
cp "$(command -v busybox)" "$dir/tree/bin/"
for name in sh cat echo sha256sum ls; do ln -s busybox "$dir/tree/bin/$name"; done
for n in $(seq 1000); do head -c $((size * 1000)) /dev/urandom > "$dir/tree/data/f$n"; done
tar -C "$dir/tree" -cf "$dir/tree.tar" bin data
"$coracle" import -q "$dir/tree.tar" big >/dev/null
for format in zstd:chunked estargz; do
    "$coracle" push -q --compression-format "$format" big "127.0.0.1:$fast/big:${format%%:*}" >/dev/null
done
rm -rf "$dir/tree" "$dir/tree.tar"
"$coracle" system reset -f >/dev/null
now() { date +%s%N; }
for format in zstd estargz; do
    name=127.0.0.1:$slow/big:$format
    begin=$(now)
    "$coracle" run --rm --network none --pull=lazy "$name" echo out >/dev/null
    lazy=$(($(now) - begin))
    begin=$(now)
    "$coracle" run --rm --network none --pull=lazy "$name" sha256sum /data/f500 >/dev/null
    again=$(($(now) - begin))
    "$coracle" system reset -f >/dev/null
    begin=$(now)
    "$coracle" pull -q "$name" >/dev/null
    "$coracle" run --rm --network none "$name" echo out >/dev/null
    whole=$(($(now) - begin))
    "$coracle" system reset -f >/dev/null
    printf '%-8s first output %6d ms, next start with a file of %d kB %6d ms, whole pull and start %6d ms: 1/%d\n' "$format" \
        $((lazy / 1000000)) "$size" $((again / 1000000)) $((whole / 1000000)) $((whole / lazy))
done
