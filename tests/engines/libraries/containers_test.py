"""testcontainers for Python: redis from an image that was built here. Called by tests/engines/libraries/run."""

import redis
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.waiting_utils import wait_for_logs

with Network() as network:
    with (
        DockerContainer("redis:local")
        .with_exposed_ports(6379)
        .with_network(network)
        .with_network_aliases("store")
        .with_env("A", "b") as store
    ):
        wait_for_logs(store, "Ready to accept connections", timeout=20)
        client = redis.Redis(store.get_container_host_ip(), int(store.get_exposed_port(6379)))
        assert client.set("key", "value") and client.get("key") == b"value"
        code, output = store.exec(["redis-cli", "get", "key"])
        assert (code, output) == (0, b"value\n"), (code, output)
        # Another one of the same network finds it by its name.
        with DockerContainer("redis:local").with_network(network).with_command("redis-cli -h store get key") as other:
            assert other.get_wrapped_container().wait()["StatusCode"] == 0
            assert other.get_logs()[0] == b"value\n", other.get_logs()
print("testcontainers for Python works")
