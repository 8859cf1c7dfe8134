#!/usr/bin/env python3
"""Loads what `plumb label export --format label-studio` writes into Label Studio itself, and reads its export back.

    check_studio.py [PLUMB] [LABEL_STUDIO]   the programs, default bin/plumb and label-studio

Starts the server in a temporary folder and makes a project for each labeling interface that docs/algorithms/labeling.md
gives. Judgements of every kind go through a store, Label Studio, and into a second store, which must say the same of the
same people. Where Label Studio is not installed it says so and checks nothing: exit code 0, or 1 with
CHECK_STUDIO_REQUIRED=1.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

TOKEN = "0123456789abcdef0123456789abcdef01234567"
VIEWS = ["comparison", "ranking", "rating", "good or bad"]  # in the order of the page
SAID = {"comparison": 10, "ranking": 4, "rating": 3, "good or bad": 3}  # judgements that judgements() has, a person each


def record(fields, metadata=None, **answers):
    """An Argilla record: answers are {question: [(who, value)]}."""
    responses = {q: [{"user_id": who, "value": v} for who, v in given] for q, given in answers.items()}
    return {"fields": fields, "metadata": metadata or {}, "responses": responses}


def judgements():
    """Records of each kind, as plumb label import reads them."""
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "Why?"}]
    pair = lambda i: {"prompt": talk if i == 0 else f'{i} < 2 & "more"?', "response_a": f"first {i}\n\n```go\nx()\n```", "response_b": f"zweite {i} 漢字 🙂"}
    said = ["response_a", "response_b", "tie", "both_bad", "cant_say"]
    three = lambda i: {"prompt": f"rank {i}", "response_1": f"one {i}", "response_2": f"two {i}", "response_3": f"three {i}"}
    ranks = lambda *n: [{"value": f"response_{k + 1}", "rank": r} for k, r in enumerate(n)]
    one = lambda i: {"prompt": f"judge {i}", "response": f"answer {i}"}
    return {
        "comparison": [record(pair(i), {"annotator": "ann", "strength": 1 + i % 3}, preference=[("ann", said[i]), ("bob@example.com", said[i - 1])]) for i in range(5)],
        "ranking": [record(three(0), ranking=[("ann", ranks(2, 3, 1)), ("bob", ranks(1, 1, 1))]), record(three(1), verdict=[("ann", "both_bad"), ("bob", "cant_say")])],
        "rating": [record(one(0), helpful=[("ann", 1), ("bob", 5)], harmless=[("ann", 4)], honest=[("ann", 2)]), record(one(1), verdict=[("ann", "cant_say")])],
        "good or bad": [record(one(2), good_or_bad=[("ann", "good"), ("bob", "bad"), ("eve", "cant_say")])],
    }


def views():
    """The labeling interfaces of the documentation, by kind."""
    page = Path(__file__).resolve().parent.parent / "docs" / "algorithms" / "labeling.md"
    found = re.findall(r"^    (<View>.*?</View>)$", page.read_text(), re.DOTALL | re.MULTILINE)
    if len(found) != len(VIEWS):
        sys.exit(f"check-studio: {page} has {len(found)} interfaces, not {len(VIEWS)}")
    return dict(zip(VIEWS, found))


def plumb(program, *args):
    done = subprocess.run([program, *args], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"check-studio: {program} {' '.join(args)}: exit {done.returncode}\n{done.stderr}")
    return done.stdout


def told(program, store):
    """All that a store says, less how long people took: Label Studio's lead_time is not read."""
    rows = json.loads(plumb(program, "label", "export", "--store", store, "--format", "argilla"))
    for r in rows:
        del r["metadata"]["seconds"]
    return rows


def same(program, kind, at, complete, what):
    """Says whether the stores of a kind, before the tool and after it, tell the same, and what went through it."""
    there, again = told(program, at("-there.db")), told(program, at("-back.db"))
    good = complete and there == again
    print(f"  {'ok  ' if good else 'FAIL'} {kind}: {what}")
    if there != again:
        print(f"    sent {json.dumps(there, ensure_ascii=False)}\n    back {json.dumps(again, ensure_ascii=False)}")
    return good


class Studio:
    """A running Label Studio."""

    def __init__(self, program, folder):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
        self.url, self.log = f"http://127.0.0.1:{port}/api/", os.path.join(folder, "server.log")
        env = {**os.environ, "LABEL_STUDIO_BASE_DATA_DIR": os.path.join(folder, "data"), "COLLECT_ANALYTICS": "0", "LABEL_STUDIO_HOST": f"http://127.0.0.1:{port}"}
        args = ["start", "--no-browser", "--port", str(port), "--username", "studio@example.com", "--password", "not-a-secret-1", "--user-token", TOKEN, "--enable-legacy-api-token"]
        with open(self.log, "w") as log:
            self.server = subprocess.Popen([program, *args], env=env, stdout=log, stderr=log)

    def wait(self, seconds=300):
        for _ in range(seconds):
            if self.server.poll() is not None:
                break
            try:
                return self.call("version")["label-studio-os-package"]["version"]
            except (OSError, KeyError, ValueError):
                time.sleep(1)
        sys.exit("check-studio: the server does not answer:\n" + Path(self.log).read_text()[-2000:])

    def call(self, path, data=None):
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.url + path, data=body, headers={"Authorization": "Token " + TOKEN, "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def stop(self):
        self.server.terminate()
        try:
            self.server.wait(20)
        except subprocess.TimeoutExpired:
            self.server.kill()
            self.server.wait()


def check(program, studio, folder, kind, records, view):
    at = lambda name: os.path.join(folder, kind.replace(" ", "-") + name)
    Path(at(".argilla.json")).write_text(json.dumps(records))
    plumb(program, "label", "import", at(".argilla.json"), "--store", at("-there.db"))
    tasks = json.loads(plumb(program, "label", "export", "--store", at("-there.db"), "--format", "label-studio"))
    try:
        project = studio.call("projects/", {"title": kind, "label_config": view})["id"]
        took = studio.call(f"projects/{project}/import", tasks)
        back = studio.call(f"projects/{project}/export?exportType=JSON")
    except urllib.error.HTTPError as e:
        print(f"  FAIL {kind}: {e.url}: {e.code} {e.read().decode()[:500]}")
        return False
    Path(at(".back.json")).write_text(json.dumps(back))
    plumb(program, "label", "import", at(".back.json"), "--store", at("-back.db"))
    complete = took["task_count"] == len(records) and took["annotation_count"] == SAID[kind]
    return same(program, kind, at, complete, f"tasks {took['task_count']}, annotations {took['annotation_count']}")


def main():
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "bin/plumb")
    wanted = sys.argv[2] if len(sys.argv) > 2 else "label-studio"
    server = shutil.which(wanted)
    if not server:
        print(f"check-studio: no program {wanted} (pip install label-studio): nothing checked")
        sys.exit(os.environ.get("CHECK_STUDIO_REQUIRED") == "1")
    interfaces = views()
    with tempfile.TemporaryDirectory() as folder:
        studio = Studio(server, folder)
        try:
            print("Label Studio", studio.wait())
            good = [check(program, studio, folder, kind, records, interfaces[kind]) for kind, records in judgements().items()]
        finally:
            studio.stop()
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
