#!/usr/bin/env bash
# 10,000 layers and 2,000 containers, their records written directly: how long the commands take that
# look at all of them. Each should stay under a second.
#   tests/bench/scale.sh [path to a release build]     LAYERS=10000 CONTAINERS=2000
# Needs busybox-static, python3. Run as a plain user. (Eight processes that pull, remove and prune at
# once for two minutes: CROWD=120 cargo test --test it -- crowd::pulls)
set -euo pipefail
coracle=$(readlink -f "${1:-target/x86_64-unknown-linux-gnu/release/coracle}")
dir=$(mktemp -d -p /var/tmp coracle-scale.XXXXXX)
export CORACLE_ROOT=$dir/data CORACLE_RUNROOT=$dir/run
clean() { "$coracle" system reset -f >/dev/null 2>&1 || true; rm -rf "$dir"; }
trap clean EXIT
mkdir -p "$dir/root/bin"; cp /bin/busybox "$dir/root/bin/sh"
tar -C "$dir/root" -cf "$dir/image.tar" .
"$coracle" import -q "$dir/image.tar" base >/dev/null
"$coracle" create --name c0 --network none base sh >/dev/null
python3 - "$CORACLE_ROOT" "${LAYERS:-10000}" "${CONTAINERS:-2000}" <<'PY'
import copy, hashlib, json, os, sys
root, layers, containers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = root + "/store"
sha = lambda text: "sha256:" + hashlib.sha256(text.encode()).hexdigest()
record = json.load(open(store + "/images/" + os.listdir(store + "/images")[0]))
names = json.load(open(store + "/names.json"))
base = record["layers"][0]
info = json.load(open(f"{store}/layers/{base['chain_id'][7:]}/layer.json"))
first = json.loads(record["manifests"][0]["raw"])
# Images of ten layers each, on the one that is there.
for image in range(layers // 10):
    chain, below = [base], base["chain_id"]
    for n in range(10):
        diff = sha(f"diff {image} {n}")
        top = sha(f"{below} {diff}")
        folder = f"{store}/layers/{top[7:]}"
        os.makedirs(folder + "/diff/d")
        with open(folder + "/diff/d/f", "w") as out:
            out.write(diff)
        json.dump({**info, "chain_id": top, "diff_id": diff, "parent": below, "size": len(diff), "inodes": 3},
                  open(folder + "/layer.json", "w"))
        blob = f"blob {image} {n}"
        with open(f"{store}/blobs/sha256/{sha(blob)[7:]}", "w") as out:
            out.write(blob)
        chain.append({**base, "digest": sha(blob), "size": len(blob), "diff_id": diff, "chain_id": top})
        below = top
    config = json.loads(record["config"])
    config["rootfs"]["diff_ids"] = [l["diff_id"] for l in chain]
    config = json.dumps(config)
    manifest = copy.deepcopy(first)
    manifest["config"]["digest"] = sha(config); manifest["config"]["size"] = len(config)
    manifest["layers"] = [{"mediaType": l["media_type"], "digest": l["digest"], "size": l["size"]} for l in chain]
    raw = json.dumps(manifest)
    made = {**record, "id": sha(config), "config": config, "layers": chain,
            "manifests": [{**record["manifests"][0], "digest": sha(raw), "raw": raw}]}
    json.dump(made, open(f"{store}/images/{made['id'][7:]}.json", "w"))
    names["names"][f"localhost/scale:{image}"] = {"id": made["id"], "digest": sha(raw)}
json.dump(names, open(store + "/names.json", "w"))
old = os.readlink(root + "/names/c0")
config = open(f"{root}/containers/{old}/config.json").read()
for n in range(1, containers):
    new = sha(f"container {n}")[7:]
    os.mkdir(f"{root}/containers/{new}", 0o700)
    with open(f"{root}/containers/{new}/config.json", "w") as out:
        out.write(config.replace(old, new).replace('"c0"', f'"c{n}"'))
    os.symlink(new, f"{root}/names/c{n}")
PY
step() {
    local name=$1 from to; shift
    from=$(date +%s%N); "$@" >"$dir/out" 2>&1 || { cat "$dir/out"; exit 1; }; to=$(date +%s%N)
    printf '%-28s %6d ms  %s lines\n' "$name" $(((to - from) / 1000000)) "$(wc -l <"$dir/out")"
}
step 'ps -a' "$coracle" ps -a
step 'ps' "$coracle" ps
step 'images' "$coracle" images
step 'system df, first' "$coracle" system df
step 'system df' "$coracle" system df
step 'system check --quick' "$coracle" system check --quick
step 'image prune' "$coracle" image prune -f
step 'run --rm' "$coracle" run --rm --network none base sh -c :
step 'rmi one' "$coracle" rmi localhost/scale:1
step 'system prune' "$coracle" system prune -f
step 'system prune --all' "$coracle" system prune -f --all
