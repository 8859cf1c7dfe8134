"""Writes snippets.json: what Jinja2 3.1.6, set up as transformers does, makes of small templates.

    python3 make_snippets.py > snippets.json

Each case is [template, text] or [template, null] where Jinja raises. The variables are those of `variables` below.
"""
import json
import datetime
import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

variables = {
    "s": "Hello, Wörld", "e": "", "n": 7, "m": -3, "f": 2.5, "t": True, "none_": None, "ws": "  a b  c\n",
    "xs": [3, 1, 2], "ys": [], "words": ["b", "A", "c", "a"], "lines": "one\n\ntwo\r\nthree",
    "d": {"b": 1, "a": [1, {"x": "y"}], "items": "own", "é": None},
    "people": [{"name": "Ann", "age": 31}, {"name": "bob", "age": 4}, {"name": "Cy"}],
    "messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}, {"role": "user", "content": "x"}],
    "odd": "a'b\"c\\d\n\t\u0000é🎉\u2028", "big": 123456789012345678901234567890,
}


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(lineno)

    def _run(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
now = datetime.datetime(2026, 7, 4, 15, 6, 7)
env.globals["strftime_now"] = now.strftime

snippets = open("snippets.txt", encoding="utf-8").read().split("\n----\n")
cases = []
for source in snippets:
    source = source.removesuffix("\n----")
    try:
        cases.append([source, env.from_string(source).render(**variables)])
    except Exception as e:
        cases.append([source, None, type(e).__name__])
json.dump({"variables": variables, "cases": cases}, __import__("sys").stdout, ensure_ascii=False, indent=1)
