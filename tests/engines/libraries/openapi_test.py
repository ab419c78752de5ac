"""The answers against Docker's own description of its interface (api/swagger.yaml). Called by tests/engines/libraries/run.

Every answer's status must be described, and its body have the described types: fields that are there without a
description, or that have another type, fail. What differs on purpose stands in EXCEPT.
"""

import http.client
import json
import os
import re
import socket
import sys

import yaml

schema = yaml.load(open(sys.argv[1]), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
VERSION = schema["info"]["version"]
# Fields of newer versions (1.46 to 1.50), by where they stand.
NEWER = {"GET /networks.EnableIPv4", "GET /networks/{id}.EnableIPv4"}
# What Docker itself answers beside its description: an empty text and nulls on Linux, and this status.
EMPTY = {"GET /info.Isolation", "GET /containers/{id}/json.HostConfig.Isolation"}
NULLS = {"MemorySwappiness", "OomKillDisable", "ExitCode"}
STATUSES = {("POST", "/networks/create", 409)}


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.environ["DOCKER_HOST"].removeprefix("unix://"))


def look_up(node):
    while "$ref" in node:
        node = schema["definitions"][node["$ref"].split("/")[-1]]
    return node


def fields_of(node):
    """An object's fields, of all its parts; None when any may stand there."""
    node = look_up(node)
    parts = [look_up(n) for n in node.get("allOf", [])]
    if not parts:
        return node.get("properties")
    found = dict(node.get("properties") or {})
    for part in parts:
        found.update(fields_of(part) or {})
    return found


wrong = []
checked = set()


def check(node, value, where):
    node = look_up(node)
    kind = node.get("type") or ("object" if "allOf" in node or "properties" in node else None)
    if value is None:
        # Go's nil: lists, maps and pointers are null in Docker's answers, too.
        if kind in ("string", "integer", "number", "boolean") and not (
            node.get("x-nullable") or where.split(".")[-1] in NULLS
        ):
            wrong.append((where, "null instead of", kind))
        return
    types = {
        "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict, None: object,
    }
    if not isinstance(value, types[kind]) or (kind in ("integer", "number") and isinstance(value, bool)):
        wrong.append((where, "not a", kind, value))
        return
    if kind == "array":
        for item in value:
            check(node.get("items", {}), item, where + "[]")
    elif kind == "object":
        known = fields_of(node)
        more = node.get("additionalProperties")
        for name, item in value.items():
            if known and name in known:
                check(known[name], item, f"{where}.{name}")
            elif isinstance(more, dict):
                check(more, item, f"{where}.*")
            elif known and re.sub(r"\[\]", "", f"{where}.{name}") not in NEWER:
                wrong.append((f"{where}.{name}", "is not described"))
    elif "enum" in node and value not in node["enum"] and not (value == "" and where in EMPTY):
        wrong.append((where, "not one of", node["enum"], value))


def template(method, path):
    """The described path that this one is of."""
    path = path.split("?")[0]
    best = None
    for described, verbs in schema["paths"].items():
        pattern = re.sub(r"\{[^}]*\}", "[^/]+", described)
        if method.lower() in verbs and re.fullmatch(pattern, path):
            if best is None or described.count("{") < best.count("{"):
                best = described
    assert best, (method, path)
    return best


def ask(method, path, body=None, expect=None, kind="application/json"):
    connection = Connection("d")
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    connection.request(method, f"/v{VERSION}{path}", data, {"Content-Type": kind} if data is not None else {})
    answer = connection.getresponse()
    bytes_ = b"" if "attach" in path else answer.read()
    described = template(method, path)
    responses = schema["paths"][described][method.lower()]["responses"]
    checked.add((method, described))
    where = f"{method} {described} {answer.status}"
    if expect is not None and answer.status != expect:
        wrong.append((where, "instead of", expect, bytes_[:200]))
    response = responses.get(str(answer.status), responses.get(answer.status))
    if response is None and (method, described, answer.status) in STATUSES:
        response = responses.get(404, responses.get("404"))
    if response is None:
        wrong.append((where, "is not a described status", bytes_[:200]))
        return None
    if "json" not in (answer.getheader("Content-Type") or ""):
        return bytes_
    value = json.loads(bytes_.splitlines()[0]) if bytes_.strip() else None
    if "schema" in response and bytes_.strip():
        check(response["schema"], value, f"{method} {described}")
    return value


for path in ("/info", "/version", "/_ping", "/images/json", "/containers/json", "/volumes", "/networks", "/system/df", "/plugins"):
    ask("GET", path, expect=200)
