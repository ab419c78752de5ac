#!/bin/bash
# Containers as services of a real user manager: quadlets, readiness, failure, sockets; then what a
# reboot leaves. Three times on one disk; tests/vm/run starts it, and puts the generator in its place.
#   first;  second: after a reboot, with linger;  third: after a login without linger.
set -u
cd ~ || exit
export XDG_RUNTIME_DIR=/run/user/$UID DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/$UID/bus
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
property() { systemctl --user show -P "$1" "$2"; }
state() { coracle inspect --format '{{.State.Status}}' "$1" 2>&1; }
case $1 in
first)
  coracle import -q /share/busybox.tar busybox >/dev/null
  units=~/.config/containers/systemd
  mkdir -p $units ~/.config/systemd/user
  common=$'Image=localhost/busybox\nNetwork=none\n'
  printf '[Container]\n%sVolume=data.volume:/data\nExec=sh -c "trap '"'exit 0'"' TERM; echo started; while :; do sleep 0.1; done"\n[Service]\nRestart=on-failure\nRestartSec=0\n[Install]\nWantedBy=default.target\n' "$common" >$units/web.container
  printf '[Volume]\n' >$units/data.volume
  printf '[Container]\n%sExec=sh -c "exit 3"\n' "$common" >$units/fails.container
  printf '[Container]\n%sExec=true\n[Service]\nType=oneshot\nRemainAfterExit=yes\n' "$common" >$units/once.container
  printf '[Container]\n%sNotify=healthy\nHealthCmd=test -e /up\nHealthInterval=200ms\nExec=sleep 1000\n' "$common" >$units/healthy.container
  printf '[Unit]\nRequires=web.container\nAfter=web.container\n[Container]\n%sExec=sleep 1000\n' "$common" >$units/after.container
  printf '[Container]\n%sContainerName=page\nExec=sh -c "exec cat /answer <&3 >&3"\nMount=type=bind,src=./answer,dst=/answer,ro\n[Service]\nType=oneshot\n' "$common" >$units/page@.container
  printf 'served\n' >$units/answer
  printf '[Socket]\nListenStream=127.0.0.1:8088\nAccept=yes\n' >~/.config/systemd/user/page.socket
  printf '[Container]\nImages=typo\n' >$units/bad.container
  systemctl --user daemon-reload
  check 'the generator made it' "$units/web.container" "$(property SourcePath web.service)"
  check 'a bad one is left out' not-found "$(property LoadState bad.service)"
  check 'quadlet list' 'Not loaded' "$(coracle quadlet list --filter name=bad.container --format '{{.Status}}' 2>&1)"
  check 'start' 0 "$(systemctl --user start after.service >&2; echo $?)"
  check 'it runs' running "$(state systemd-web)"
  check 'so does the volume' active "$(property ActiveState data-volume.service)"
  check 'main pid' "$(coracle inspect --format '{{.State.ConmonPid}}' systemd-web)" "$(property MainPID web.service)"
  case $(systemctl --user status web.service) in *coracle-monitor*|*coracle*) ok=yes ;; *) ok=no ;; esac
  check 'status shows the monitor' yes "$ok"
  # Another's stop, and its dependants'.
  systemctl --user stop after.service
  check 'units survive a stop of others' active "$(property ActiveState web.service)"
  pid=$(property MainPID web.service)
  coracle kill -s KILL systemd-web >/dev/null
  until_is 'killed, it is started again' 1 property NRestarts web.service
  until_is 'and runs' running state systemd-web
  check 'with another monitor' different "$([ "$pid" = "$(property MainPID web.service)" ] && echo same || echo different)"
  systemctl --user restart web.service
  check 'restart' running "$(state systemd-web)"
  systemctl --user stop web.service
  check 'stop' inactive "$(property ActiveState web.service)"
  check 'the container is gone' '' "$(coracle ps -aq --filter name=systemd-web)"
  check 'stopped in order' success "$(property Result web.service)"
  systemctl --user start fails.service
  until_is 'a failure is told' failed property ActiveState fails.service
  check 'with its exit code' 3 "$(property ExecMainStatus fails.service)"
  systemctl --user start once.service
  check 'once' active "$(property ActiveState once.service)"
  systemctl --user start --no-block healthy.service
  until_is 'it runs and is not up' starting coracle inspect --format '{{.State.Health.Status}}' systemd-healthy
  check 'systemd waits' activating "$(property ActiveState healthy.service)"
  coracle exec systemd-healthy touch /up
  until_is 'healthy is up' active property ActiveState healthy.service
  systemctl --user stop healthy.service
  systemctl --user start page.socket
  exec 3<>/dev/tcp/127.0.0.1/8088
  check 'a socket starts it and the first request is answered' served "$(timeout 60 cat <&3)"
  exec 3>&-
  systemctl --user start web.service
  # Without a quadlet.
  coracle create --name plain --network none busybox sleep 1000 >/dev/null
  if coracle generate systemd --help >/dev/null 2>&1; then
    (cd ~/.config/systemd/user && coracle generate systemd --name --files plain >/dev/null)
    coracle run -d --name anew --network none --label a='b c' busybox sleep 1000 >/dev/null
    (cd ~/.config/systemd/user && coracle generate systemd --new --name --files anew >/dev/null)
    coracle rm -f -t 0 anew >/dev/null
    systemctl --user daemon-reload
    systemctl --user start container-plain.service container-anew.service
    check 'generated' 'active active' "$(echo $(systemctl --user is-active container-plain container-anew))"
    check 'its main pid' "$(coracle inspect --format '{{.State.ConmonPid}}' plain)" "$(property MainPID container-plain.service)"
    check 'its label' 'b c' "$(coracle inspect --format '{{.Config.Labels.a}}' anew)"
    systemctl --user stop container-plain.service container-anew.service
    check 'stopped' 'exited' "$(state plain)"
    check 'and gone' '' "$(coracle ps -aq --filter name=anew)"
  fi
  # An update that has to be well.
  if coracle auto-update --help >/dev/null 2>&1; then
    make() { # name of the container it is made of, file in it
      coracle run --name "$1" --network none busybox touch "$2" && coracle commit -q "$1" localhost/app:latest >/dev/null
      coracle rm "$1" >/dev/null
    }
    updated() { coracle auto-update --format '{{.Updated}}' 2>/dev/null; }
    image() { coracle inspect --format '{{.Image}}' systemd-app; }
    make one /good
    printf '[Container]\nImage=localhost/app:latest\nNetwork=none\nAutoUpdate=local\nNotify=healthy\nHealthCmd=test -e /good\nHealthInterval=200ms\nExec=sleep 1000\n[Service]\nTimeoutStartSec=15\n' >$units/app.container
    systemctl --user daemon-reload
    systemctl --user start app.service
    check 'nothing is newer' false "$(updated)"
    first=$(image)
    make two /good
    check 'a good one is taken' true "$(updated)"
    second=$(image)
    check 'it is another' different "$([ "$first" = "$second" ] && echo same || echo different)"
    make bad /bad
    check 'a bad one is given back' 'rolled back' "$(updated)"
    check 'the old one runs' "$second" "$(image)"
    check 'and is up' active "$(property ActiveState app.service)"
    systemctl --user stop app.service
  fi
  # For the reboot.
  coracle system boot enable >/dev/null
  coracle run -d --name always --restart always --network none busybox sleep 100000 >/dev/null
  coracle run -d --name stopped --restart unless-stopped --network none busybox sleep 100000 >/dev/null
  coracle stop -t 0 stopped >/dev/null
  coracle run -d --name no --network none busybox sleep 100000 >/dev/null
  sync
  ;;
second|third)
  until_is 'the boot unit is done' active property ActiveState coracle-boot.service
  until_is 'always runs' running state always
  check 'what was stopped is not' exited "$(state stopped)"
  check 'nor what has no policy' exited "$(state no)"
  until_is 'so does what default.target wants' active property ActiveState web.service
  check 'boot status' 0 "$(coracle system boot status >&2; echo $?)"
  if [ "$1" = third ]; then
    check 'status knows of linger' yes "$(coracle system boot status | grep -q 'linger: no' && echo yes)"
    check 'and says so' yes "$(coracle run -d --restart always --network none busybox sleep 1000 2>&1 >/dev/null | grep -q enable-linger && echo yes)"
  fi
  ;;
esac
echo "$passed passed, $failed failed"
[ $failed = 0 ]
