#!/usr/bin/env bash
# Our FUSE overlay beside Debian's fuse-overlayfs and the kernel's overlay, one run each in turn, on
# the same layer: seconds for each step, and ratios to fuse-overlayfs.
#   tests/bench/overlay.sh [path to a release build]
# Needs busybox-static, fuse-overlayfs, uidmap. Run as a plain user; ROUNDS=5 for calmer figures.
set -euo pipefail
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
dir=$(mktemp -d -p /var/tmp coracle-bench.XXXXXX)
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run
clean() {
    "$coracle" system reset -f >/dev/null 2>&1 || true
    unshare -Ur --map-auto find "$dir" -mindepth 1 -delete 2>/dev/null || true
    rmdir "$dir" 2>/dev/null || true
}
trap clean EXIT

root=$dir/rootfs; mkdir -p "$root"/{bin,proc,dev,sys,tmp,etc,tree}
cp /bin/busybox "$root/bin/busybox"
for a in sh true echo find cat tar rm dd chmod touch awk mkdir xargs seq sync grep; do ln -s busybox "$root/bin/$a"; done
for d in $(seq 200); do
    mkdir "$root/tree/$d"
    for f in $(seq 50); do head -c $((2000 + f * 100)) /bin/busybox > "$root/tree/$d/f$f"; done
done
tar -C "$root" -cf "$root/tree.tar" tree
cat > "$root/bench" <<'SH'
#!/bin/sh
# Each line: what, seconds.
now() { awk '{ print $1 }' /proc/uptime; }
step() {
    name=$1; shift
    from=$(now); "$@" >/dev/null 2>&1; to=$(now)
    echo "$name $(echo "$from $to" | awk '{ printf "%.2f", $2 - $1 }')"
}
cd /
step find-first find /tree -type f -size +1
step find-again find /tree -type f -size +1
step read-first sh -c 'find /tree -type f | xargs cat'
step read-again sh -c 'find /tree -type f | xargs cat'
step open-each sh -c 'for i in $(seq 50); do for d in $(seq 40); do read x < /tree/$d/f$i; done; done'
mkdir /out
step untar tar -C /out -xf /tree.tar
step find-new find /out -type f -size +1
step remove rm -rf /out
step create sh -c 'mkdir /new; for i in $(seq 5000); do : > /new/$i; done'
step copy-up chmod -R u+w /tree/1 /tree/2 /tree/3 /tree/4 /tree/5 /tree/6 /tree/7 /tree/8 /tree/9 /tree/10
step small-writes dd if=/dev/zero of=/small bs=512 count=20000
step write dd if=/dev/zero of=/big bs=1M count=256
step read dd if=/big of=/dev/null bs=1M
SH
chmod 755 "$root/bench"
tar -C "$root" -cf "$dir/image.tar" .
"$coracle" import -q "$dir/image.tar" bench >/dev/null
layer=$(echo "$CORACLE_ROOT"/store/layers/*/diff)

other() { # how to mount
    local work=$dir/other; mkdir -p "$work"/{u,w,m}
    # shellcheck disable=SC2016  # expanded inside
    HOW=$1 LAYER=$layer WORK=$work unshare -Urm --map-auto sh -ec '
        case $HOW in
        fuse-overlayfs) fuse-overlayfs -o "lowerdir=$LAYER,upperdir=$WORK/u,workdir=$WORK/w" "$WORK/m" 2>/dev/null ;;
        kernel) mount -t overlay -o "userxattr,volatile,lowerdir=$LAYER,upperdir=$WORK/u,workdir=$WORK/w" overlay "$WORK/m" ;;
        esac
        mount --rbind /proc "$WORK/m/proc"; mount --rbind /dev "$WORK/m/dev"
        chroot "$WORK/m" /bin/sh /bench
        umount -l "$WORK/m/proc" "$WORK/m/dev" "$WORK/m"; rm -rf "$WORK"'
}

for _ in $(seq "${ROUNDS:-3}"); do
    other fuse-overlayfs >> "$dir/fuse-overlayfs"
    "$coracle" --storage-driver fuse run --rm --network none bench sh /bench >> "$dir/ours"
    "$coracle" --storage-driver fuse-metadata run --rm --network none --userns keep-id --user 0 bench sh /bench >> "$dir/metadata"
    other kernel >> "$dir/kernel"
done
python3 - "$dir" <<'PY'
import statistics, sys
engines = ["fuse-overlayfs", "ours", "metadata", "kernel"]
table, order = {}, []
for engine in engines:
    for line in open(f"{sys.argv[1]}/{engine}"):
        name, seconds = line.split()
        table.setdefault(name, {}).setdefault(engine, []).append(float(seconds))
        if name not in order:
            order.append(name)
print(f"{'':14}" + "".join(f"{e:>18}" for e in engines))
for name in order:
    base = statistics.median(table[name]["fuse-overlayfs"])
    cells = []
    for engine in engines:
        value = statistics.median(table[name][engine])
        cells.append(f"{value:8.2f} {value / max(base, 0.01):6.2f} x")
    print(f"{name:14}" + "".join(f"{c:>18}" for c in cells))
PY
