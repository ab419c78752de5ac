#!/usr/bin/env bash
# Builds, coracle and Debian's buildah in turn in one run: time and largest memory. Nothing is asserted.
# As real root in a mount namespace of its own, which has cgroup v2 only:
#   unshare -m tests/bench/build.sh [path to a release build] [rounds]
# Needs python3; buildah where it is installed (overlay as its storage, layers kept as in podman).
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
. "$here/../engines/common"
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
rounds=${2:-3}
only_cgroup2
dir=$(mktemp -d /var/tmp/coracle-bench-XXXXXX)
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run CONTAINERS_CONF=/dev/null HOME=$dir
theirs="buildah --root $dir/root --runroot $dir/runroot --storage-driver overlay"
clean() {
    "$coracle" system reset -f >/dev/null 2>&1 || true
    if command -v buildah >/dev/null; then $theirs rm -a >/dev/null 2>&1 || true; $theirs rmi -af >/dev/null 2>&1 || true; fi
    umount "$dir"/root/overlay 2>/dev/null || true
    rm -rf "$dir" 2>/dev/null || true
}
trap clean EXIT
busybox_rootfs "$dir/rootfs"
mkdir "$dir/base"; tar -C "$dir/rootfs" --owner=0 --group=0 -cf "$dir/base/rootfs.tar" .
printf 'FROM scratch\nADD rootfs.tar /\n' > "$dir/base/Dockerfile"
"$coracle" build -q -t base "$dir/base" >/dev/null
if command -v buildah >/dev/null; then $theirs bud -q --isolation chroot -t base "$dir/base" >/dev/null; fi
measure() { # who, then the command
    python3 - "$@" <<'PY'
import resource, subprocess, sys, time
start = time.perf_counter()
done = subprocess.run(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
took = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
said = "" if done.returncode == 0 else "   FAILED: " + done.stderr.decode()[-300:]
print(f"  {sys.argv[1]:10} {took:7.3f} s   {peak:5.0f} MiB{said}")
PY
}
ours() { measure coracle "$coracle" build -q --pull=never --network none "$@" >> "$dir/times"; }
other() {
    if command -v buildah >/dev/null; then
        measure buildah $theirs bud -q --layers --isolation chroot --pull-never --network host "$@" >> "$dir/times"
    fi
}
# Each in turn, so that what else the machine does meets both.
compare() { # title, folder, words for ours, words for theirs
    echo "$1"; : > "$dir/times"
    for _ in $(seq "$rounds"); do ours $3 "$2"; other $4 "$2"; done
    sort "$dir/times"
}
context() { mkdir -p "$dir/$1"; cat > "$dir/$1/Dockerfile"; }

{ echo FROM base; for n in $(seq 20); do echo "RUN true"; done; } | context steps
compare "20 steps of RUN true" "$dir/steps" --no-cache --no-cache
ours "$dir/steps"; other "$dir/steps"
compare "the same, all cached" "$dir/steps" "" ""

printf 'FROM base\nCOPY . /x\n' | context many
python3 - "$dir/many" <<'PY'
import os, sys
for n in range(10_000):
    folder = f"{sys.argv[1]}/{n // 100:03}"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/{n:05}", "wb") as f:
        f.write(b"%d\n" % n * 50)
PY
compare "COPY of 10,000 files" "$dir/many" --no-cache --no-cache

printf 'FROM base\nCOPY large /x\n' | context large
# Half of it is noise, half is text: what compresses well would say little.
{ head -c 512M /dev/urandom; yes "a line of text that is like the one before" | head -c 512M || true; } > "$dir/large/large"
compare "COPY of one file of 1 GiB" "$dir/large" --no-cache --no-cache
rm -rf "$dir/large"

context stages <<'D'
FROM base AS a
RUN sleep 3
FROM base AS b
RUN sleep 3
FROM base
COPY --from=a /etc/passwd /a
COPY --from=b /etc/passwd /b
D
compare "two independent stages of 3 seconds" "$dir/stages" "--no-cache --jobs=2" "--no-cache --jobs=2"
