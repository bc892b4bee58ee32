"""A contender's side of the pipe: holds one model and runs it when it is told to.

usage: python -m benchmarks.worker ENGINE
Requests, one a line in JSON: ``{"import": true}``, ``{"open": PATH, "threads": N}``,
``{"feed": FILE.npz}``, ``{"run": COUNT, "warm": COUNT}``, ``{"save": FILE.npz}``,
``{"load": {…}, "model": PATH, "threads": N}`` (see `benchmarks.pressure`). Each is answered
by one line; a failure by ``{"error": …}``. Only the standard library is imported before
the import is timed.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.quiet import status, usage


@contextlib.contextmanager
def importing() -> Iterator[list[float]]:
    """Collect the seconds of every outermost import of a module not yet loaded."""
    import _frozen_importlib as machinery

    original, spent, depth = machinery._find_and_load, [0.0], threading.local()

    def timed(*arguments: Any) -> Any:
        if getattr(depth, "inside", False):
            return original(*arguments)
        depth.inside = True
        began = time.perf_counter()
        try:
            return original(*arguments)
        finally:
            depth.inside = False
            spent[0] += time.perf_counter() - began

    machinery._find_and_load = timed
    try:
        yield spent
    finally:
        machinery._find_and_load = original


class Worker:
    """One engine, at most one model."""

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._module: Any = None
        self._model: Any = None
        self._feed: dict[str, Any] = {}
        self._run: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        for name in ("import", "open", "feed", "run", "save", "load"):
            if name in request:
                return dict(getattr(self, f"_on_{name}")(request))
        raise ValueError(f"nothing known is asked in {sorted(request)}")

    def _on_import(self, request: dict[str, Any]) -> dict[str, Any]:
        began = time.perf_counter()
        from benchmarks import engines

        self._module = engines.imported(self._engine)
        seconds = time.perf_counter() - began
        version = getattr(self._module, "__version__", "")
        return {"seconds": seconds, "version": version, "memory": status()}

    def _on_open(self, request: dict[str, Any]) -> dict[str, Any]:
        from benchmarks import engines

        if self._module is None:
            self._module = engines.imported(self._engine)
        began = time.perf_counter()
        with importing() as imports:
            self._model = engines.opened(
                self._engine, self._module, request["open"], request["threads"]
            )
        seconds = time.perf_counter() - began - imports[0]
        return {"seconds": seconds, "imports": imports[0], "memory": status()}

    def _on_feed(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        with np.load(request["feed"]) as arrays:
            self._feed = dict(arrays)
        began = time.perf_counter()
        self._run = self._model.runner(self._feed)
        self._run()
        return {"seconds": time.perf_counter() - began, "memory": status()}

    def _on_run(self, request: dict[str, Any]) -> dict[str, Any]:
        run, clock = self._run, time.perf_counter_ns
        for _ in range(request.get("warm", 0)):
            run()
        gc.disable()
        before, times = usage(), []
        for _ in range(request["run"]):
            began = clock()
            run()
            times.append(clock() - began)
        used = usage().since(before)
        gc.enable()
        return {"ns": times, "usage": used.to_dict(), "memory": status()}

    def _on_save(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        outputs = self._model.outputs(self._feed)
        np.savez(request["save"], *outputs)
        return {"facts": self._model.facts()}

    def _on_load(self, request: dict[str, Any]) -> dict[str, Any]:
        from benchmarks import engines, pressure

        def opened() -> Any:
            return engines.opened(
                self._engine, self._module, request["model"], request["threads"]
            )

        return pressure.answer(opened, request["load"])


def main() -> None:
    """Answer requests until there are no more."""
    # What libraries print goes to standard error; the pipe is for answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(sys.argv[1])
    for line in sys.stdin:
        try:
            answer = worker.answer(json.loads(line))
        except Exception as error:
            answer = {"error": f"{sys.argv[1]}: {type(error).__name__}: {error}"}
        print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
