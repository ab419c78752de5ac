#!/bin/bash
# Limits, from a plain login session: the scopes that systemd makes for them, what the kernel enforces, and what is
# left. Runs in the guest as the user dev, on both engines; tests/vm/run starts it.
set -u
passed=0 failed=0 skipped=0
ok() { # name, command line
  local out
  if out=$(eval "$2" 2>&1); then echo "ok   $1"; ((passed += 1)); else echo "FAIL $1: $(head -c 900 <<<"$out")"; ((failed += 1)); fi
}
is() { # name, wanted, command line
  local got
  got=$(eval "$3" 2>/tmp/err)
  if [ "$got" = "$2" ]; then echo "ok   $1"; ((passed += 1)); else echo "FAIL $1: got «$got», wanted «$2» $(head -c 900 /tmp/err)"; ((failed += 1)); fi
}
skip() { echo "skip $1"; ((skipped += 1)); }
between() { # name, lowest, highest, number
  if [ "$4" -ge "$2" ] && [ "$4" -le "$3" ]; then echo "ok   $1 ($4)"; ((passed += 1)); else echo "FAIL $1: $4 is not between $2 and $3"; ((failed += 1)); fi
}
soon() { # command line: true within 10 s
  local i; for i in {1..100}; do eval "$1" >/dev/null 2>&1 && return 0; sleep 0.1; done; eval "$1"
}
cd ~ || exit
export PATH=$PATH:/share
chmod 755 /share/coracle
user=/sys/fs/cgroup/user.slice/user-$(id -u).slice/user@$(id -u).service
has() { grep -qw "$1" "$user/cgroup.controllers"; }
run() { coracle run --network none "$@"; }
id_of() { coracle inspect --format '{{.Id}}' "$1"; }
group() { echo "$user/user.slice/coracle-$(id_of "$1").scope/container"; }
echo "kernel $(uname -r), $(cat /proc/self/cgroup), controllers: $(cat "$user/cgroup.controllers")"
coracle import -q /share/busybox.tar busybox

echo "# where containers are"
is "this is a login session" yes '[[ $(</proc/self/cgroup) == */session-*.scope ]] && echo yes'
is "without a limit there is no scope" 0 'run -d --name plain busybox sleep 1000 >/dev/null; ls -d "$user"/user.slice/coracle-*.scope 2>/dev/null | wc -l'
coracle rm -f -t 0 plain >/dev/null
ok "with a limit there is one" 'run -d --name web --memory 64m --cpus 0.5 --pids-limit 50 busybox sleep 1000'
ok "systemd knows it" 'systemctl --user is-active coracle-$(id_of web).scope'
ok "systemd-cgls shows it" 'systemd-cgls --no-pager | grep -q "coracle-$(id_of web).scope"'
is "it says whose it is" "coracle container web" 'systemctl --user show -P Description coracle-$(id_of web).scope'
is "the container sees only its own" 0::/ 'coracle exec web cat /proc/self/cgroup'
is "inspect names the group" "$(group web)" 'coracle inspect --format "{{.State.CgroupPath}}" web | sed "s,^/user.slice,/sys/fs/cgroup/user.slice,"'
is "a process of exec is in it, too" "$(group web)" 'coracle exec -d web sleep 77 >/dev/null; p=$(soon "pgrep -x -f \"sleep 77\"" && pgrep -x -f "sleep 77"); echo "/sys/fs/cgroup$(cut -d: -f3 /proc/$p/cgroup)"'

