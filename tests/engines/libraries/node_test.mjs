// dockerode, and testcontainers for node: called by tests/engines/libraries/run.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { PassThrough } from "node:stream";

const require = createRequire(`${process.env.NODE_CACHE}/package.json`);
const Docker = require("dockerode");
const docker = new Docker({ socketPath: process.env.DOCKER_HOST.replace("unix://", "") });

const gather = (stream) => {
    const pieces = [];
    stream.on("data", (piece) => pieces.push(piece));
    return () => Buffer.concat(pieces).toString();
};

assert.equal((await docker.version()).Os, "linux");
await assert.rejects(docker.getContainer("nothing").inspect(), (e) => e.statusCode === 404);
await assert.rejects(docker.createContainer({ Image: "nothing" }), (e) => e.statusCode === 404);
const sink = new PassThrough();
const ranSaid = gather(sink);
const [ran, box] = await docker.run("base", ["sh", "-c", "echo ran; exit 3"], sink);
assert.equal(ran.StatusCode, 3);
assert.match(ranSaid(), /ran/);
await box.remove();

const web = await docker.createContainer({
    Image: "base", Cmd: ["sh", "-c", "echo out; echo err >&2; exec sleep 1000"], name: "node", Labels: { a: "b" },
});
await web.start();
const listed = await docker.listContainers({ filters: { label: ["a=b"] } });
assert.deepEqual(listed.map((c) => c.Names[0]), ["/node"]);
const session = await web.exec({ Cmd: ["cat"], AttachStdin: true, AttachStdout: true, AttachStderr: true });
const stream = await session.start({ hijack: true, stdin: true });
const out = new PassThrough(), err = new PassThrough();
const said = gather(out);
docker.modem.demuxStream(stream, out, err);
stream.end("through\n");
await new Promise((done) => stream.on("end", done));
assert.equal(said(), "through\n");
assert.equal((await session.inspect()).ExitCode, 0);
const logs = await web.logs({ stdout: true, stderr: true });
assert.match(logs.toString(), /out\n/);
const stats = await web.stats({ stream: false });
assert.ok(stats.pids_stats.current >= 1);
await web.kill();
await web.remove();

const volume = await docker.createVolume({ Name: "nodev" });
assert.equal((await docker.listVolumes()).Volumes.filter((v) => v.Name === "nodev").length, 1);
await docker.getVolume("nodev").remove();
const network = await docker.createNetwork({ Name: "noden" });
assert.equal((await network.inspect()).Name, "noden");
await network.remove();
console.log("dockerode works");

process.env.TESTCONTAINERS_RYUK_DISABLED = "true";
const { GenericContainer, Network, Wait, PullPolicy } = require("testcontainers");
const net = await new Network().start();
const store = await new GenericContainer("redis:local")
    .withExposedPorts(6379).withNetwork(net).withNetworkAliases("store")
    .withWaitStrategy(Wait.forAll([Wait.forLogMessage("Ready to accept connections"), Wait.forListeningPorts()]))
    .start();
const set = await store.exec(["redis-cli", "set", "key", "value"]);
assert.deepEqual([set.exitCode, set.output.trim()], [0, "OK"]);
const answer = await new Promise((done, fail) => {
    const socket = require("node:net").connect(store.getMappedPort(6379), store.getHost());
    socket.on("error", fail);
    socket.on("data", (data) => { socket.destroy(); done(data.toString()); });
    socket.write("GET key\r\n");
});
assert.equal(answer, "$5\r\nvalue\r\n");
await store.copyContentToContainer([{ content: "text", target: "/tmp/file" }]);
assert.equal((await store.exec(["cat", "/tmp/file"])).output, "text");
await store.stop();
await net.stop();
console.log("testcontainers for node works");

// What the libraries keep open is not waited for.
process.exit(0);
