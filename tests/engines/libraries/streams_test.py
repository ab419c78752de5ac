"""Many exec and attach streams side by side: no byte is lost, nothing leaks. Called by tests/engines/libraries/run.

streams_test.py COUNT SECONDS: so many streams at once, begun again until the time is over.
"""

import hashlib
import os
import sys
import threading
import time

import docker

count, seconds = int(sys.argv[1]), float(sys.argv[2])
service = int(os.environ["SERVICE"])
client = docker.DockerClient(base_url=os.environ["DOCKER_HOST"], max_pool_size=count + 8, timeout=120)
LENGTH = 100_000


def wanted(number):
    line = f"{number}\n".encode()
    return hashlib.sha256((line * (LENGTH // len(line) + 1))[:LENGTH]).digest()


def fds():
    return len(os.listdir(f"/proc/{service}/fd"))


def memory():
    with open(f"/proc/{service}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Private_Dirty"))


def children():
    """The service's processes for connections and requests."""
    with open(f"/proc/{service}/task/{service}/children") as file:
        return len(file.read().split())


box = client.containers.run("base", ["sleep", "1000"], detach=True, network_mode="none", name="many")
bad, done = [], [0]
end = time.monotonic() + seconds
lock = threading.Lock()


def execs(number):
    want = wanted(number)
    while True:
        output = box.exec_run(["sh", "-c", f"yes {number} | head -c {LENGTH}"]).output
        got(number, output, want)
        if time.monotonic() > end:
            return


def attaches(number):
    want = wanted(number)
    while True:
        own = client.containers.create("base", ["sh", "-c", f"yes {number} | head -c {LENGTH}"], network_mode="none")
        stream = own.attach(stream=True, logs=False)
        own.start()
        got(number, b"".join(stream), want)
        own.remove(force=True)
        if time.monotonic() > end:
            return


def got(number, output, want):
    with lock:
        done[0] += 1
        if hashlib.sha256(output).digest() != want:
            bad.append((number, len(output)))


def guarded(work, number):
    try:
        work(number)
    except Exception as error:  # noqa: BLE001 - every thread's is told
        bad.append((number, repr(error)))


# One round before, so that what is kept for good is there.
box.exec_run(["true"])
client.close()
before = fds(), memory()
# One in eight is a container of its own; the rest are execs of one.
threads = [threading.Thread(target=guarded, args=(attaches if n % 8 == 0 else execs, n)) for n in range(count)]
start = time.monotonic()
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
took = time.monotonic() - start
assert not bad, (len(bad), bad[:5])
box.remove(force=True)
client.close()
# The connections' processes see the end of their connections.
deadline = time.monotonic() + 10
while (children() or fds() > before[0]) and time.monotonic() < deadline:
    os.sched_yield()
after = fds(), memory()
assert children() == 0, children()
assert after[0] <= before[0], (before, after)
assert after[1] <= before[1] + 512, (before, after)
print(f"{done[0]} streams of {LENGTH} bytes, {count} at once, in {took:.1f} s; fds {before[0]} -> {after[0]}, kB {before[1]} -> {after[1]}")
