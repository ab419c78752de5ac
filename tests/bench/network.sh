#!/usr/bin/env bash
# Networks against peers in one run, all without root: throughput and connections per second between
# containers, from the host to a published port, and from a container to the host; what a start pays
# for a bridge. Nothing is asserted.
#   tests/bench/network.sh [path to a release build] [seconds of each measurement]
# NO_PEERS=1 leaves the peers out.
# Needs gcc and busybox-static; hyperfine, pasta and podman (netavark) where installed. Run as a plain user.
set -euo pipefail
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
seconds=${2:-2}
dir=$(mktemp -d)
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run
host=$(hostname -I | tr ' ' '\n' | grep -m1 -F . || true)
port=$((20000 + RANDOM % 20000))
pids=()
clean() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    "$coracle" system reset -f >/dev/null 2>&1 || true
    if [ -n "${has_podman:-}" ]; then
        podman rm -fa -t 0 >/dev/null 2>&1 || true
        podman network rm -f bench >/dev/null 2>&1 || true
        podman rmi -f localhost/bench >/dev/null 2>&1 || true
    fi
    rm -rf "$dir" 2>/dev/null || true
}
trap clean EXIT

# The load: `load serve PORT`, and against it `load send|take|rate ADDRESS PORT SECONDS WORKERS`.
cat > "$dir/load.c" <<'C'
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static char buffer[128 << 10];
static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec + t.tv_nsec / 1e9; }
static struct sockaddr_in address(const char *ip, const char *port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    inet_pton(AF_INET, ip, &a.sin_addr);
    return a;
}
static void serve(int listener) { /* the first byte says what is wanted */
    for (;;) {
        int c = accept(listener, 0, 0);
        char mode;
        if (c < 0 || read(c, &mode, 1) != 1) { close(c); continue; }
        if (mode == 'r') { if (write(c, &mode, 1) != 1) {} close(c); continue; }
        if (fork() == 0) {
            if (mode == 's') while (read(c, buffer, sizeof buffer) > 0) {}
            else while (write(c, buffer, sizeof buffer) > 0) {}
            _exit(0);
        }
        close(c);
    }
}
int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGCHLD, SIG_IGN);
    if (argc == 3) {
        struct sockaddr_in a = address("0.0.0.0", argv[2]);
        int l = socket(AF_INET, SOCK_STREAM, 0), one = 1;
        setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
        if (bind(l, (void *)&a, sizeof a) || listen(l, 1024)) { perror("listen"); return 1; }
        if (fork() == 0) { prctl(PR_SET_PDEATHSIG, SIGKILL); serve(l); }
        serve(l);
    }
    signal(SIGCHLD, SIG_DFL);
    struct sockaddr_in a = address(argv[2], argv[3]);
    double length = atof(argv[4]);
    int workers = atoi(argv[5]);
    struct { long count, failed; } *sum = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double start = now();
    for (int w = 0; w < workers; w++) if (fork() == 0) {
        long done = 0, failed = 0;
        char mode = *argv[1];
        do {
            int c = socket(AF_INET, SOCK_STREAM, 0), one = 1;
            struct timeval patience = {2, 0};
            setsockopt(c, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
            setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
            if (connect(c, (void *)&a, sizeof a) || write(c, &mode, 1) != 1) { failed++; close(c); if (failed > 100) break; continue; }
            if (mode == 'r') { /* to its end: the server's side waits out the port, not ours, which would run out of them */
                if (read(c, &mode, 1) == 1 && read(c, &mode, 1) == 0) done++; else failed++;
                mode = 'r';
            }
            else while (now() - start < length) {
                long n = mode == 's' ? write(c, buffer, sizeof buffer) : read(c, buffer, sizeof buffer);
                if (n <= 0) { failed++; break; }
                done += n;
            }
            close(c);
        } while (now() - start < length);
        __sync_fetch_and_add(&sum->count, done);
        __sync_fetch_and_add(&sum->failed, failed);
        _exit(0);
    }
    while (wait(0) > 0) {}
    double took = now() - start;
    if (*argv[1] == 'r') printf("%.0f/s", sum->count / took); else printf("%.2f Gbit/s", sum->count * 8 / took / 1e9);
    if (sum->failed) printf(" (%ld failed)", sum->failed);
    puts("");
    return 0;
}
C
gcc -O2 -static -o "$dir/load" "$dir/load.c"
mkdir -p "$dir/rootfs"/{bin,proc,dev,sys,tmp,etc}
cp /bin/busybox "$dir/load" "$dir/rootfs/bin/"
for a in sh true sleep; do ln -s busybox "$dir/rootfs/bin/$a"; done
tar -C "$dir/rootfs" -cf "$dir/image.tar" .
"$coracle" import -q "$dir/image.tar" bench >/dev/null
has_podman=
[ -z "${NO_PEERS:-}" ] && command -v podman >/dev/null && podman import -q "$dir/image.tar" localhost/bench >/dev/null 2>&1 && has_podman=1
true

