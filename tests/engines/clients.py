"""docker-py over the socket: called by tests/engines/clients, with DOCKER_HOST set and an image `base`."""

import io
import tarfile
import threading

import docker

client = docker.from_env()
assert client.ping()
assert client.version()["Os"] == "linux"
assert client.containers.run("base", ["echo", "hello"], remove=True) == b"hello\n"
try:
    client.containers.run("base", ["sh", "-c", "echo bad >&2; exit 4"], remove=True)
    raise SystemExit("an exit code was lost")
except docker.errors.ContainerError as error:
    assert error.exit_status == 4 and error.stderr == b"bad\n", error
try:
    client.containers.get("nothing")
    raise SystemExit("a container that is not there was found")
except docker.errors.NotFound:
    pass
try:
    client.images.get("nothing")
    raise SystemExit("an image that is not there was found")
except docker.errors.ImageNotFound:
    pass

web = client.containers.run("base", ["sleep", "1000"], detach=True, name="py", labels={"l": "m"}, environment={"A": "b"})
assert [c.name for c in client.containers.list(filters={"label": "l=m"})] == ["py"]
code, output = web.exec_run(["sh", "-c", "echo out; echo err >&2; exit 5"], demux=True)
assert (code, output) == (5, (b"out\n", b"err\n")), (code, output)
_, stream = web.exec_run(["sh", "-c", "echo 1; echo 2"], stream=True)
assert b"".join(stream) == b"1\n2\n"
archive = io.BytesIO()
with tarfile.open(fileobj=archive, mode="w") as tar:
    member = tarfile.TarInfo("file")
    member.size = 4
    tar.addfile(member, io.BytesIO(b"text"))
assert web.put_archive("/tmp", archive.getvalue())
bits, stat = web.get_archive("/tmp/file")
with tarfile.open(fileobj=io.BytesIO(b"".join(bits))) as tar:
    assert tar.extractfile("file").read() == b"text"
assert stat["name"] == "file" and stat["size"] == 4, stat
web.pause()
web.reload()
assert web.status == "paused", web.status
web.unpause()
assert web.stats(stream=False)["pids_stats"]["current"] >= 1
assert web.top()["Processes"]

# 20 streams side by side: no byte is lost.
lost = []


def stream_one(number):
    count = 200000
    output = web.exec_run(["sh", "-c", f"busybox yes {number} | busybox head -c {count}"]).output
    if len(output) != count:
        lost.append((number, len(output)))


threads = [threading.Thread(target=stream_one, args=(n,)) for n in range(20)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert not lost, lost
web.kill()
assert web.wait()["StatusCode"] == 137
web.remove()

image, lines = client.images.build(
    fileobj=io.BytesIO(b"FROM base\nRUN echo x > /x\n"), tag="py:1", network_mode="none"
)
assert "py:1" in image.tags, image.tags
assert client.containers.run("py:1", ["cat", "/x"], remove=True) == b"x\n"
client.images.remove("py:1")
volume = client.volumes.create("pyv")
assert "pyv" in [v.name for v in client.volumes.list()]
volume.remove()
network = client.networks.create("pyn")
assert client.networks.list(names=["pyn"])[0].id == network.id
network.remove()
events = client.events(since=0, until=1 + int(__import__("time").time()), decode=True)
assert any(e["Action"] == "die" for e in events)
print("docker-py", docker.__version__, "works")
