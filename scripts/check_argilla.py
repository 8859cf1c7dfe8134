#!/usr/bin/env python3
"""Loads what `plumb label export --format argilla` writes into a running Argilla, and reads back what its server holds.

    check_argilla.py [PLUMB]     PLUMB: the program, default bin/plumb

ARGILLA_API_URL and ARGILLA_API_KEY say which server, as an owner: one to play with, for the check makes a workspace, users and
datasets there and deletes them. Judgements of every kind go through a store, Argilla's Python SDK (records.from_json), its
server, and into a second store, which must say the same of the same people. Without a server or the SDK it says so and checks
nothing: exit code 0, or 1 with CHECK_ARGILLA_REQUIRED=1.
"""

import json
import os
import sys
import tempfile
import urllib.request
import warnings
from pathlib import Path

from check_studio import SAID, judgements, plumb, same


def absent(why):
    print(f"check-argilla: {why}: nothing checked")
    sys.exit(os.environ.get("CHECK_ARGILLA_REQUIRED") == "1")


def settings(rg):
    """The datasets that docs/algorithms/labeling.md wants, by kind of judgement; conversations have one of their own."""
    label = lambda name, *labels, required=True: rg.LabelQuestion(name, labels=list(labels), required=required)
    texts = lambda *names: [rg.TextField(n) for n in names]
    answers = ["response_1", "response_2", "response_3"]
    preference = label("preference", "response_a", "response_b", "tie", "both_bad", "cant_say")
    rating = lambda axis: rg.RatingQuestion(axis, values=[1, 2, 3, 4, 5], required=False)
    shapes = {
        "comparison": (texts("prompt", "response_a", "response_b"), [preference]),
        "conversation": ([rg.ChatField("prompt"), *texts("response_a", "response_b")], [preference]),
        "ranking": (texts("prompt", *answers), [rg.RankingQuestion("ranking", values=answers), label("verdict", "both_bad", "cant_say", required=False)]),
        "rating": (texts("prompt", "response"), [*map(rating, ["helpful", "harmless", "honest"]), label("verdict", "rated", "cant_say")]),
        "good or bad": (texts("prompt", "response"), [label("good_or_bad", "good", "bad", "cant_say")]),
    }
    return {kind: rg.Settings(fields=fields, questions=questions, allow_extra_metadata=True) for kind, (fields, questions) in shapes.items()}


class Argilla:
    """A server, with a workspace of this check and the users that it made there."""

    def __init__(self, rg):
        self.rg, self.url, self.key = rg, os.environ["ARGILLA_API_URL"].rstrip("/"), os.environ["ARGILLA_API_KEY"]
        self.client = rg.Argilla(api_url=self.url, api_key=self.key)
        self.name = f"plumb-check-{os.urandom(4).hex()}"
        self.workspace = rg.Workspace(self.name, client=self.client).create()
        self.users = {}

    def user(self, who):
        if who not in self.users:
            name = f"{self.name}-{len(self.users)}"
            self.users[who] = self.rg.User(username=name, password=os.urandom(12).hex(), role="annotator", client=self.client).create()
        return str(self.users[who].id)

    def through(self, kind, records, settings, path):
        """What the server holds of records that were loaded from a file."""
        for r in records:
            for given in r["responses"].values():
                for response in given:
                    response["user_id"] = self.user(r["metadata"]["annotator"])
        Path(path).write_text(json.dumps(records))
        dataset = self.rg.Dataset(f"{self.name}-{kind.replace(' ', '-')}", workspace=self.workspace, settings=settings, client=self.client)
        dataset.create()
        try:
            dataset.records.from_json(path)
            request = urllib.request.Request(f"{self.url}/api/v1/datasets/{dataset.id}/records?include=responses&limit=1000", headers={"X-Argilla-Api-Key": self.key})
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)["items"]
        finally:
            dataset.delete()

    def close(self):
        for made in [*self.users.values(), self.workspace]:
            try:
                made.delete()
            except Exception as e:  # the others are to go all the same
                print(f"  could not delete {made}: {e}")


def check(program, server, folder, kind, records, said, settings):
    at = lambda name: os.path.join(folder, kind.replace(" ", "-") + name)
    Path(at(".json")).write_text(json.dumps(records))
    plumb(program, "label", "import", at(".json"), "--store", at("-there.db"))
    sent = json.loads(plumb(program, "label", "export", "--store", at("-there.db"), "--format", "argilla"))
    try:
        back = server.through(kind, sent, settings, at(".sent.json"))
    except Exception as e:  # whatever the SDK makes of a refusal
        print(f"  FAIL {kind}: {str(e)[:500]}")
        return False
    Path(at(".back.json")).write_text(json.dumps(back))
    plumb(program, "label", "import", at(".back.json"), "--store", at("-back.db"))
    return same(program, kind, at, len(back) == len(sent) == said, f"records {len(back)}")


def main():
    program = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else "bin/plumb")
    warnings.simplefilter("ignore")
    if not os.environ.get("ARGILLA_API_URL") or not os.environ.get("ARGILLA_API_KEY"):
        absent("no ARGILLA_API_URL and ARGILLA_API_KEY")
    try:
        import argilla as rg
    except ImportError:
        absent("no module argilla (pip install argilla)")
    kinds = judgements()
    talks = lambda r: not isinstance(r["fields"]["prompt"], str)
    kinds["conversation"] = [r for r in kinds["comparison"] if talks(r)]
    kinds["comparison"] = [r for r in kinds["comparison"] if not talks(r)]
    said = {**SAID, "conversation": 2, "comparison": SAID["comparison"] - 2}
    shapes = settings(rg)
    print("Argilla", rg.__version__)
    server = Argilla(rg)
    try:
        with tempfile.TemporaryDirectory() as folder:
            good = [check(program, server, folder, kind, records, said[kind], shapes[kind]) for kind, records in kinds.items()]
    finally:
        server.close()
    sys.exit(not all(good))


if __name__ == "__main__":
    main()
