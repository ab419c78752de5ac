#!/bin/bash
# `compose up` of ten services: ours, Debian's podman-compose, and docker-compose over podman's socket, in one run.
# As root in a mount namespace of its own with cgroup2 (podman), e.g.:
#   unshare -m sh -c 'mount -t cgroup2 none /sys/fs/cgroup; tests/bench/compose.sh CORACLE'
# Needs podman, podman-compose, docker-compose and busybox-static. Prints milliseconds, the best of three each.
set -euo pipefail
coracle=$(realpath "${1:-target/release/coracle}")
work=$(mktemp -d)
pid=
# A command that fails is no measurement: its output is shown and the run ends.
must() { # command line
    eval "$1" >"$work/log" 2>&1 || { echo "FAILED: $1" >&2; cat "$work/log" >&2; exit 1; }
}
trap '[ -z "$pid" ] || kill "$pid"; rm -rf "$work"' EXIT
export XDG_DATA_HOME=$work/data CORACLE_ROOT=$work/coracle CORACLE_RUNROOT=$work/run
mkdir -p "$work/root/bin" "$work/ten"
cp /bin/busybox "$work/root/bin/"
ln -s busybox "$work/root/bin/sh"
ln -s busybox "$work/root/bin/sleep"
tar -C "$work/root" -cf "$work/busybox.tar" .
"$coracle" import -q "$work/busybox.tar" localhost/ten:1 >/dev/null
{
    echo "services:"
    for n in 0 1 2 3 4 5 6 7 8 9; do
        echo "  s$n: {image: 'localhost/ten:1', command: [sleep, '1000'], stop_grace_period: 0s$( [ $n -lt 5 ] || echo ", depends_on: [s$((n - 5))]")}"
    done
} >"$work/ten/compose.yaml"
cd "$work/ten"

# The best of three of `$1 up -d`, and of one with nothing to do.
measure() {
    best=999999 idle=999999
    for _ in 1 2 3; do
        a=$(date +%s%N); must "$1 up -d"; b=$(date +%s%N)
        must "$1 up -d"; c=$(date +%s%N)
        must "$1 down -t 0"
        best=$(( (b - a) / 1000000 < best ? (b - a) / 1000000 : best ))
        idle=$(( (c - b) / 1000000 < idle ? (c - b) / 1000000 : idle ))
    done
    printf '%-40s up %6d ms   nothing to do %6d ms\n' "$2" "$best" "$idle"
}

measure "'$coracle' compose" "coracle compose"
if command -v podman >/dev/null; then
    podman import -q "$work/busybox.tar" localhost/ten:1 >/dev/null
    if command -v podman-compose >/dev/null; then
        measure podman-compose "podman-compose"
    fi
    if command -v docker-compose >/dev/null; then
        podman system service -t 0 "unix://$work/podman.sock" & pid=$!
        while [ ! -S "$work/podman.sock" ]; do sleep 0.05; done
        export DOCKER_HOST=unix://$work/podman.sock
        measure docker-compose "docker-compose over podman's socket"
    fi
fi
