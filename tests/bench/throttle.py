#!/usr/bin/env python3
"""A slow line: forwards TCP from a loopback port to another; at most so many bytes a second go back, over all
connections together.  throttle.py PORT TARGET_PORT BYTES_A_SECOND"""
import socket, sys, threading, time

port, target, rate = (int(word) for word in sys.argv[1:4])
lock, due = threading.Lock(), [time.monotonic()]


def wait(size):
    with lock:
        due[0] = max(due[0], time.monotonic() - 0.05) + size / rate
        until = due[0]
    time.sleep(max(0, until - time.monotonic()))


def pump(source, sink, slow):
    try:
        while data := source.recv(16384):
            if slow:
                wait(len(data))
            sink.sendall(data)
    except OSError:
        pass
    finally:
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


server = socket.create_server(("127.0.0.1", port))
while True:
    client, _ = server.accept()
    try:
        registry = socket.create_connection(("127.0.0.1", target))
    except OSError:
        client.close()
        continue
    # As a line that is not deep: what waits in it delays what is asked for next.
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
    threading.Thread(target=pump, args=(client, registry, False), daemon=True).start()
    threading.Thread(target=pump, args=(registry, client, True), daemon=True).start()
