#!/usr/bin/env python3
"""The same work in the programs people use today and in plumb, in turn on this machine: bench-peers.json.

    scripts/bench_peers.py bin/plumb bin/kernels.test [--n 5] [--works sft,ppo] [--out bench-peers.json]

A run of a work is the peer, then ours; a ratio is of one such pair, larger is better for us, and what is reported is the median
of n pairs. The peers are the scripts of $PLUMB_SHARED/peers under $PYTHON (else ~/peers/bin/python, else python3). A peer that
is absent is named and the exit is 3, after the others have run; 1 says that one failed. Works already in the file that were measured
on the same machine stay, so that a set can be measured in several calls.

bench-peers.json is a list, an entry for each work and quantity:
  work, peer   what, and beside whom
  quantity     unit of the two numbers
  peer_value, ours   medians over the pairs
  ratio        median of the pairs' ratios: ours / peer of a rate, peer / ours of a time or a size
  target       the ratio that is aimed at
  n            pairs
  spread       (largest - smallest ratio) / median
  other_cores  the most that other programs used of the processor during one run; throw away a timing where it is not near zero
  machine      cpu, cores, kernels    versions   of plumb and of the peer's libraries
"""
import argparse
import collections
import json
import os
import shutil
import sys
import tempfile

import side_by_side as s

MODEL = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "plumb", "smollm2")
RATE, COST = 1, -1

# Quantity is one number of a work: its name with unit, whether more is better, and the ratio aimed at.
Quantity = collections.namedtuple("Quantity", "name better target")


class Ours:
    """plumb's side"""

    def __init__(self, plumb, kernels, model):
        self.plumb, self.kernels, self.model = os.path.abspath(plumb), os.path.abspath(kernels), model
        self.here = os.path.dirname(os.path.abspath(__file__))
        self.data = os.path.join(s.peers(), "..", "data")

    def products(self):
        """GFLOP/s by shape, from BenchmarkPeerShapes"""
        out = s.run(self.kernels, "-test.run", "^$", "-test.bench", "PeerShapes", "-test.benchtime", "500ms", cwd=tempfile.gettempdir()).stdout
        found = {}
        for line in out.splitlines():
            f = line.split()
            if line.startswith("BenchmarkPeerShapes/") and "GFLOP/s" in f:
                found[f[0].split("/")[1].rsplit("-", 1)[0]] = float(f[f.index("GFLOP/s") - 1])
        return found

    def sft(self, *flags):
        data = os.path.join(self.data, "instruct", "alpaca", "alpaca_5000.json")
        out = s.run(sys.executable, os.path.join(self.here, "sft_speed.py"), self.plumb, "--model", self.model, "--data", data, *flags).stdout
        return json.loads(out.splitlines()[-1])

    def stages(self, recipe, *names):
        """runs stages of a recipe, the last one measured: its timing.jsonl and its process's peak"""
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "speed.yaml")
            with open(path, "w") as f:
                json.dump({"version": 1, "name": "speed", "base": self.model, **recipe}, f)  # JSON is YAML
            for name in names:
                s.run(self.plumb, name, path, "-q", "--runs", tmp)
            stage = os.path.join(tmp, "speed", names[-1])
            with open(os.path.join(stage, "timing.jsonl")) as f:
                rows = [json.loads(line) for line in f]
            with open(os.path.join(stage, "run.json")) as f:
                return rows, json.load(f)["timing"]["peak_mib"]

    def reward(self, steps=5, warmup=1, batch=8):
        hh = os.path.join(self.data, "preference", "hh-rlhf", "harmless-base-test.jsonl.gz")
        rows, peak = self.stages({"reward": {
            "data": [{"path": hh, "limit": 2 * steps * batch}], "eval": 0, "max_length": 512, "batch": batch, "micro_tokens": 1024, "schedule": "constant", "warmup": 0,
            "lr": 2e-4, "peft": {"r": 16, "alpha": 32}, "normalise": {"samples": 0}, "save_every": 1000000}}, "reward")
        rows = rows[warmup:steps]
        seconds = sum(r["seconds"] for r in rows)
        return {"pairs_per_s": sum(r["seconds"] * r["pairs_per_s"] for r in rows) / seconds, "peak_rss_mb": peak}

    def prompts(self, n):
        with open(os.path.join(self.data, "instruct", "alpaca", "alpaca_5000.json"), encoding="utf-8") as f:
            rows = json.load(f)[:n]
        return [r["instruction"] + ("\n\n" + r["input"] if r.get("input") else "") for r in rows]

    def generate(self, model, batch, new):
        text = "".join(json.dumps({"messages": [{"role": "user", "content": p}]}) + "\n" for p in self.prompts(batch))
        done = s.run(self.plumb, "generate", model, "--batch", batch, "--max-new", new, "--ignore-stop", input=text)
        said = [line for line in done.stderr.splitlines() if line.startswith("generate: ")][-1].split()
        return {"new_tokens_per_s": float(said[said.index("tokens/s,") - 1])}

    def ppo(self, layers, updates=2, warmup=1):
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "prompts.jsonl")
            with open(path, "w") as f:
                for p in self.prompts(16 * updates * 2):
                    f.write(json.dumps({"messages": [{"role": "user", "content": p}]}) + "\n")
            raschka = os.path.join(self.data, "preference", "raschka-dpo", "instruction-data-with-preference.json")
            rows, peak = self.stages({
                "reward": {"data": [{"path": raschka, "limit": 8}], "eval": 0, "max_length": 512, "batch": 8, "layers": layers, "normalise": {"samples": 0}},
                # Every response has 64 tokens in TRL, padded after its end: so here, where stop.after lets none end before.
                "ppo": {"prompts": path, "max_prompt": 96, "episodes": 16 * updates, "batch": 16, "minibatches": 1, "epochs": 4, "micro_tokens": 1024, "lr": 1e-5,
                        "sampling": {"max_new": 64, "max_batch": 16}, "stop": {"after": 63}, "critic": {"layers": layers}, "save_every": 1000000},
            }, "reward", "ppo")
        return {"seconds_per_update_median": s.median([r["seconds"] for r in rows[warmup:]]), "peak_rss_mb": peak}


