#!/bin/bash
# create, start, wait and remove over the socket: coracle against podman's service, in one run, with the same client.
# As root, in a mount namespace of its own:  unshare -m tests/bench/api.sh PROGRAM USER [ROUNDS]
# podman runs as root there, which is its fast case.
set -euo pipefail
program=$(realpath "$1") user=$2 rounds=${3:-20}
mount -t cgroup2 none /sys/fs/cgroup
work=$(mktemp -d)
chmod 755 "$work"
mkdir -p "$work/root/bin" "$work/ours"
cp "$(command -v busybox)" "$work/root/bin/busybox"
ln -s busybox "$work/root/bin/true"
tar -C "$work/root" -cf "$work/root.tar" .
chown "$user" "$work/ours"
podman --root "$work/podman" --runroot "$work/podman-run" system service --time 0 "unix://$work/podman.sock" &
theirs=$!
setpriv --reuid="$user" --regid="$user" --init-groups env HOME="$work/ours" XDG_DATA_HOME="$work/ours/data" \
    XDG_RUNTIME_DIR="$work/ours" "$program" system service --time 0 "unix://$work/ours/s" &
ours=$!
trap 'kill $ours $theirs; wait; umount -R "$work/podman" 2>/dev/null; rm -rf "$work"' EXIT
until [ -S "$work/podman.sock" ] && [ -S "$work/ours/s" ]; do kill -0 $ours $theirs; done
cat >"$work/client.py" <<'PY'
import http.client, json, socket, sys, time

class Client(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("d")
        self.path = path
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)
    def ask(self, method, path, body=None, kind="application/json"):
        self.request(method, path, body, {"Content-Type": kind})
        answer = self.getresponse()
        data = answer.read()
        assert answer.status < 300, (path, answer.status, data)
        return data

def once(client):
    body = json.dumps({"Image": "base", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none"}})
    made = json.loads(client.ask("POST", "/v1.41/containers/create", body))["Id"]
    client.ask("POST", f"/v1.41/containers/{made}/start")
    client.ask("POST", f"/v1.41/containers/{made}/wait")
    client.ask("DELETE", f"/v1.41/containers/{made}?force=1")

rounds, tar = int(sys.argv[1]), open(sys.argv[2], "rb").read()
clients = [(name, Client(path)) for name, path in (a.split("=") for a in sys.argv[3:])]
for _, client in clients:
    client.ask("POST", "/v1.41/images/create?fromSrc=-&repo=base", tar, "application/x-tar")
    once(client)
times = {name: [] for name, _ in clients}
for _ in range(rounds):
    for name, client in clients:
        start = time.monotonic()
        once(client)
        times[name].append((time.monotonic() - start) * 1000)
for name, all_ in times.items():
    all_.sort()
    print(f"{name}: median {all_[len(all_) // 2]:.1f} ms, best {all_[0]:.1f} ms, {rounds} rounds")
PY
python3 "$work/client.py" "$rounds" "$work/root.tar" "coracle=$work/ours/s" "podman=$work/podman.sock"
