#!/bin/bash
# Twice on one disk, with a power cut between: what was recorded before it is there after it.
#   first: makes things;  second: finds them.
set -u
export PATH=$PATH:/share
cd ~ || exit
case $1 in
first)
  chmod 755 /share/coracle
  set -e
  coracle import -q /share/busybox.tar busybox
  coracle volume create data >/dev/null
  coracle run --rm --network none -v data:/data busybox sh -c 'echo kept > /data/file; sync'
  coracle run -d --name up --network none busybox sleep 10000 >/dev/null
  coracle create --name made --network none busybox echo made >/dev/null
  coracle ps -a --format '{{.Names}} {{.State}}' | sort
  echo "1 passed, 0 failed"
  ;;
second)
  set -e
  [ "$(coracle ps -a --format '{{.Names}} {{.State}}' | sort)" = "made created
up exited" ] || { coracle ps -a; exit 1; }
  [ "$(coracle start -a made)" = made ]
  coracle start up >/dev/null
  [ "$(coracle inspect --format '{{.State.Status}}' up)" = running ]
  [ "$(coracle run --rm --network none -v data:/data busybox cat /data/file)" = kept ]
  coracle rm -f -t 0 up >/dev/null
  echo "1 passed, 0 failed"
  ;;
esac
