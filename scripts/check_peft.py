#!/usr/bin/env python3
"""Loads what plumb exports in PEFT and transformers and compares log-probabilities and rewards.

    check_peft.py [PLUMB]        PLUMB: the program, default bin/plumb

Trains a small policy and a reward model with PLUMB in a temporary folder, on the base $CHECK_PEFT_BASE (default
embedded:tales), exports both as PEFT adapters and as merged folders, and opens them with the Python libraries. Where those
are not installed it says so and checks nothing: exit code 0, or 1 with CHECK_PEFT_REQUIRED=1.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Both sides compute in float32 from the same weights; such sums over a few hundred terms differ by 1e-5 to 1e-4.
TOLERANCE = 1e-3

RECIPE = """\
version: 1
name: check
base: {base}
seed: 1
sft: {{data: [{{path: demos.jsonl}}], batch: 8, eval: 0, max_steps: 6, lr: 1e-2, peft: {{r: 4, alpha: 16}}}}
reward: {{data: [{{path: pairs.jsonl}}], batch: 8, lr: 1e-2, normalise: {{samples: 16, max_new: 16}}}}
"""


def lines(path, records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


def plumb(program, *args, records=None):
    """Runs the program; returns the JSON lines it wrote, where it was given some."""
    text = None if records is None else "".join(json.dumps(r) + "\n" for r in records)
    done = subprocess.run([program, *args], input=text, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"check-peft: {program} {' '.join(args)}: exit {done.returncode}\n{done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()] if records is not None else done.stdout


def farthest(a, b):
    if len(a) != len(b):
        sys.exit(f"check-peft: {len(a)} values against {len(b)}")
    return max(abs(x - y) for x, y in zip(a, b))


class Check:
    def __init__(self):
        self.failed = 0

    def __call__(self, what, apart):
        good = apart <= TOLERANCE  # False for NaN
        self.failed += not good
        print(f"  {'ok  ' if good else 'FAIL'} {what}: differ by at most {apart:.2e}")


def main():
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "bin/plumb")
    try:
        import peft
        import torch
        import transformers
        from safetensors.torch import load_file
    except ImportError as missing:
        print(f"check-peft: SKIPPED, nothing was checked: {missing.name} is not installed (pip install torch transformers peft;")
        print("  PYTHON=... names the Python to use)")
        sys.exit(1 if os.environ.get("CHECK_PEFT_REQUIRED") == "1" else 0)
    print(f"check-peft: PEFT {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
    transformers.logging.set_verbosity_error()

    def open_model(kind, where, **more):
        try:
            return kind.from_pretrained(where, dtype=torch.float32, **more).eval()
        except TypeError:  # before transformers 4.56
            return kind.from_pretrained(where, torch_dtype=torch.float32, **more).eval()

    causal, classify = transformers.AutoModelForCausalLM, transformers.AutoModelForSequenceClassification
    check = Check()
    with tempfile.TemporaryDirectory() as folder:
        base = os.environ.get("CHECK_PEFT_BASE", "embedded:tales")
        base = os.path.abspath(base) if os.path.exists(base) else base
        os.chdir(folder)
        here = Path(".")
        lines(here / "demos.jsonl", [{"prompt": f"Tell of number {i}.", "completion": f" There were {i} red hats."} for i in range(64)])
        lines(here / "pairs.jsonl", [{"prompt": f"Tell of number {i}.", "chosen": f" There were {i} red hats.", "rejected": " No."} for i in range(64)])
        (here / "recipe.yaml").write_text(RECIPE.format(base=json.dumps(base)))
        plumb(program, "run", "recipe.yaml", "-q")
        for stage in ("sft", "reward"):
            for form in ("peft", "merged"):
                plumb(program, "export", f"runs/check/{stage}", "--out", f"{stage}-{form}", "--format", form, "--dtype", "f32", "-q")

        base_folder = json.loads(Path("sft-peft/adapter_config.json").read_text())["base_model_name_or_path"]
        config = transformers.AutoConfig.from_pretrained(base_folder)
        special = {config.bos_token_id, config.eos_token_id, config.pad_token_id}
        ids = [i for i in range(3, config.vocab_size) if i not in special]
        texts = [[ids[(7 * i + 13 * n) % len(ids)] for i in range(5 + 4 * n)] for n in range(4)]
        records = [{"ids": t} for t in texts]

        def logprobs(model, text):
            with torch.no_grad():
                rows = model(torch.tensor([text])).logits[0].log_softmax(-1)
            return [rows[i, text[i + 1]].item() for i in range(len(text) - 1)]

        def score(model, text):
            with torch.no_grad():
                return model(torch.tensor([text])).logits[0, 0].item()

        print(f"policy (base {base})")
        want = [r["logprobs"] for r in plumb(program, "score", "runs/check/sft", "-q", records=records)]
        bare = open_model(causal, base_folder)
        moved = max(farthest(logprobs(bare, t), w) for t, w in zip(texts, want))
        if moved < 100 * TOLERANCE:
            sys.exit(f"check-peft: the adapter moves log-probabilities by {moved:.2e} only: nothing would be seen")
        adapted = peft.PeftModel.from_pretrained(bare, "sft-peft").eval()
        check("log-probabilities, PEFT adapter", max(farthest(logprobs(adapted, t), w) for t, w in zip(texts, want)))
        ours, theirs = load_file("sft-peft/adapter_model.safetensors"), peft.get_peft_model_state_dict(adapted)
        if set(ours) != set(theirs):
            sys.exit(f"check-peft: keys differ: {sorted(set(ours) ^ set(theirs))[:6]}")
        check("adapter weights as PEFT holds them", max((ours[k] - theirs[k]).abs().max().item() for k in ours))
        merged = open_model(causal, "sft-merged")
        check("log-probabilities, merged folder", max(farthest(logprobs(merged, t), w) for t, w in zip(texts, want)))

        print("reward model")
        want = [r["score"] for r in plumb(program, "score", "runs/check/reward", "-q", records=records)]
        if max(want) - min(want) < 100 * TOLERANCE:
            sys.exit(f"check-peft: the rewards {want} are too close together to tell anything")
        for form in ("peft", "merged"):
            bias = json.loads(Path(f"reward-{form}/plumb.json").read_text())["bias"]
            if form == "peft":
                base_folder = json.loads(Path("reward-peft/adapter_config.json").read_text())["base_model_name_or_path"]
                model = peft.PeftModel.from_pretrained(open_model(classify, base_folder, num_labels=1), "reward-peft").eval()
            else:
                model = open_model(classify, "reward-merged")
            check(f"rewards, {form}", farthest([score(model, t) + bias for t in texts], want))
    if check.failed:
        sys.exit(f"check-peft: {check.failed} comparisons failed")
    print("check-peft: all agree")


if __name__ == "__main__":
    main()
