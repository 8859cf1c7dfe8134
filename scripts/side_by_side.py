"""What the measuring scripts share: who else uses the machine, where the peers are, one line of JSON from a program."""
import json
import os
import resource
import shutil
import subprocess
import sys
import time


def busy():
    """processor seconds that everything on the machine has used since it started (Linux), else 0"""
    try:
        with open("/proc/stat") as f:
            v = list(map(int, f.readline().split()[1:9]))
    except OSError:
        return 0.0
    return (sum(v) - v[3] - v[4] - v[7]) / os.sysconf("SC_CLK_TCK")  # less idle, iowait, steal


def own():
    """processor seconds of this process and of the children it has waited for"""
    return sum(u.ru_utime + u.ru_stime for u in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)))


class Others:
    """how many cores other programs used since it was made"""

    def __init__(self):
        self.busy, self.own, self.time = busy(), own(), time.time()

    def cores(self):
        return max(0.0, (busy() - self.busy - own() + self.own) / max(time.time() - self.time, 1e-9))


class Absent(Exception):
    """a peer is not here; says which"""


def peers():
    """the folder of the peers' scripts: $PLUMB_SHARED/peers, or ../shared/peers beside the repository"""
    root = os.environ.get("PLUMB_SHARED") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "shared")
    path = os.path.join(root, "peers")
    if not os.path.isdir(path):
        raise Absent(f"no {path}: set PLUMB_SHARED to the folder that holds peers/")
    return os.path.abspath(path)


def python():
    """the Python that has the peers: $PYTHON, ~/peers (where their README puts it), python3"""
    for p in (os.environ.get("PYTHON"), os.path.expanduser("~/peers/bin/python"), "python3"):
        if p and (found := shutil.which(p)):
            return found
    raise Absent("no python3")


def has(*modules):
    """raises Absent unless that Python has the modules"""
    test = "import importlib.util as u,sys;print(' '.join(m for m in sys.argv[1:] if not u.find_spec(m)))"
    missing = subprocess.run([python(), "-c", test, *modules], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    if missing:
        raise Absent(f"{python()} has no {missing}")


def run(*command, **kw):
    """runs a command and returns its output; what it says on standard error is shown if it fails"""
    done = subprocess.run([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done


def peer(script, *args):
    """runs a peer's script: its lines of JSON"""
    out = run(python(), os.path.join(peers(), script), *args).stdout
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


def median(xs):
    xs = sorted(xs)
    n = len(xs)
    return xs[n // 2] if n % 2 else (xs[n // 2 - 1] + xs[n // 2]) / 2


def geomean(xs):
    p = 1.0
    for x in xs:
        p *= x
    return p ** (1 / len(xs))


def machine(plumb):
    """what plumb says of the machine: cpu, kernels, ceilings; processor: its family and model beside its name, which may be no more than its maker's"""
    m = json.loads(run(plumb, "plan", "--json").stdout)
    m["processor"] = m["cpu"]
    try:
        with open("/proc/cpuinfo") as f:
            said = dict(line.split(":", 1) for line in f.read().split("\n\n")[0].splitlines() if ":" in line)
    except OSError:
        return m
    said = {k.strip(): v.strip() for k, v in said.items()}
    if "cpu family" in said and "model" in said:
        m["processor"] += f" (family {said['cpu family']}, model {said['model']})"
    return m


def cache_dir():
    """where plumb keeps what may be deleted, as Go's os.UserCacheDir has it"""
    if sys.platform == "darwin":
        return os.path.expanduser("~/Library/Caches/plumb")
    return os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "plumb")
