#!/usr/bin/env python3
"""Fails if a ratio has fallen by more than 10 % below the committed one, on the same processor model.

    scripts/bench_gate.py bench-peers.json docs/results/bench-peers.json [--within 0.10]

Entries are matched by work, peer, quantity, processor and kernels; what was committed for another processor, and what is not in both,
is named and not judged. Exits 1 on a regression, 2 where a file cannot be read.
"""
import argparse
import json
import sys


def read(path):
    try:
        with open(path) as f:
            rows = json.load(f)
        return {(r["work"], r["peer"], r["quantity"], f'{r["machine"]["cpu"]}, {r["machine"]["kernels"]}'): r["ratio"] for r in rows}
    except (OSError, ValueError, KeyError, TypeError) as e:
        print(f"{path}: {e!r}", file=sys.stderr)
        sys.exit(2)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("measured")
    ap.add_argument("committed")
    ap.add_argument("--within", type=float, default=0.10)
    a = ap.parse_args()
    now, was = read(a.measured), read(a.committed)
    regressions = 0
    for key in sorted(now):
        work, peer, quantity, cpu = key
        if key not in was:
            print(f"not judged: {work} beside {peer}, {quantity}: nothing committed for {cpu}")
            continue
        change = now[key] / was[key] - 1
        bad = change < -a.within
        regressions += bad
        print(f"{'REGRESSION' if bad else 'ok':10} {work} beside {peer}: {was[key]:.3f} -> {now[key]:.3f} ({change:+.1%}), {quantity}")
    for key in sorted(set(was) - set(now)):
        print(f"not measured: {key[0]} beside {key[1]}, {key[2]} ({key[3]})")
    sys.exit(1 if regressions else 0)


if __name__ == "__main__":
    main()
