#!/bin/bash
# Quadlets of pods and manifests in a real user manager; sockets of units; the API's socket; the generator of the
# system's manager. tests/vm/run starts it, first as root (`root`, whose output is in /tmp/root.out), then as dev.
set -u
export PATH=$PATH:/usr/sbin
failed=0; passed=0
check() { # name, expected, got
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); else
    failed=$((failed + 1)); printf 'FAILED %s: expected %q, got %q\n' "$1" "$2" "$3"; fi
}
until_is() { # name, expected, command…
  local name=$1 expected=$2 got=; shift 2
  for _ in {1..300}; do got=$("$@" 2>&1); [ "$got" = "$expected" ] && break; sleep 0.1; done
  check "$name" "$expected" "$got"
}
done_with() { echo "$passed passed, $failed failed"; [ $failed = 0 ]; exit; }
if [ "${1:-}" = root ]; then
  # The system's manager and its generator.
  cd /root || exit
  coracle import -q /share/busybox.tar busybox >/dev/null
  mkdir -p /etc/containers/systemd
  printf '[Container]\nImage=localhost/busybox\nNetwork=none\nExec=sleep 1000\n[Install]\nWantedBy=multi-user.target\n' >/etc/containers/systemd/own.container
  systemctl daemon-reload
  check 'the generator made it' /etc/containers/systemd/own.container "$(systemctl show -P SourcePath own.service)"
  check 'and the link' own.service "$(ls /run/systemd/generator/multi-user.target.wants 2>/dev/null | grep own)"
  systemctl start own.service
  check 'it is up' active "$(systemctl is-active own.service)"
  check 'main pid' "$(coracle inspect --format '{{.State.ConmonPid}}' systemd-own)" "$(systemctl show -P MainPID own.service)"
  systemctl stop own.service
  check 'it is gone' '' "$(coracle ps -aq)"
  done_with
fi
cd ~ || exit
export XDG_RUNTIME_DIR=/run/user/$UID DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$UID/bus
property() { systemctl --user show -P "$1" "$2"; }
active() { echo $(systemctl --user is-active "$@"); }
cat /tmp/root.out
check 'as root' 'exit 0' "$(tail -n 1 /tmp/root.out)"
coracle import -q /share/busybox.tar busybox >/dev/null
units=~/.config/containers/systemd
mkdir -p $units ~/.config/systemd/user
loop='trap "exit 0" TERM; while :; do sleep 0.1; done'
common=$'Image=localhost/busybox\n'
printf '[Pod]\nNetwork=none\n[Service]\nRestartSec=0\n' >$units/app.pod
printf "[Container]\n${common}Pod=app.pod\nExec=sh -c 'echo web is up; $loop'\n" >$units/web.container
printf "[Unit]\nAfter=web.container\nRequires=web.container\n[Container]\n${common}Pod=app.pod\nExec=sh -c '$loop'\n" >$units/db.container
printf "[Container]\n${common}Network=none\nExec=echo said once\n[Service]\nType=oneshot\n" >$units/says.container
printf "[Container]\n${common}Network=none\nLogDriver=k8s-file\nExec=sh -c 'echo into a file; $loop'\n" >$units/file.container
printf "[Container]\n${common}Pod=app.pod\nStartWithPod=no\nExec=true\n[Service]\nType=oneshot\n" >$units/later.container
cat >$units/all.yml <<Y
apiVersion: v1
kind: Pod
metadata: {name: all}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: one, image: localhost/busybox, imagePullPolicy: Never, command: [sh, -c, '$loop']}
  - {name: two, image: localhost/busybox, imagePullPolicy: Never, command: [sh, -c, '$loop']}
