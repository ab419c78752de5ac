#!/bin/bash
# A container with a limit outlives the login that started it. Runs in the guest as root; tests/vm/run starts it.
# logind kills what a session leaves behind: what stays is not in the session.
set -u
failed=0
chmod 755 /share/coracle
mkdir -p /etc/systemd/logind.conf.d
printf '[Login]\nKillUserProcesses=yes\n' >/etc/systemd/logind.conf.d/kill.conf
systemctl kill -s HUP systemd-logind
login() { systemd-run --quiet --wait --collect --pipe -p User=dev -p PAMName=login -p WorkingDirectory=/home/dev bash -lc "PATH=\$PATH:/share; $1"; }
check() { if [ "$2" = "$3" ]; then echo "ok   $1"; else echo "FAIL $1: got «$3», wanted «$2»"; failed=1; fi; }
login 'coracle import -q /share/busybox.tar busybox; coracle run -d --name stays --network none --memory 64m busybox sleep 1000 >/dev/null; cat /proc/self/cgroup' >/tmp/first
check "it was a session" yes "$(grep -q 'session-.*scope' /tmp/first && echo yes)"
for _ in {1..50}; do [ -d "/sys/fs/cgroup$(cut -d: -f3 /tmp/first)" ] || break; sleep 0.1; done
check "that session is gone" no "$([ -d "/sys/fs/cgroup$(cut -d: -f3 /tmp/first)" ] && echo yes || echo no)"
check "the container runs on" running "$(login 'coracle inspect --format "{{.State.Status}}" stays')"
check "exec reaches it from another session" hi "$(login 'coracle exec stays echo hi')"
check "it is stopped in order" "exited 137" "$(login 'coracle stop -t 1 stays >/dev/null; coracle inspect --format "{{.State.Status}} {{.State.ExitCode}}" stays')"
# As root: the system's own manager.
export PATH=$PATH:/share
coracle import -q /share/busybox.tar busybox
check "root's groups" 33554432 "$(coracle run --rm --network none --memory 32m busybox cat /sys/fs/cgroup/memory.max)"
check "root's scopes" 33554432 "$(coracle --cgroup-manager systemd run -d --name r --network none --memory 32m busybox sleep 100 >/dev/null; cat "/sys/fs/cgroup/machine.slice/coracle-$(coracle inspect --format '{{.Id}}' r).scope/container/memory.max")"
coracle rm -f -t 0 r >/dev/null
for _ in {1..50}; do [ -z "$(find /sys/fs/cgroup -name 'coracle-*')" ] && break; sleep 0.1; done
check "nothing is left" "" "$(find /sys/fs/cgroup -name 'coracle-*')"
[ $failed = 0 ]
