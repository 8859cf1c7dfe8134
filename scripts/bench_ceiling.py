#!/usr/bin/env python3
"""What this machine gives: a large product of float32 and memory bandwidth, with one thread and with all, ours and torch's.

    scripts/bench_ceiling.py bin/plumb [--no-keep]

The fastest products are kept in ~/.cache/plumb/ceiling.json, by processor, threads and program; perf/mfu is a share of the
largest of them and of what a run measures itself (docs/performance.md). Delete the file to forget them. Exits 3 where torch is
absent: ours is measured and kept all the same.
"""
import argparse
import json
import os
import sys

import side_by_side as s


def keep(cpu, found):
    path = os.path.join(s.cache_dir(), "ceiling.json")
    try:
        with open(path) as f:
            rows = json.load(f)
    except (OSError, ValueError):
        rows = []
    for threads, gflops, by in found:
        same = [r for r in rows if (r["cpu"], r["threads"], r["by"]) == (cpu, threads, by)]
        if same:
            same[0]["gflops"] = max(same[0]["gflops"], gflops)
        else:
            rows.append({"cpu": cpu, "threads": threads, "gflops": gflops, "by": by})
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + ".new", "w") as f:
        json.dump(rows, f, indent=1)
    os.replace(path + ".new", path)
    print("kept in", path)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("plumb")
    ap.add_argument("--no-keep", action="store_true")
    ap.add_argument("--seconds", default="0.7", help="time torch spends on each figure")
    a = ap.parse_args()
    others, absent = s.Others(), None
    m = s.machine(a.plumb)
    rows = [("plumb", c["threads"], c["gflops"], c["read_gb_per_s"], c["copy_gb_per_s"]) for c in m["ceilings"]]
    try:
        s.peers(), s.has("torch")
        for c in s.peer("ceilings.py", "--seconds", a.seconds):
            best = max(v for k, v in c["gflops"].items() if k.startswith("float32"))
            rows.append(("torch", c["threads"], best, c["read_gb_per_s"], c["copy_gb_per_s"]))
    except s.Absent as e:
        absent = e
    print(f"{m['cpu']}, {m['kernels']} kernels; other programs used {others.cores():.2f} cores")
    print(f"{'program':8} {'threads':>7} {'GFLOP/s':>8} {'read GB/s':>9} {'copy GB/s':>9}")
    for r in rows:
        print(f"{r[0]:8} {r[1]:7} {r[2]:8.1f} {r[3]:9.1f} {r[4]:9.1f}")
    if not a.no_keep:
        keep(m["cpu"], [(threads, gflops, by) for by, threads, gflops, _, _ in rows])
    if absent:
        print("torch is absent:", absent)
        sys.exit(3)


if __name__ == "__main__":
    main()
