#!/usr/bin/env python3
"""Speed of `plumb sft`: LoRA r=16 on every linear layer, rows of 8 to a step, one JSON line of rates.

    scripts/sft_speed.py bin/plumb --model DIR --data alpaca.json [--steps 8] [--warmup 2]

tokens are real ones (there is no padding); the first --warmup steps are left out of the rates. A rate is total over total,
from timing.jsonl; peak_rss_mb is the process's highest resident size; other_cpu_share is what other programs used of the
processor meanwhile, in cores: a timing where it is not near zero is not worth much.
"""
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time


def busy():
    with open("/proc/stat") as f:
        v = list(map(int, f.readline().split()[1:9]))
    return (sum(v) - v[3] - v[4] - v[7]) / os.sysconf("SC_CLK_TCK")  # less idle, iowait, steal


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("plumb")
    ap.add_argument("--model", required=True)
    ap.add_argument("--data", required=True)
    ap.add_argument("--samples", type=int, default=256)
    ap.add_argument("--steps", type=int, default=8)
    ap.add_argument("--warmup", type=int, default=2)
    ap.add_argument("--batch", type=int, default=8)
    ap.add_argument("--micro-tokens", type=int, default=1024)
    ap.add_argument("--max-length", type=int, default=512)
    ap.add_argument("--threads", type=int, default=0)
    ap.add_argument("--packing", action="store_true")
    a = ap.parse_args()
    sft = {
        "data": [{"path": os.path.abspath(a.data), "limit": a.samples}], "eval": 0, "max_length": a.max_length, "overlong": "keep_start",
        "batch": a.batch, "micro_tokens": a.micro_tokens, "max_steps": a.steps, "epochs": 100, "schedule": "constant", "warmup": 0,
        "lr": 2e-4, "packing": a.packing, "save_every": 1000000, "peft": {"r": 16, "alpha": 32},
    }
    with tempfile.TemporaryDirectory() as tmp:
        recipe = os.path.join(tmp, "speed.yaml")
        with open(recipe, "w") as f:
            json.dump({"version": 1, "base": os.path.abspath(a.model), "sft": sft}, f)  # JSON is YAML
        others, start = busy(), time.time()
        subprocess.run([a.plumb, "sft", recipe, "-q", "--runs", tmp, "--threads", str(a.threads)], check=True, stdout=subprocess.DEVNULL)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        others, wall = busy() - others - used.ru_utime - used.ru_stime, time.time() - start
        stage = os.path.join(tmp, "speed", "sft")
        with open(os.path.join(stage, "timing.jsonl")) as f:
            rows = [json.loads(line) for line in f]
        with open(os.path.join(stage, "metrics.jsonl")) as f:
            losses = [json.loads(line)["loss"] for line in f]
    rows = rows[a.warmup:]
    seconds = sum(r["seconds"] for r in rows)
    tokens = round(sum(r["seconds"] * r["tokens_per_s"] for r in rows))
    print(json.dumps({
        "program": "plumb", "steps_timed": len(rows), "steps_not_timed": a.warmup, "seconds": round(seconds, 2), "tokens": tokens,
        "tokens_per_s": round(tokens / seconds, 1), "seconds_per_step_median": round(sorted(r["seconds"] for r in rows)[len(rows) // 2], 3),
        "peak_rss_mb": round(used.ru_maxrss / (1024 if sys.platform != "darwin" else 1 << 20), 1), "wall": round(wall, 1),
        "other_cpu_share": max(0, round(others / wall, 3)), "loss_first": losses[0], "loss_last": losses[-1],
    }), flush=True)


if __name__ == "__main__":
    main()
