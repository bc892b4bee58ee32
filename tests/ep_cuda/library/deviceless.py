"""Builds cuDNN's plans for devices that are not there, in a process of its own.

A process that has loaded the stub of libcuda can never use a device again, so none of the
tests' own processes does: `main` runs in another one, reads a pickled `Request` from its
standard input and writes the pickled answers to its standard output.
"""

import ctypes
import importlib.util
import json
import pickle
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
CAPABILITIES = (75, 80, 86, 89, 90, 100, 120)


class Request(NamedTuple):
    """Operations by name, and how candidates for them are asked for."""

    operations: dict
    limit: int = 1 << 30
    most: int = 1
    deterministic: bool = False
    restored_for: int = 0
    """The capability for which the first plan of each is restored; 0 for none."""


class Answer(NamedTuple):
    """The plans of an operation: names, workspaces, how many bytes; what was restored."""

    names: tuple = ()
    workspaces: tuple = ()
    saved: int = 0
    restored: bool = False
    damaged: bool = False
    """Whether a plan was made of damaged bytes."""


def why_not():
    """Why nothing can be built here, if it cannot."""
    from library import stub_libcuda

    if importlib.util.find_spec("cudnn") is None:
        return "nvidia-cudnn-frontend is not installed"
    return stub_libcuda.why_not()


def ask(libcuda, capability, request):
    """Have another process build; return its answers by name."""
    places = [str(HERE.parent), str(HERE.parents[2] / "plugins/ep-cuda")]
    code = f"import sys; sys.path[:0] = {places}; from library.deviceless import main"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; main()", str(libcuda), str(capability)],
        input=pickle.dumps(request),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-4000:])
    return pickle.loads(done.stdout)


def device(capability, **options):
    """cuDNN for a synthetic device."""
    from runtime_ep_cuda.cudnn import Device

    text = (HERE / f"devices/sm_{capability}.json").read_text()
    count = json.loads(text)["multiProcessorCount"]
    return Device(capability, count, description=text, **options)


def answers(capability, request):
    """Build what is asked for."""
    from runtime_ep_cuda import cudnn

    options = {"most": request.most, "deterministic": request.deterministic}
    here = device(capability, **options)
    other = request.restored_for and device(request.restored_for)
    found = {}
    for name, operation in request.operations.items():
        plans = cudnn.candidates(here, operation, request.limit)
        answer = Answer(
            tuple(plan.name for plan in plans), tuple(plan.workspace for plan in plans)
        )
        if plans and other:
            saved = plans[0].save()
            again = cudnn.restore(other, saved)
            same = again is not None and again.workspace == plans[0].workspace
            damaged = cudnn.restore(other, saved[: len(saved) // 2])
            answer = answer._replace(
                saved=len(saved), restored=same, damaged=damaged is not None
            )
        found[name] = answer
    return found


def main():
    """Answer the request on the standard input."""
    libcuda, capability = sys.argv[1:]
    ctypes.CDLL(libcuda, mode=ctypes.RTLD_GLOBAL)
    request = pickle.loads(sys.stdin.buffer.read())
    sys.stdout.buffer.write(pickle.dumps(answers(int(capability), request)))