echo "# what the kernel was told"
is "memory" 67108864 'cat $(group web)/memory.max'
is "as much swap as memory" 67108864 'cat $(group web)/memory.swap.max 2>/dev/null || echo 67108864'
is "cpu" "50000 100000" 'cat $(group web)/cpu.max'
is "processes" 50 'cat $(group web)/pids.max'
ok "update" 'coracle update --memory 96m --memory-reservation 32m --cpu-shares 512 --pids-limit 60 web'
is "memory, updated" 100663296 'cat $(group web)/memory.max'
is "reservation" 33554432 'cat $(group web)/memory.low'
is "weight" 20 'cat $(group web)/cpu.weight'
is "processes, updated" 60 'cat $(group web)/pids.max'
is "the quota stays" "50000 100000" 'cat $(group web)/cpu.max'
ok "raw settings" 'coracle update --cgroup-conf memory.high=80M --cgroup-conf memory.oom.group=1 web'
is "memory.high" 83886080 'cat $(group web)/memory.high'
is "memory.oom.group" 1 'cat $(group web)/memory.oom.group'
refused=$(run --rm --cgroup-conf memory.nonsense=1 busybox true 2>&1)
ok "a file that is not there is refused by name" '[[ $refused == *memory.nonsense* ]]'
if has cpuset; then
  is "cpuset" 0 'run --rm --cpuset-cpus 0 busybox cat /sys/fs/cgroup/cpuset.cpus.effective'
else
  refused=$(run --rm --cpuset-cpus 0 busybox true 2>&1)
  ok "a controller that is not there is refused by name" '[[ $refused == *"no cpuset controller"* ]]'
fi
if [ -e "$user/io.weight" ]; then
  is "disk weight" "default 4950" 'run --rm --blkio-weight 500 busybox cat /sys/fs/cgroup/io.weight'
else
  refused=$(run --rm --blkio-weight 500 busybox true 2>&1)
  ok "a kernel without io.weight says so" '[[ $refused == *io.weight* ]]'
fi

echo "# pause and figures"
ok "pause" 'coracle pause web'
is "frozen by its group" 1 'cat $(group web)/cgroup.freeze'
ok "unpause" 'coracle unpause web'
is "thawed" 0 'cat $(group web)/cgroup.freeze'
ok "stats as a table" 'coracle stats --no-stream web | grep -q "/ 100"'
is "stats as json" web 'coracle stats --no-stream --format json web | grep -o "\"name\": *\"web\"" | grep -o web'
ok "a stream of stats" 'timeout 30 coracle stats --format "{{.Name}}" -i 1 web | head -n 2 | grep -q web'

echo "# stopped by systemd"
ok "systemctl --user stop" 'systemctl --user stop coracle-$(id_of web).scope'
ok "the container has ended" 'soon "[ \$(coracle inspect --format {{.State.Status}} web) = exited ]"'
is "its end is recorded" "exited 137" 'coracle inspect --format "{{.State.Status}} {{.State.ExitCode}}" web'
ok "it starts again" 'coracle start web'
is "with its limits" 100663296 'cat $(group web)/memory.max'
ok "rm" 'coracle rm -f -t 0 web'
ok "no scope is left" 'soon "! ls -d $user/user.slice/coracle-*.scope"'