TRAINING = ["512x576x1536", "512x1536x576", "512x576x576", "2048x576x1536"]


def torch_products():
    rows = s.peer("ceilings.py", "--seconds", "0.5", "--megabytes", "64")
    return {k.removeprefix("float32 "): v for k, v in rows[-1]["gflops"].items()}, rows[-1]["versions"]


def works(o, trl_ppo):
    """name -> what is needed, the quantities, the peer, ours"""
    memory = lambda target: Quantity("peak resident MiB", COST, target)
    rate = lambda name, target: Quantity(name, RATE, target)

    def products():
        got, versions = torch_products()
        return [s.geomean([got[k] for k in TRAINING]), got["16x576x1536"], got["16x576x49152"]], versions

    def our_products():
        got = o.products()
        return [s.geomean([got[k] for k in TRAINING]), got["16x576x1536"], got["16x576x49152"]]

    def of(script, keys, *args):
        def f():
            r = s.peer(script, *args, "--model", o.model)[-1]
            return [r[k] for k in keys], r["versions"]
        return f

    trl = ["torch", "transformers", "trl", "peft", "accelerate", "datasets"]
    per_s, memory_too = "tokens_per_s", ["tokens_per_s", "peak_rss_mb"]
    yield "sgemm", "torch", ["torch"], [rate("GFLOP/s, products of training (geometric mean of four)", 1.0), rate("GFLOP/s, 16 rows, a layer", 1.8), rate("GFLOP/s, 16 rows, the head", 4.0)], products, our_products
    yield "sft", "TRL", trl, [rate("real tokens/s, LoRA r 16, 8 rows of at most 512", 2.5), memory(5)], of("sft_trl.py", memory_too), lambda: [o.sft()[k] for k in memory_too]
    for strategy in ("wrapped", "bfd"):
        yield f"sft-packed-{strategy}", f"TRL, packing {strategy}", trl, [rate("real tokens/s, packed rows of 512", 2.3)], of("sft_trl.py", [per_s], "--packing", strategy, "--steps", "4", "--warmup", "1"), lambda: [o.sft("--packing", "--steps", "4", "--warmup", "1")[per_s]]
    yield "reward", "TRL", trl, [rate("pairs/s, LoRA, HH pairs of at most 512", 3.0), memory(8)], of("reward_trl.py", ["pairs_per_s", "peak_rss_mb"], "--steps", "5", "--warmup", "1"), lambda: [o.reward()[k] for k in ("pairs_per_s", "peak_rss_mb")]
    yield "sample-16", "transformers", ["torch", "transformers"], [rate("new tokens/s, 16 side by side, 128 new, prompts included", 4.5)], of("generate_hf.py", ["new_tokens_per_s"], "--batches", "16", "--repeats", "1"), lambda: [o.generate(o.model, 16, 128)["new_tokens_per_s"]]
    yield "sample-1", "transformers", ["torch", "transformers"], [rate("new tokens/s, alone, 128 new, prompt included", 1.0)], of("generate_hf.py", ["new_tokens_per_s"], "--batches", "1", "--repeats", "1"), lambda: [o.generate(o.model, 1, 128)["new_tokens_per_s"]]
    for gguf in sorted(f for f in os.listdir(os.path.dirname(o.model)) if f.endswith(".gguf")) if os.path.isdir(os.path.dirname(o.model)) else []:
        path, kind = os.path.join(os.path.dirname(o.model), gguf), gguf.rsplit(".", 2)[-2]
        for batch, target in ((1, 1.0), (16, 1.8)):
            yield (f"sample-{batch}-{kind}", f"llama.cpp, {kind}", ["llama_cpp", "numpy"], [rate(f"new tokens/s, {batch} side by side, 128 new, prompts included, the same file", target)],
                   of("generate_llamacpp.py", ["new_tokens_per_s"], "--gguf", path, "--batches", str(batch), "--prompt-only", "1", "--repeats", "1"), lambda path=path, batch=batch: [o.generate(path, batch, 128)["new_tokens_per_s"]])
    update = Quantity("seconds an update: 16 prompts, 64 new tokens, 4 epochs", COST, 1.6)
    keys = ["seconds_per_update_median", "peak_rss_mb"]
    ppo = of("ppo_trl.py", keys + keys, "--updates", "2", *(["--trl", trl_ppo] if trl_ppo else []))
    top = lambda q, target: q._replace(name=q.name + "; ours with a critic of the 8 top layers", target=target)
    yield "ppo", "TRL 1.12", trl + [f"/{trl_ppo}"], [update, memory(8), top(update, 2.2), top(memory(8), 8)], ppo, lambda: [r[k] for r in (o.ppo(0), o.ppo(8)) for k in keys]


