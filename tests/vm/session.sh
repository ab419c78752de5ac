#!/bin/bash
# What only a real login has: a user manager, cgroup v2 with delegated controllers, a journal, a runtime folder that
# logout empties. Runs in the guest as the user dev; tests/vm/run starts it.
set -u
passed=0 failed=0
ok() { # name, command line
  local out
  if out=$(eval "$2" 2>&1); then echo "ok   $1"; ((passed += 1)); else echo "FAIL $1: $out"; ((failed += 1)); fi
}
is() { # name, wanted, command line
  local got
  got=$(eval "$3" 2>/tmp/err)
  if [ "$got" = "$2" ]; then echo "ok   $1"; ((passed += 1)); else echo "FAIL $1: got «$got», wanted «$2» $(head -c 600 /tmp/err)"; ((failed += 1)); fi
}
cd ~ || exit
export PATH=$PATH:/share
chmod 755 /share/coracle
echo "kernel $(uname -r), $(cat /proc/self/cgroup)"

ok "the built-in image runs" 'coracle run --rm hello'
ok "import" 'coracle import -q /share/busybox.tar busybox'
is "run" hi 'coracle run --rm --network none busybox echo hi'
is "state lives in the login's folders" yes '[ -d ~/.local/share/coracle/store ] && [ -d $XDG_RUNTIME_DIR/coracle ] && echo yes'
is "keep-id" "$(id -u)" 'coracle run --rm --network none --userns keep-id busybox id -u'

echo "# cgroup v2"
# limits.sh has the rest, from a plain session; here what is below the user manager already.
scoped() { systemd-run --user --scope -q coracle "$@"; }
is "a memory limit is what the kernel enforces" 33554432 'scoped run --rm --network none --memory 32m busybox cat /sys/fs/cgroup/memory.max'
is "a memory limit kills" 137 'scoped run --network none --name oom --memory 16m --memory-swap 16m busybox sh -c "x=aaaaaaaaaaaaaaaa; while :; do x=\$x\$x; done" >/dev/null 2>&1; echo $?'
is "and is recorded" true 'coracle inspect --format "{{.State.OOMKilled}}" oom'
is "a pids limit" 5 'scoped run --rm --network none --pids-limit 5 busybox cat /sys/fs/cgroup/pids.max'
is "the default pids limit" 2048 'scoped run --rm --network none busybox cat /sys/fs/cgroup/pids.max'
is "a cpu quota" "50000 100000" 'scoped run --rm --network none --cpus 0.5 busybox cat /sys/fs/cgroup/cpu.max'
is "a private view of the tree" 0::/ 'coracle run --rm --network none busybox cat /proc/self/cgroup'

echo "# detached, paused, stopped"
ok "detached" 'coracle run -d --name web --network none busybox sleep 1000'
is "it runs" running 'coracle inspect --format "{{.State.Status}}" web'
ok "pause" 'coracle pause web'
is "paused" paused 'coracle inspect --format "{{.State.Status}}" web'
ok "unpause" 'coracle unpause web'
ok "stats" 'coracle stats --no-stream web | grep -q web'
is "stop" 0 'coracle stop -t 1 web >/dev/null; echo $?'
is "no cgroup is left" 0 'find /sys/fs/cgroup/user.slice -name "*$(coracle inspect --format "{{.Id}}" web)*" | wc -l'

echo "# the journal"
ok "journald driver" 'coracle run --name talk --network none --log-driver journald busybox echo from the container'
ok "it is in the journal under the container's name" 'for i in 1 2 3 4 5 6 7 8 9 10; do journalctl --user -q -o cat CONTAINER_NAME=talk 2>/dev/null | grep -q "from the container" && exit 0; journalctl -q -o cat CONTAINER_NAME=talk 2>/dev/null | grep -q "from the container" && exit 0; sleep 0.3; done; exit 1'

echo "# nothing stays"
ok "remove all" 'coracle rm -fa'
ok "reset" 'coracle system reset -f'
is "no process of ours is left but the idle holder" 0 'pgrep -l coracle | grep -vc holder'

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