echo "# enforced"
is "a memory limit kills" 137 'run --name oom --memory 16m --memory-swap 16m busybox sh -c "x=aaaaaaaaaaaaaaaa; while :; do x=\$x\$x; done" >/dev/null 2>&1; echo $?'
is "and is recorded" true 'coracle inspect --format "{{.State.OOMKilled}}" oom'
is "and is an event" oom 'coracle events --stream=false --filter event=oom --format "{{.Status}}" | tail -n 1'
coracle rm oom >/dev/null
# Killed inside, and survived: told at once, while the container lives.
ok "a container that outlives a kill" 'run -d --name tough --memory 24m --memory-swap 24m busybox sh -c "(x=aaaaaaaaaaaaaaaa; while :; do x=\$x\$x; done); sleep 1000"'
ok "the event comes while it lives" 'soon "coracle events --stream=false --filter event=oom --filter container=tough --format {{.Status}} | grep -q oom"'
is "and inspect says so" "running true" 'coracle inspect --format "{{.State.Status}} {{.State.OOMKilled}}" tough'
is "once for one kill" 1 'coracle stop -t 0 tough >/dev/null; coracle events --stream=false --filter event=oom --filter container=tough --format "{{.Status}}" | wc -l'
is "it stays in the record" true 'coracle inspect --format "{{.State.OOMKilled}}" tough'
coracle rm tough >/dev/null
is "processes" yes 'run --rm --pids-limit 8 busybox sh -c "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 5 & done" 2>&1 | grep -qi "fork" && echo yes'
# A fifth of a processor, over five seconds of the container's own clock.
read -r before after from to < <(run --rm --cpus 0.2 busybox sh -c '
  usage() { while read -r k v; do [ $k = usage_usec ] && echo $v; done </sys/fs/cgroup/cpu.stat; }
  now() { read -r t _ </proc/uptime; echo ${t%.*}${t#*.}0000; }
  while :; do :; done &
  sleep 1; a=$(usage) f=$(now); sleep 5; b=$(usage) t=$(now); kill $!
  echo $a $b $f $t')
between "cpu quota of 20 %, measured, per mille" 180 220 $(((after - before) * 1000 / (to - from)))
disk=/dev/$(basename "$(readlink -f "/sys/dev/block/$(stat -c %Hd:%Ld ~)")")
if has io && [ -b "$disk" ]; then
  is "bytes a second to $disk" "wbps=1048576" 'run --rm --device-write-bps $disk:1mb busybox cat /sys/fs/cgroup/io.max | grep -o "wbps=[0-9]*"'
  start=$(date +%s%N)
  ok "4 MiB written at 1 MiB a second" 'mkdir -p ~/data; run --rm -v ~/data:/data --device-write-bps $disk:1mb busybox busybox dd if=/dev/zero of=/data/file bs=64k count=64 oflag=direct'
  between "took milliseconds" 3000 9000 $((($(date +%s%N) - start) / 1000000))
  ok "operations a second, updated" 'run -d --name io --device-read-iops $disk:100 busybox sleep 100; coracle update --device-read-iops $disk:50 io; grep -q riops=50 $(group io)/io.max'
  coracle rm -f -t 0 io >/dev/null
else
  skip "io: no controller or no disk ($disk)"
fi

echo "# a pod with limits for all of its containers"
ok "pod create" 'coracle pod create --name pod --network none --memory 96m --cpus 0.5 --cpu-shares 512'
ok "one in it" 'coracle run -d --pod pod --name one busybox sleep 1000'
ok "one with a limit of its own" 'coracle run -d --pod pod --name two --memory 32m busybox sleep 1000'
pod=$(coracle pod inspect pod --format '{{.CgroupPath}}')
is "inspect knows them" "100663296 50000 512" 'coracle pod inspect pod --format "{{.memory_limit}} {{.cpu_quota}} {{.cpu_shares}}"'
is "and so does the kernel" "100663296 50000 100000 20" 'echo $(cat $pod/memory.max $pod/cpu.max $pod/cpu.weight)'
is "all are below" 3 'ls -d $pod/coracle-*/ | wc -l'
is "with what is their own" 33554432 'cat $pod/coracle-$(id_of two)/memory.max'
is "exec goes there, too" "$pod/coracle-$(id_of one)" 'coracle exec -d one sleep 78 >/dev/null; soon "pgrep -x -f \"sleep 78\""; echo "/sys/fs/cgroup$(cut -d: -f3 /proc/$(pgrep -x -f "sleep 78")/cgroup)"'
is "the memory of all is limited" 137 'coracle exec one sh -c "x=aaaaaaaaaaaaaaaa; while :; do x=\$x\$x; done"; echo $?'
usage() { sed -n 's/^usage_usec //p' $pod/cpu.stat; }
now() { read -r t _ </proc/uptime; echo ${t%.*}${t#*.}0000; }
for c in one two; do coracle exec -d $c sh -c "while :; do :; done" >/dev/null; done
sleep 1; before=$(usage) from=$(now); sleep 4; after=$(usage) to=$(now)
between "and their processor time: half of one, measured, per mille" 440 560 $(((after - before) * 1000 / (to - from)))
ok "stop" 'coracle pod stop -t 0 pod'
ok "its group goes" 'soon "! [ -e $pod ]"'
ok "start" 'coracle pod start pod'
is "limited again" 100663296 'cat $(coracle pod inspect pod --format "{{.CgroupPath}}")/memory.max'
ok "without the one that holds it" 'coracle kill -s KILL pod-infra && soon "coracle pod ps | grep -q Degraded" && coracle pod start pod'
is "all run again" Running 'coracle pod ps --format "{{.Status}}"'
refused=$(coracle run --rm --pod pod --cgroups disabled busybox true 2>&1)
ok "nobody gets out" '[[ $refused == *contradict* ]]'
ok "clone" 'coracle pod stop -t 0 pod && coracle pod clone --start pod && [ $(cat $(coracle pod inspect pod-clone --format "{{.CgroupPath}}")/memory.max) = 100663296 ]'
coracle pod rm -fa -t 0 >/dev/null
# Begun below the user manager, gone on with in a session.
coracle pod create --name pod --network none --memory 96m >/dev/null
ok "below the user manager" 'systemd-run --user --scope -q coracle run -d --pod pod --name one busybox sleep 1000'
ok "and from a session" 'coracle run -d --pod pod --name two busybox sleep 1000'
pod=$(coracle pod inspect pod --format '{{.CgroupPath}}')
is "they share a group" "100663296 3" 'echo $(cat $pod/memory.max) $(ls -d $pod/coracle-*/ | wc -l)'
is "exec reaches both" "yes yes" 'echo $(for c in one two; do coracle exec $c echo yes; done)'
ok "remove" 'coracle pod rm -f -t 0 pod; soon "! [ -e $pod ]"'

echo "# again and again, and killed"
ok "a restart policy inside one scope" 'run -d --name again --restart on-failure:2 --memory 32m busybox sh -c "exit 3" && soon "[ \"\$(coracle inspect --format \"{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}\" again)\" = \"exited 2 3\" ]"'
coracle rm -f again >/dev/null
for where in "" "systemd-run --user --scope -q"; do
  $where coracle run -d --name lost --network none --memory 32m busybox sleep 1000 >/dev/null
  path=$(coracle inspect --format '{{.State.CgroupPath}}' lost)
  ok "a group below ${path#"$user"/}" '[ -d "$path" ]'
  kill -9 "$(coracle inspect --format '{{.State.ConmonPid}}' lost)"
  is "a killed monitor is seen" "exited -1" 'soon "coracle ps -a | grep -q Exited"; coracle inspect --format "{{.State.Status}} {{.State.ExitCode}}" lost'
  ok "its group goes" 'coracle rm -f lost; soon "! [ -e $path ]"'
done

echo "# other places"
ok "a slice of one's own" 'run -d --name sliced --cgroup-parent work.slice busybox sleep 100 && [ -d $user/work.slice/coracle-$(id_of sliced).scope ]'
coracle rm -f -t 0 sliced >/dev/null
ok "--cgroup-manager systemd makes a scope without a limit" 'coracle --cgroup-manager systemd run -d --name asked --network none busybox sleep 100 && [ -d $(group asked) ]'
coracle rm -f -t 0 asked >/dev/null
refused=$(coracle --cgroup-manager cgroupfs run --rm --network none --memory 32m busybox true 2>&1)
ok "cgroupfs cannot, in a session" '[[ $refused == *"no cgroup is delegated to you"* ]]'
refused=$(run --rm --cgroups disabled --memory 32m busybox true 2>&1)
ok "no group and a limit" '[[ $refused == *contradict* ]]'
refused=$(run --rm --cgroups split busybox true 2>&1)
ok "split is refused where the group is not ours" '[[ $refused == *"Delegate=yes"* ]]'
is "split in a unit" yes 'systemd-run --user -q --pipe --wait -p Delegate=yes -u splitter /share/coracle run --rm --network none --cgroups split --memory 32m busybox cat /sys/fs/cgroup/memory.max | grep -q 33554432 && echo yes'
is "below the user manager no scope is needed" 33554432 'systemd-run --user --scope -q coracle run --rm --network none --memory 32m busybox cat /sys/fs/cgroup/memory.max'

echo "# nothing stays"
ok "remove all" 'coracle rm -fa -t 0'
ok "no group of ours is left" 'soon "[ -z \"\$(find /sys/fs/cgroup -name \"coracle-*\" 2>/dev/null)\" ]"'
is "no failed unit either" 0 'systemctl --user list-units --all --no-legend "coracle-*" | wc -l'
coracle system reset -f >/dev/null
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