def need(things):
    for t in things:
        if t.startswith("/") and not os.path.isdir(t[1:]):
            raise s.Absent(f"no {t[1:] or 'TRL 1.12'}: pip install --no-deps --target ~/trl-1.12 trl==1.12.0")
    s.has(*[t for t in things if not t.startswith("/")])


def kept(path, machine):
    """what the file holds of this machine"""
    try:
        with open(path) as f:
            return [r for r in json.load(f) if r["machine"] == machine]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as e:
        sys.exit(f"{path}: {e!r}: no bench-peers.json; move it away")


def table(rows):
    print(f"{'work':22} {'peer':22} {'peer':>9} {'plumb':>9} {'ratio':>6} {'target':>6} {'n':>2} {'spread':>6}  quantity")
    for r in rows:
        mark = "" if r["ratio"] >= r["target"] else "  below its target"
        print(f"{r['work']:22} {r['peer']:22} {r['peer_value']:9.4g} {r['ours']:9.4g} {r['ratio']:6.2f} {r['target']:6.2f} {r['n']:2} {r['spread']:6.0%}  {r['quantity']}{mark}")


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("plumb")
    ap.add_argument("kernels", help="the kernels' test binary: go test -c ./internal/kernels")
    ap.add_argument("--n", type=int, default=5, help="pairs of runs")
    ap.add_argument("--works", default="", help="only these, comma-separated: " + "sgemm, sft, sft-packed-wrapped, sft-packed-bfd, reward, sample-1, sample-16, sample-1-Q4_1, ..., ppo")
    ap.add_argument("--model", default=os.path.join(MODEL, "hf"))
    ap.add_argument("--trl-ppo", default=os.path.expanduser("~/trl-1.12"), help="folder of TRL 1.12.0, the last that has PPO")
    ap.add_argument("--out", default="bench-peers.json")
    a = ap.parse_args()
    absent, failed = [], []
    try:
        ours = Ours(a.plumb, a.kernels, os.path.abspath(os.path.expanduser(a.model)))
    except s.Absent as e:
        print("no peer can be run:", e)
        sys.exit(3)
    m = s.machine(a.plumb)
    machine = {"cpu": m["processor"], "cores": os.cpu_count(), "kernels": m["kernels"]}
    out = kept(a.out, machine)
    version = s.run(a.plumb, "--version").stdout.strip().removeprefix("plumb ")
    wanted = [w for w in a.works.split(",") if w]
    every = list(works(ours, a.trl_ppo))
    if unknown := set(wanted) - {w[0] for w in every}:
        sys.exit(f"no such work: {', '.join(sorted(unknown))}; there is {', '.join(w[0] for w in every)}")
    for name, peer, things, quantities, theirs, mine in every:
        if wanted and name not in wanted:
            continue
        out = [r for r in out if r["work"] != name]  # of a work that now fails nothing older stays
        try:
            need(things)
            if name != "sgemm" and not os.path.isdir(ours.model):
                raise s.Absent(f"no model {ours.model}: tools/get-smollm2.sh of the shared folder makes it")
            pairs, versions, most = [], {}, 0.0
            for i in range(a.n):
                print(f"{name}: pair {i + 1} of {a.n}", file=sys.stderr, flush=True)
                watch = s.Others()
                theirs_now, versions = theirs()
                most = max(most, watch.cores())
                watch = s.Others()
                pairs.append((theirs_now, mine()))
                most = max(most, watch.cores())
        except s.Absent as e:
            absent.append(f"{name}: {e}")
            continue
        except (RuntimeError, KeyError, IndexError, ValueError) as e:
            failed.append(f"{name}: {e!r}" if not isinstance(e, RuntimeError) else f"{name}: {e}")
            continue
        for k, q in enumerate(quantities):
            ratios = [(b[k] / t[k]) ** q.better for t, b in pairs]
            out.append({
                "work": name, "peer": peer, "quantity": q.name, "peer_value": s.median([t[k] for t, _ in pairs]), "ours": s.median([b[k] for _, b in pairs]),
                "ratio": s.median(ratios), "target": q.target, "n": a.n, "spread": (max(ratios) - min(ratios)) / s.median(ratios), "other_cores": round(most, 2),
                "machine": machine, "versions": {"plumb": version, **versions}})
        with open(a.out + ".new", "w") as f:  # what was measured is kept if a later work is cut off
            json.dump(out, f, indent=1)
        shutil.move(a.out + ".new", a.out)
    table(out)
    for line in absent:
        print("absent:", line)
    for line in failed:
        print("failed:", line)
    sys.exit(1 if failed else 3 if absent else 0)


if __name__ == "__main__":
    main()
