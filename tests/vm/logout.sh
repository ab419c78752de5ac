#!/bin/bash
# Logout and the next login without linger, and what the journal has. Runs in the guest as root;
# tests/vm/run starts it. logind ends what a session leaves behind, and the user's manager with it.
set -u
failed=0
check() { if [ "$2" = "$3" ]; then echo "ok   $1"; else echo "FAIL $1: got «$3», wanted «$2»"; failed=1; fi; }
until_is() { # name, expected, command…
  local name=$1 expected=$2 got=; shift 2
  for _ in {1..200}; do got=$("$@" 2>&1); [ "$got" = "$expected" ] && break; sleep 0.1; done
  check "$name" "$expected" "$got"
}
chmod 755 /share/coracle
rm -f /var/lib/systemd/linger/dev
mkdir -p /etc/systemd/logind.conf.d
printf '[Login]\nKillUserProcesses=yes\nUserStopDelaySec=0\n' >/etc/systemd/logind.conf.d/kill.conf
systemctl restart systemd-logind
systemctl stop user@1000.service
# logind forgets a user a moment after his last session: who logs in before that gets no manager.
forgotten() { until_is "$1" 'no such user' bash -c 'loginctl show-user dev >/dev/null 2>&1 || echo no such user'; }
login() { systemd-run --quiet --wait --collect --pipe -p User=dev -p PAMName=login -p WorkingDirectory=/home/dev bash -lc "export XDG_RUNTIME_DIR=/run/user/1000 DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus PATH=\$PATH:/share; $1"; }
login 'coracle import -q /share/busybox.tar busybox; coracle system boot enable' >/dev/null 2>&1
forgotten 'logind forgets who left'
told=$(login 'run="coracle run -d --network none --stop-timeout 1"
  $run --name always --restart always busybox sleep 1000; $run --name plain busybox sleep 1000
  $run --name limited --restart unless-stopped --memory 64m busybox sleep 1000
  coracle run --rm --network none --name tells --log-driver journald busybox sh -c "echo told; echo twice"' 2>&1)
check 'what ends at logout is told of' yes "$(grep -q 'enable-linger' <<<"$told" && echo yes || echo "$told")"
check 'the journal knows the container by its name' 'told twice' "$(echo $(journalctl -o cat CONTAINER_NAME=tells))"
until_is 'the manager ends with the session' inactive systemctl is-active user@1000.service
until_is 'and so does all that was ours' '' pgrep -u dev
forgotten 'and logind forgets the user'
# The next login: `always` was ended by nobody's wish.
login 'for _ in {1..100}; do [ "$(coracle ps -q --filter status=running | wc -l)" = 2 ] && break; sleep 0.1; done
  coracle ps -a --format "{{.Names}} {{.State}}" | sort; coracle stop always limited' >/tmp/second
check 'it starts what a policy wants' "always running|limited running|plain exited|" "$(head -n 3 /tmp/second | tr '\n' '|')"
# The one after: docker's rule is that `always` starts whatever was wished, `unless-stopped` not.
forgotten 'and again'
login 'for _ in {1..100}; do [ "$(coracle ps -q --filter status=running | wc -l)" = 1 ] && break; sleep 0.1; done
  systemctl --user start coracle-boot.service; coracle ps -a --format "{{.Names}} {{.State}}" | sort' >/tmp/third
check 'and what was stopped stays so' "always running|limited exited|plain exited|" "$(tr '\n' '|' </tmp/third)"
[ $failed = 0 ]
