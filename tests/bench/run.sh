#!/usr/bin/env bash
# Timings against peers in one run, as ratios: hyperfine on this machine, nothing is asserted.
#   tests/bench/run.sh [path to a release build]
# Needs hyperfine, busybox-static; uses bwrap, crun and podman where installed. Run as a plain user.
set -euo pipefail
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
dir=$(mktemp -d); out=$dir/out; mkdir -p "$out"
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run
clean() { "$coracle" system reset -f >/dev/null 2>&1 || true; rm -rf "$dir" 2>/dev/null || true; }
trap clean EXIT

root=$dir/rootfs; mkdir -p "$root"/{bin,proc,dev,sys,tmp,etc}
cp /bin/busybox "$root/bin/busybox"; for a in sh true echo; do ln -s busybox "$root/bin/$a"; done
tar -C "$root" -cf "$dir/busybox.tar" .
"$coracle" import -q "$dir/busybox.tar" busybox >/dev/null
"$coracle" run --rm --network none busybox true

bench() { # title, then name=command pairs
    local title=$1 args=(); shift
    printf '\n## %s\n' "$title"
    for pair in "$@"; do
        # shellcheck disable=SC2086  # a command line
        if ${pair#*=} >/dev/null 2>&1; then
            args+=(-n "${pair%%=*}" "${pair#*=}")
        else
            echo "${pair%%=*} does not run here"
        fi
    done
    hyperfine -N --warmup 5 --runs "${RUNS:-60}" --export-json "$out/r.json" "${args[@]}" >/dev/null 2>"$out/err" || cat "$out/err"
    python3 - "$out/r.json" <<'PY'
import json, sys
rows = [(r["command"], r["median"] * 1000, r["min"] * 1000) for r in json.load(open(sys.argv[1]))["results"]]
base = rows[0][1]
for name, median, best in rows:
    print(f"{name:28} median {median:8.2f} ms   min {best:8.2f} ms   {median / base:6.2f} x")
PY
}

pairs=("coracle run=$coracle run --rm --network none busybox true")
command -v bwrap >/dev/null && pairs+=("bwrap=bwrap --unshare-all --bind $root / --proc /proc --dev /dev /bin/true")
if command -v crun >/dev/null; then
    mkdir -p "$dir/bundle"; cp -a "$root" "$dir/bundle/rootfs"
    (cd "$dir/bundle" && crun spec --rootless && sed -i 's/"terminal": true/"terminal": false/; s/"sh"/"true"/' config.json)
    pairs+=("crun=crun --root $dir/crun run -b $dir/bundle bench")
fi
if command -v podman >/dev/null && podman import -q "$dir/busybox.tar" localhost/bench >/dev/null 2>&1; then
    pairs+=("podman=podman run --rm --network none localhost/bench true")
fi
bench "run --rm IMAGE true, no uplink, warm" "${pairs[@]}"

"$coracle" run -d --name bench-exec --network none busybox sleep 10000 >/dev/null 2>&1 || "$coracle" run -d --name bench-exec --network none busybox sh -c 'while :; do read x; done' >/dev/null
bench "exec CONTAINER true" "coracle exec=$coracle exec bench-exec true" "the program alone=$root/bin/true"
"$coracle" rm -f -t 0 bench-exec >/dev/null

bench "start-up" "coracle --version=$coracle --version" "coracle --help=$coracle --help" "podman --version=podman --version"

echo; echo "## sizes"; ls -l "$coracle" | awk '{printf "binary %.1f MB\n", $5 / 1e6}'
