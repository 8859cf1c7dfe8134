#!/usr/bin/env python3
"""`plumb plan` beside the recipe itself: each stage's seconds and peak memory, foretold and then measured.

    scripts/plan_check.py bin/plumb recipes/chaos.yaml [--stages sft,reward] [-- further flags of plumb]

Plans, then runs the stages one after another, each in a process of its own in a folder that is removed, and compares with the
timing object of its run.json (from the stage's begin to its end; reading the base comes before). Exits 1 where a stage's seconds
or memory, or the sum of the seconds, is off by more than --within and by more than --slack seconds or MiB: what starting, the
collector and a report take weighs in a stage of seconds and vanishes in one that matters. A stage that waits for labels ends
the comparison. Only worth something on a machine that does nothing else: the last column says. On a busy one
`--cpu ... -- --threads 1` compares with the processor time of the whole process, start included, and tells more than the clock.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import side_by_side


def others(work):
    """runs work: what it returns, how many cores other programs used meanwhile, and the processor seconds it took itself"""
    watch, own = side_by_side.Others(), side_by_side.own()
    out = work()
    return out, watch.cores(), side_by_side.own() - own


def off(said, was):
    return (said - was) / was if was else 0.0


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("plumb")
    ap.add_argument("recipe")
    ap.add_argument("--cpu", action="store_true", help="compare with processor time instead, for a busy machine and --threads 1")
    ap.add_argument("--stages", default="", help="the first stages to run, comma-separated; default all")
    ap.add_argument("--within", type=float, default=0.15)
    ap.add_argument("--slack", type=float, nargs=2, default=(2, 40), metavar=("SECONDS", "MIB"), help="differences below are not judged")
    cut = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    a = ap.parse_args(sys.argv[1:cut])
    a.flags = sys.argv[cut + 1:]

    def plan():
        return json.loads(subprocess.run([a.plumb, "plan", a.recipe, "--json", *a.flags], check=True, stdout=subprocess.PIPE).stdout)

    report, share, _ = others(plan)
    print(f"planned in {report['measured_seconds']:.0f} s on {report['cpu']}; other programs used {share:.2f} cores")
    wanted = [s for s in a.stages.split(",") if s]
    bad, said, was = [], 0.0, 0.0
    print(f"{'stage':8} {'s said':>8} {'s was':>8} {'off':>7} {'cpu s':>7}   {'MiB said':>8} {'MiB was':>8} {'off':>7}   other cores")
    with tempfile.TemporaryDirectory() as tmp:
        for s in report["stages"]:
            name = s["stage"]
            if wanted and name not in wanted:
                break
            done, share, cpu = others(lambda: subprocess.run([a.plumb, name, a.recipe, "-q", "--runs", tmp, *a.flags], stdout=subprocess.DEVNULL))
            if done.returncode == 3:
                print(f"{name:8} waits for labels: what follows cannot be run")
                break
            if done.returncode != 0:
                sys.exit(f"plumb {name} failed with {done.returncode}")
            run = next(os.path.join(tmp, d, name, "run.json") for d in os.listdir(tmp) if os.path.exists(os.path.join(tmp, d, name, "run.json")))
            with open(run) as f:
                t = json.load(f)["timing"]
            if a.cpu:
                t["seconds"] = cpu
            mib = s["memory"]["total"] / 2**20
            ds, dm = off(s["seconds"], t["seconds"]), off(mib, t["peak_mib"])
            print(f"{name:8} {s['seconds']:8.2f} {t['seconds']:8.2f} {ds:+7.0%} {cpu:7.2f}   {mib:8.0f} {t['peak_mib']:8.0f} {dm:+7.0%}   {share:.2f}", flush=True)
            said, was = said + s["seconds"], was + t["seconds"]
            if abs(ds) > a.within and abs(s["seconds"] - t["seconds"]) > a.slack[0]:
                bad.append(f"{name}: seconds {ds:+.0%}")
            if abs(dm) > a.within and abs(mib - t["peak_mib"]) > a.slack[1]:
                bad.append(f"{name}: memory {dm:+.0%}")
    print(f"{'all':8} {said:8.2f} {was:8.2f} {off(said, was):+7.0%}")
    if abs(off(said, was)) > a.within and abs(said - was) > a.slack[0]:
        bad.append(f"all stages: seconds {off(said, was):+.0%}")
    for b in bad:
        print("off by more than", f"{a.within:.0%}:", b)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
