#!/bin/bash
# Twice on one disk, with a power cut between: what was recorded before it is there after it.
#   first: makes things, and is in the middle of others;  second: finds them.
set -u
export PATH=$PATH:/share
cd ~ || exit
failed=0; passed=0
check() { # name, expected, got
  if [ "$2" = "$3" ]; then passed=$((passed + 1)); else
    failed=$((failed + 1)); printf 'FAILED %s: expected %q, got %q\n' "$1" "$2" "$3"; fi
}
case $1 in
first)
  chmod 755 /share/coracle
  set -e
  coracle import -q /share/busybox.tar busybox
  coracle volume create data >/dev/null
  coracle run --rm --network none -v data:/data busybox sh -c 'echo kept > /data/file; sync'
  coracle run --name ended --network none busybox sh -c 'echo mine > /own; exit 3' || [ $? = 3 ]
  coracle create --name made --network none busybox echo made >/dev/null
  coracle run -d --name again --network none busybox sleep 10000 >/dev/null
  coracle stop -t 0 again >/dev/null
  # What a container wrote is its own to flush.
  sync
  # From here on nobody syncs.
  coracle start again >/dev/null
  coracle run -d --rm --name passing --network none busybox sleep 10000 >/dev/null
  coracle run -d --name up --network none busybox sleep 10000 >/dev/null
  # Half-made: cut while they write.
  (while :; do coracle import -q /share/busybox.tar half; done >/dev/null 2>&1) &
  (i=0; while :; do i=$((i + 1)); coracle create --name "half$i" --network none busybox true; done >/dev/null 2>&1) &
  coracle ps -a --format '{{.Names}} {{.State}}' | grep -v half | sort
  echo "1 passed, 0 failed"
  ;;
second)
  state() { coracle inspect --format '{{.State.Status}} {{.State.ExitCode}}' "$1"; }
  coracle ps -a --format '{{.Names}} {{.State}} {{.ExitCode}}' >all 2>errors
  cat all
  check 'ps says nothing of damage' '' "$(cat errors)"
  check 'made was never started' 'created 0' "$(state made)"
  check 'ended as it did' 'exited 3' "$(state ended)"
  check 'up was cut, its end is unknown' 'exited -1' "$(state up)"
  check 'and that is said' 'the machine went down while it ran, so how it ended is unknown' \
    "$(coracle inspect --format '{{.State.Error}}' up)"
  check 'no --rm container stays running' '' "$(coracle ps -q)"
  check 'made starts' made "$(coracle start -a made 2>&1)"
  coracle start up >/dev/null
  check 'up starts' running "$(coracle inspect --format '{{.State.Status}}' up)"
  coracle start again >/dev/null
  check 'again starts' running "$(coracle inspect --format '{{.State.Status}}' again)"
  check 'the volume keeps its data' kept \
    "$(coracle run --rm --network none -v data:/data busybox cat /data/file)"
  check 'the container keeps its data' mine "$(coracle cp ended:/own - | tar -xOf -)"
  check 'a new container starts' new "$(coracle run --rm --network none busybox echo new)"
  check 'a half-made image comes again' '' "$(coracle import -q /share/busybox.tar half 2>&1 >/dev/null)"
  check 'and works' half "$(coracle run --rm --network none half echo half)"
  check 'all is removed' '' "$(coracle rm -f -a -t 0 2>&1 >/dev/null)"
  check 'nothing is left' '' "$(coracle ps -aq)"
  check 'prune cleans up' '' "$(coracle system prune -f -a --volumes 2>&1 >/dev/null)"
  check 'no half-made container folder is left' '' "$(ls -A ~/.local/share/coracle/containers)"
  check 'staging is empty' '' "$(ls -A ~/.local/share/coracle/store/staging)"
  echo "$passed passed, $failed failed"
  [ $failed = 0 ]
  ;;
esac
