"""podman-py over the socket: podman's own routes. Called by tests/engines/libraries/run."""

import os

from podman import PodmanClient, errors

with PodmanClient(base_url=os.environ["DOCKER_HOST"]) as client:
    assert client.ping()
    assert client.version()["Components"]
    assert client.info()["host"]["os"] == "linux"
    assert client.df()["Images"] is not None
    image = client.images.get("base")
    assert any(t.endswith("base:latest") for t in image.tags), image.tags
    assert client.images.exists("base") and not client.images.exists("nothing")
    assert image.tag("localhost/pod", "py")
    assert [i for i in client.images.list() if i.id == image.id]
    client.images.remove("localhost/pod:py")
    try:
        client.images.get("nothing")
        raise SystemExit("an image that is not there was found")
    except errors.ImageNotFound:
        pass
    assert client.containers.run("base", ["echo", "hello"], remove=True) == b"hello\n"
    web = client.containers.create(
        "base", ["sh", "-c", "echo out; exec sleep 1000"], name="pp", environment={"A": "b"}, labels={"l": "m"},
        cap_drop=["ALL"], working_dir="/tmp", hostname="box", mem_limit=None, volumes={},
    )
    assert client.containers.exists("pp")
    web.start()
    web.reload()
    assert web.status == "running", web.status
    assert [c.name for c in client.containers.list(filters={"label": "l=m"})] == ["pp"]
    code, output = web.exec_run(["sh", "-c", "echo $A; pwd; hostname; echo err >&2; exit 5"], demux=True)
    assert (code, output) == (5, (b"b\n/tmp\nbox\n", b"err\n")), (code, output)
    assert b"".join(web.logs()) == b"out\n"
    assert web.top()["Processes"]
    web.pause()
    web.unpause()
    stats = web.stats(stream=False, decode=True)
    assert stats, stats
    web.rename("pq")
    assert client.containers.get("pq").id == web.id
    web.stop(timeout=0)
    assert web.wait() == 137
    assert web.inspect()["State"]["ExitCode"] == 137
    web.remove()
    try:
        client.containers.get("pq")
        raise SystemExit("a container that is not there was found")
    except errors.NotFound:
        pass
    volume = client.volumes.create("ppv", labels={"a": "b"})
    assert client.volumes.get("ppv").attrs["Labels"] == {"a": "b"}
    assert "ppv" in [v.name for v in client.volumes.list()]
    held = client.containers.run(
        "base", ["touch", "/d/x"], remove=True, mounts=[{"type": "volume", "source": "ppv", "target": "/d"}]
    )
    assert held == b"", held
    volume.remove()
    network = client.networks.create("ppn", labels={"a": "b"})
    assert "ppn" in [n.name for n in client.networks.list()]
    assert client.networks.get("ppn").attrs["name"] == "ppn"
    network.remove()
    assert not client.networks.exists("ppn")
    secret = client.secrets.create("pps", b"hidden")
    assert "pps" in [s.name for s in client.secrets.list()]
    client.secrets.remove("pps")
    pod = client.pods.create("ppp")
    assert client.pods.exists("ppp")
    pod.remove(force=True)
    assert client.containers.prune()["SpaceReclaimed"] >= 0
print("podman-py works")