ask("HEAD", "/_ping", expect=200)
box = {
    "Image": "base", "Cmd": ["sh", "-c", "echo out; exec sleep 1000"], "Env": ["A=b"], "Labels": {"l": "m"}, "ExposedPorts": {"80/tcp": {}},
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 1000000000},
    "HostConfig": {
        "Memory": 0, "PortBindings": {"80/tcp": [{"HostPort": ""}]}, "Binds": ["oa:/data"], "RestartPolicy": {"Name": "no"},
        "Ulimits": [{"Name": "nofile", "Soft": 100, "Hard": 200}], "Tmpfs": {"/t": ""}, "CapDrop": ["ALL"],
    },
}
made = ask("POST", "/containers/create?name=oa", box, 201)["Id"]
ask("POST", "/containers/create?name=oa", box, 409)
ask("POST", "/containers/create", {"Image": "nothing"}, 404)
ask("POST", "/containers/create", [], 400)
ask("GET", f"/containers/{made}/json", expect=200)
ask("POST", f"/containers/{made}/start", expect=204)
ask("POST", f"/containers/{made}/start", expect=304)
for path in ("json?size=1", "top", "stats?stream=false&one-shot=1", "changes", "logs?stdout=1", "export", "archive?path=/etc/passwd"):
    ask("GET", f"/containers/{made}/{path}", expect=200)
ask("GET", "/containers/json?all=1&size=1", expect=200)
ask("GET", "/containers/nothing/json", expect=404)
ask("HEAD", f"/containers/{made}/archive?path=/etc/passwd", expect=200)
ask("POST", f"/containers/{made}/update", {"RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2}}, 200)
ask("POST", f"/containers/{made}/pause", expect=204)
ask("POST", f"/containers/{made}/exec", {"Cmd": ["true"]}, 409)
ask("POST", f"/containers/{made}/unpause", expect=204)
run = ask("POST", f"/containers/{made}/exec", {"Cmd": ["true"]}, 201)["Id"]
ask("GET", f"/exec/{run}/json", expect=200)
ask("POST", f"/exec/{run}/start", {"Detach": True}, 200)
ask("GET", f"/exec/{run}/json", expect=200)
ask("GET", "/exec/nothing/json", expect=404)
ask("POST", f"/containers/{made}/rename?name=ob", expect=204)
ask("POST", f"/containers/{made}/kill?signal=WINCH", expect=204)
ask("POST", f"/containers/{made}/restart?t=0", expect=204)
ask("POST", f"/containers/{made}/stop?t=0", expect=204)
ask("POST", f"/containers/{made}/stop?t=0", expect=304)
ask("POST", f"/containers/{made}/kill", expect=409)
ask("POST", f"/containers/{made}/wait", expect=200)
image = ask("POST", f"/commit?container={made}&repo=oa&tag=1", {}, 201)
ask("GET", "/images/oa:1/json", expect=200)
ask("GET", "/images/oa:1/history", expect=200)
ask("GET", "/images/nothing/json", expect=404)
ask("POST", "/images/oa:1/tag?repo=ob&tag=2", expect=201)
ask("GET", "/images/json?all=1&shared-size=1", expect=200)
ask("GET", "/images/ob:2/get", expect=200)
ask("GET", "/events?since=0&until=1", expect=200)
ask("GET", "/system/df", expect=200)
ask("DELETE", f"/containers/{made}?force=1", expect=204)
ask("DELETE", f"/containers/{made}", expect=404)
ask("DELETE", "/images/ob:2", expect=200)
ask("DELETE", "/images/oa:1", expect=200)
ask("DELETE", "/images/oa:1", expect=404)
ask("GET", "/volumes/oa", expect=200)
ask("GET", "/volumes/nothing", expect=404)
ask("PUT", "/volumes/oa", {}, 503)
ask("POST", "/volumes/create", {"Name": "ob", "Labels": {"a": "b"}}, 201)
ask("DELETE", "/volumes/oa", expect=204)
ask("POST", "/volumes/prune?filters=%7B%22all%22%3A%5B%22true%22%5D%7D", expect=200)
net = ask("POST", "/networks/create", {"Name": "oa", "Labels": {"a": "b"}}, 201)["Id"]
ask("POST", "/networks/create", {"Name": "oa"}, 409)
ask("GET", "/networks/oa?verbose=1", expect=200)
made = ask("POST", "/containers/create", {"Image": "base", "Cmd": ["true"]}, 201)["Id"]
ask("POST", f"/networks/{net}/connect", {"Container": made}, 200)
ask("POST", f"/networks/{net}/disconnect", {"Container": made}, 200)
ask("DELETE", f"/networks/{net}", expect=204)
ask("GET", "/networks/oa", expect=404)
ask("POST", "/networks/prune", expect=200)
ask("POST", "/containers/prune", expect=200)
ask("POST", "/images/prune", expect=200)
ask("POST", "/build/prune", expect=200)
for path in ("/swarm", "/nodes", "/services", "/tasks", "/secrets", "/configs"):
    ask("GET", path, expect=503)
ask("POST", "/swarm/leave", expect=503)
ask("POST", "/secrets/create", {"Name": "a", "Data": ""}, 503)
ask("GET", "/plugins/none/json", expect=404)
ask("POST", "/plugins/none/enable", expect=404)
ask("DELETE", "/plugins/none", expect=404)
for finding in wrong:
    print(*finding)
print(f"{len(checked)} operations of Docker's description {VERSION}, {len(wrong)} differences")
sys.exit(bool(wrong))
