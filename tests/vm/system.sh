#!/bin/bash
# A system container: Debian with systemd as pid 1, from a plain login session. Runs in the guest as the user dev;
# tests/vm/run builds the image and starts it.
set -u
passed=0 failed=0
is() { # name, wanted, command line
  local got
  got=$(eval "$3" 2>/tmp/err)
  if [ "$got" = "$2" ]; then echo "ok   $1"; ((passed += 1)); else echo "FAIL $1: got «$got», wanted «$2» $(head -c 600 /tmp/err)"; ((failed += 1)); fi
}
cd ~ || exit
export PATH=$PATH:/share
chmod 755 /share/coracle
coracle import -q --change 'CMD ["/sbin/init"]' /share/debian.tar debian >/dev/null
is "it starts" 0 'coracle run -d --name box --network none --systemd=true --memory 256m debian >/dev/null; echo $?'
for _ in {1..100}; do coracle exec box test -S /run/systemd/private 2>/dev/null && break; sleep 0.1; done
is "it boots" running 'coracle exec box systemctl is-system-running --wait'
is "no unit failed" "" 'coracle exec box systemctl --failed --no-legend'
is "pid 1 is systemd" systemd 'coracle exec box cat /proc/1/comm'
is "its tree is its own" 0::/init.scope 'coracle exec box cat /proc/1/cgroup'
is "it makes groups in it" active 'coracle exec box sh -c "systemd-run -q -u work -p MemoryMax=32M sleep 100; systemctl is-active work"'
is "with limits" 33554432 'coracle exec box cat /sys/fs/cgroup/system.slice/work.service/memory.max'
is "but cannot lift its own" denied 'coracle exec box sh -c "echo max >/sys/fs/cgroup/memory.max" 2>/dev/null && echo lifted || echo denied'
is "it has a journal" yes 'coracle exec box journalctl -q -b -o cat -u work.service | grep -q Started && echo yes'
is "it stops in order" 0 'coracle stop -t 60 box >/dev/null; echo $?'
is "by itself, not killed" "exited" 'coracle inspect --format "{{.State.Status}}" box'
is "with an exit of its own" yes 'c=$(coracle inspect --format "{{.State.ExitCode}}" box); [ "$c" != 137 ] && echo yes || echo "$c"'
coracle logs box 2>&1 | tail -n 3
coracle rm -f -t 0 box >/dev/null
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
