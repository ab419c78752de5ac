#!/usr/bin/env bash
# Power cuts in the middle of pull, commit, build and writes: the store checks clean after each.
#   tests/vm/powercut.sh CORACLE BUSYBOX.TAR [ROUNDS]      on the host, as root (tests/vm/run calls it)
#   powercut.sh guest prepare|round|last                   in the guest: one boot of the same disk each
set -euo pipefail

registry() { # Debian's, on loopback: the guest has no other network
  cat >~/registry.yml <<YML
version: 0.1
log: {level: error}
storage: {filesystem: {rootdirectory: $HOME/registry}}
http: {addr: 127.0.0.1:5000}
YML
  /share/docker-registry serve ~/registry.yml >~/registry.log 2>&1 &
  until (: </dev/tcp/127.0.0.1/5000) 2>/dev/null; do sleep 0.1; done
}

clean() { # whatever was going on, nothing is damaged and nothing is left
  local said
  said=$(coracle system check 2>&1) || { echo "FAILED: damaged after the cut: $said"; exit 1; }
  said=$(coracle system check --max 0 --repair 2>&1) || { echo "FAILED: not mended: $said"; exit 1; }
  [ -z "$said" ] || echo "$said" | sed 's/ .*: / … /' | sort | uniq -c
  said=$(coracle system check --max 0 2>&1) || { echo "FAILED: not clean: $said"; exit 1; }
  for image in $(coracle images --format '{{.Repository}}:{{.Tag}}' | grep -v '<none>'); do
    coracle run --rm --network none "$image" cat /bin/busybox >/dev/null ||
      { echo "FAILED: $image does not run"; exit 1; }
  done
  # What was flushed before the cut is there.
  [ ! -e ~/flushed ] || [ "$(coracle run --rm --network none -v kept:/x busybox cat /x/f)" = "$(cat ~/flushed)" ] ||
    { echo "FAILED: the volume lost what was flushed"; exit 1; }
}

work() { # for ever, until the power goes
  local i=0
  while :; do
    i=$((i + 1))
    for n in 1 2 3; do coracle pull -q --tls-verify=false "127.0.0.1:5000/many:$n"; done
    coracle rmi -f 127.0.0.1:5000/many:{1,2,3}
  done &
  while :; do
    i=$((i + 1))
    coracle run --name "c$i" --network none busybox sh -c 'dd if=/dev/urandom of=/f bs=64k count=20; mkdir /d; mv /f /d'
    coracle commit -q "c$i" "commit:$((i % 3))"
    coracle rm "c$i"
  done &
  mkdir -p ~/context; printf 'FROM busybox\nCOPY f /f\nRUN dd if=/dev/urandom of=/g bs=64k count=10\nRUN rm /f\n' >~/context/Dockerfile
  while :; do
    i=$((i + 1)); echo "$i $RANDOM" >~/context/f
    coracle build -q --network none -t "built:$((i % 3))" ~/context
  done &
  coracle run -d --name "w$RANDOM$RANDOM" --network none busybox sh -c \
    'i=0; while :; do i=$((i + 1)); dd if=/dev/zero of=/f$((i % 50)) bs=4k count=30; rm -f /f$((i % 17)); sync; done'
  while :; do coracle system prune -f; sleep 1; done &
}

case ${1:-} in
guest)
  export PATH=$PATH:/share
  cd ~
  case $2 in
  prepare)
    chmod 755 /share/coracle /share/docker-registry
    coracle import -q /share/busybox.tar busybox
    registry
    for n in 1 2 3; do
      coracle run --name "m$n" --network none busybox dd if=/dev/urandom of="/data$n" bs=64k count=30 2>/dev/null
      coracle commit -q "m$n" "127.0.0.1:5000/many:$n" >/dev/null
      coracle push -q --tls-verify=false "127.0.0.1:5000/many:$n"
      coracle rm "m$n" >/dev/null; coracle rmi "127.0.0.1:5000/many:$n" >/dev/null
    done
    coracle volume create kept >/dev/null
    sync
    ;;
  round)
    clean
    registry
    echo "$RANDOM" >~/next
    coracle run --rm --network none -v kept:/x -v ~/next:/next:ro busybox sh -c 'cp /next /x/f; sync'
    mv ~/next ~/flushed; sync
    work >~/work.log 2>&1 </dev/null
    sleep "$3"
    ;;
  last) clean ;;
  esac
  echo "1 passed, 0 failed"
  ;;
*)
  here=$(dirname "$(readlink -f "$0")")
  dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
  install -m 755 "$1" "$dir/coracle"; cp "$2" "$dir/busybox.tar"; install -m 755 /usr/bin/docker-registry "$dir/"
  vm=("$here/vm-run" --engine uml --share "$dir/coracle" --share "$dir/busybox.tar"
    --share "$dir/docker-registry" --share "$here/powercut.sh" --disk "$dir/disk" --timeout 240)
  "${vm[@]}" --power-cut 'bash /share/powercut.sh guest prepare'
  for round in $(seq "${3:-10}"); do
    pause=$((RANDOM % 5 + 2)).$((RANDOM % 10))
    echo "round $round: the power goes after $pause s"
    "${vm[@]}" --power-cut "bash /share/powercut.sh guest round $pause"
  done
  "${vm[@]}" 'bash /share/powercut.sh guest last'
  ;;
esac