Y
printf '[Unit]\nAfter=app.pod\n[Kube]\nYaml=all.yml\nNetwork=none\nAutoUpdate=local\n[Service]\nWatchdogSec=1\n' >$units/all.kube
sed 's/name: all/name: ends/; s/terminationGrace.*/restartPolicy: Never/; s/trap.*done/exit 7/' $units/all.yml >$units/ends.yml
printf '[Kube]\nYaml=ends.yml\nNetwork=none\nExitCodePropagation=all\n' >$units/ends.kube
printf "[Container]\n${common}ContainerName=page\nNetwork=none\nExec=sh -c 'exec busybox httpd -i -h /srv <&3 >&3'\nMount=type=bind,src=./srv,dst=/srv,ro\n[Service]\nType=oneshot\n" >$units/page@.container
printf '[Socket]\nListenStream=127.0.0.1:8090\nAccept=yes\n' >~/.config/systemd/user/page.socket
mkdir $units/srv; echo served >$units/srv/index.html
systemctl --user daemon-reload
check 'a pod starts' 0 "$(systemctl --user start app-pod.service >&2; echo $?)"
until_is 'and its containers with it' 'active active active' active app-pod web db
check 'but for those that are not to' inactive "$(active later)"
check 'its main pid' "$(coracle inspect --format '{{.State.ConmonPid}}' systemd-app-infra)" "$(property MainPID app-pod.service)"
check "a container's main pid" "$(coracle inspect --format '{{.State.ConmonPid}}' systemd-web)" "$(property MainPID web.service)"
until_is 'logs shows what a service says' 'web is up' coracle logs systemd-web
check 'from the journal' journald "$(coracle inspect --format '{{.HostConfig.LogConfig.Type}}' systemd-web)"
systemctl --user start file.service
until_is 'a driver that is named is kept' 'k8s-file into a file' sh -c 'echo $(coracle inspect --format "{{.HostConfig.LogConfig.Type}}" systemd-file; coracle logs systemd-file)'
systemctl --user stop file.service
check 'they are in the pod' "$(coracle pod inspect --format '{{.ID}}' systemd-app)" "$(coracle inspect --format '{{.Pod}}' systemd-db)"
case $(systemctl --user status app-pod.service) in *"Main PID: $(property MainPID app-pod.service) "*) ok=yes ;; *) ok=no ;; esac
check 'status shows the main pid' yes "$ok"
after() { [ "$(property ActiveEnterTimestampMonotonic $1)" -le "$(property ActiveEnterTimestampMonotonic $2)" ] && echo yes; }
check 'in order' 'yes yes' "$(echo $(after app-pod.service web.service) $(after web.service db.service))"
check 'one for later' 0 "$(systemctl --user start later.service >&2; echo $?)"
check 'restart of one' 0 "$(systemctl --user restart web.service >&2; echo $?)"
until_is 'brings those that need it along' 'active active active' active app-pod web db
systemctl --user stop db.service
check 'restart of the only one' 0 "$(systemctl --user restart web.service >&2; echo $?)"
check 'leaves the pod up' 'active active' "$(active app-pod web)"
check 'restart of the pod' 0 "$(systemctl --user restart app-pod.service >&2; echo $?)"
until_is 'starts all again' 'active active active' active app-pod web db
coracle kill -s KILL systemd-web >/dev/null
until_is 'what fails is told' failed property ActiveState web.service
systemctl --user stop app-pod.service
check 'stop ends them all' 'inactive failed inactive' "$(active app-pod web db)"
check 'in good order' success "$(property Result app-pod.service)"
check 'nothing is left' '' "$(coracle ps -aq; coracle pod ps -q)"
until_is 'the journal has what a container says' 1 sh -c 'journalctl --user -q -o cat CONTAINER_NAME=systemd-web 2>/dev/null | grep -c "web is up" | sed s/[1-9].*/1/'
until_is 'and knows it by its unit' 1 sh -c 'journalctl --user -q -u web.service 2>/dev/null | grep -c " systemd-web\[.*web is up" | sed s/[1-9].*/1/'
# Once is enough: what a command in the foreground relays is in the journal already.
systemctl --user start says.service
until_is 'one in the foreground is there once' 1 sh -c 'journalctl --user -q -o cat -u says.service 2>/dev/null | grep -c "said once"'
# A manifest.
check 'a manifest starts' 0 "$(systemctl --user start all.service >&2; echo $?)"
check 'it runs' 'running running' "$(echo $(coracle inspect --format '{{.State.Status}}' all-one all-two))"
check 'and logs to the journal' journald "$(coracle inspect --format '{{.HostConfig.LogConfig.Type}}' all-one)"
case $(tr '\0' ' ' </proc/$(property MainPID all.service)/cmdline) in *"kube play"*) ok=yes ;; *) ok=no ;; esac
check 'its main process plays it' yes "$ok"
# Its watchdog hears of it, and a newer image is taken.
coracle run --name newer --network none busybox touch /newer && coracle commit -q newer localhost/busybox:latest >/dev/null
coracle rm newer >/dev/null
sleep 2
check 'the watchdog is content' 'active 0' "$(active all) $(property NRestarts all.service)"
pid=$(property MainPID all.service)
check 'a newer image is taken' 'true true' "$(echo $(coracle auto-update --format '{{.Updated}}' 2>&1))"
check 'by a restart of the unit' different "$([ "$pid" = "$(property MainPID all.service)" ] && echo same || echo different)"
check 'with the new one' '/newer' "$(coracle exec all-two ls /newer)"
check 'restart' 0 "$(systemctl --user restart all.service >&2; echo $?)"
check 'it runs again' 'running running' "$(echo $(coracle inspect --format '{{.State.Status}}' all-one all-two))"
systemctl --user stop all.service
check 'stop' 'inactive success' "$(property ActiveState all.service) $(property Result all.service)"
check 'no pod is left' '' "$(coracle pod ps -q)"
# The same by the template that is shipped.
sed 's/^spec:/&\n  hostNetwork: true/' $units/all.yml >$units/host.yml
kube=coracle-kube@$(systemd-escape $units/host.yml).service
check 'the template starts it' 0 "$(systemctl --user start $kube >&2; echo $?)"
check 'all of it' 'running running' "$(echo $(coracle inspect --format '{{.State.Status}}' all-one all-two))"
systemctl --user stop $kube
check 'and stops it' 'success ' "$(property Result $kube) $(coracle pod ps -q)"
systemctl --user start --no-block ends.service
until_is 'its end is the end of the service' failed property ActiveState ends.service
check 'with the exit code' 7 "$(property ExecMainStatus ends.service)"
check 'and all is taken away' '' "$(coracle pod ps -q)"
# A pod with limits: its containers stay services, and are where the limits are.
printf '[Pod]\nNetwork=none\nPodmanArgs=--memory 64m\n' >$units/lim.pod
printf "[Container]\n${common}Pod=lim.pod\nMemory=32m\nExec=sh -c '$loop'\n" >$units/inlim.container
systemctl --user daemon-reload
check 'a pod with limits starts' 0 "$(systemctl --user start lim-pod.service >&2; echo $?)"
until_is 'with its container' 'active active' active lim-pod inlim
group=$(coracle pod inspect --format '{{.CgroupPath}}' systemd-lim)
check 'limits of the pod, and of the container' '67108864 33554432' "$(echo $(cat $group/memory.max $group/coracle-$(coracle inspect --format '{{.Id}}' systemd-inlim)/memory.max))"
check 'the main process is in the unit' yes "$(grep -q inlim.service /proc/$(property MainPID inlim.service)/cgroup && echo yes)"
check 'exec' yes "$(coracle exec systemd-inlim echo yes)"
systemctl --user stop lim-pod.service
check 'and ends in good order' 'inactive inactive' "$(active lim-pod inlim)"
check 'its group goes' no "$([ -e $group ] && echo yes || echo no)"
# Units that are generated.
coracle pod create --network none --label a='b c' gen >/dev/null
coracle create --pod gen --name gen-one busybox sh -c "$loop" >/dev/null
(cd ~/.config/systemd/user && coracle generate systemd --new --name --files gen >/dev/null)
coracle pod rm -f gen >/dev/null
systemctl --user daemon-reload
systemctl --user start pod-gen.service
until_is 'a generated pod runs with its container' 'active active' active pod-gen container-gen-one
check 'its main pid' "$(coracle inspect --format '{{.State.ConmonPid}}' gen-infra)" "$(property MainPID pod-gen.service)"
check 'its label' 'b c' "$(coracle pod inspect --format '{{.Labels.a}}' gen)"
systemctl --user stop pod-gen.service
check 'it stops' 'inactive inactive' "$(active pod-gen container-gen-one)"
check 'and is gone' '' "$(coracle ps -aq; coracle pod ps -q)"
# A server that a connection starts.
systemctl --user start page.socket
check 'the first request is answered' served "$(curl -s --max-time 60 http://127.0.0.1:8090/index.html)"
# The API's socket.
systemctl --user start coracle.socket
check 'nobody serves yet' inactive "$(active coracle.service)"
check 'the first connection is answered' OK "$(curl -s --max-time 60 --unix-socket $XDG_RUNTIME_DIR/coracle/coracle.sock http://d/_ping)"
check 'by the service' active "$(active coracle.service)"
done_with