row() { # what, who, then the command
    local what=$1 who=$2; shift 2
    printf '%-26s %-26s %s\n' "$what" "$who" "$("$@" 2>&1 | tail -1)"
}
# A service that listens is waited for, not slept for.
ready() { # address port
    for _ in $(seq 200); do "$dir/load" rate "$1" "$2" 0 1 2>/dev/null | grep -q '^[1-9]' && return; done
}

"$dir/load" serve $((port + 1)) >/dev/null & pids+=($!)
ready 127.0.0.1 $((port + 1))

# A runtime on one kind of network: who, the command, then the network's options.
measure() {
    local who=$1 run=$2; shift 2
    if ! $run run -d --name server "$@" -p "$port:80" localhost/bench load serve 80 >/dev/null 2>"$dir/err"; then
        printf '%-26s %-26s does not run here: %s\n' all "$who" "$(tail -1 "$dir/err")"
        return
    fi
    $run run -d --name client "$@" localhost/bench sleep 10000 >/dev/null
    ready 127.0.0.1 "$port"
    local inside
    inside=$($run inspect -f '{{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}' server | awk '{ print $1 }')
    case $* in *bench*)
        for load in "send 1" "take 1" "rate 2"; do
            row "container to container ${load% *}" "$who" $run exec client load "${load% *}" "$inside" 80 "$seconds" "${load#* }"
        done ;;
    esac
    for load in "send 1" "take 1" "rate 4"; do
        row "loopback to port ${load% *}" "$who" "$dir/load" "${load% *}" 127.0.0.1 "$port" "$seconds" "${load#* }"
        [ -z "$host" ] || row "own address to port ${load% *}" "$who" "$dir/load" "${load% *}" "$host" "$port" "$seconds" "${load#* }"
    done
    [ -z "$host" ] || for load in "send 1" "take 1" "rate 2"; do
        row "container to host ${load% *}" "$who" $run exec client load "${load% *}" "$host" $((port + 1)) "$seconds" "${load#* }"
    done
    $run rm -f -t 0 server client >/dev/null
}

"$coracle" network create bench >/dev/null
"$coracle" tag bench localhost/bench >/dev/null
{
    measure "coracle pasta" "$coracle" --network pasta
    measure "coracle slirp4netns" "$coracle" --network slirp4netns
    measure "coracle bridge" "$coracle" --network bench
    if [ -n "$has_podman" ]; then
        podman network create bench >/dev/null 2>&1 || true
        measure "podman slirp4netns" podman --network slirp4netns
        measure "podman slirp's own ports" podman --network slirp4netns:port_handler=slirp4netns
        measure "podman bridge" podman --network bench
    fi
    if [ -z "${NO_PEERS:-}" ] && command -v pasta >/dev/null; then
        # The program alone, as podman of later releases runs it.
        pasta -f --config-net -t "$port:80" -u none -T none -U none --no-map-gw -- "$dir/load" serve 80 >/dev/null 2>&1 & pids+=($!)
        ready 127.0.0.1 "$port"
        for load in "send 1" "take 1" "rate 4"; do
            row "loopback to port ${load% *}" "pasta alone" "$dir/load" "${load% *}" 127.0.0.1 "$port" "$seconds" "${load#* }"
        done
        kill "${pids[-1]}"
    fi
} | tee "$dir/out"
printf '\n## side by side\n'
sort -s -k 1.1,1.26 "$dir/out"

if command -v hyperfine >/dev/null; then
    printf '\n## a start on each network, warm\n'
    "$coracle" run -d --name keeper --network bench bench sleep 10000 >/dev/null
    run="$coracle run --rm --network"
    hyperfine -N --warmup 5 --runs "${RUNS:-40}" --export-json "$dir/r.json" \
        -n "coracle none" "$run none bench true" -n "coracle bridge" "$run bench bench true" >/dev/null 2>"$dir/err" || cat "$dir/err"
    python3 - "$dir/r.json" <<'PY'
import json, sys
for r in json.load(open(sys.argv[1]))["results"]:
    print(f"{r['command']:26} median {r['median'] * 1000:8.2f} ms   min {r['min'] * 1000:8.2f} ms")
PY
    "$coracle" rm -f -t 0 keeper >/dev/null
fi
