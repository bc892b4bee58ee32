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
from collections import Counter
from collections.abc import Iterator
from typing import Any

from benchmarks.quiet import status, usage


class Imports:
    """Seconds and bytes of the outermost imports of modules not yet loaded."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.bytes: Counter[str] = Counter()
        self._depth = threading.local()

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """Count an import, unless it stands within another one."""
        if getattr(self._depth, "inside", False):
            yield
            return
        self._depth.inside = True
        before, began = status(), time.perf_counter()
        try:
            yield
        finally:
            self._depth.inside = False
            self.seconds += time.perf_counter() - began
            self.bytes.update(status())
            self.bytes.subtract(before)

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Count the imports of the body, those by `importlib.import_module` too."""
        import _frozen_importlib as machinery

        original = machinery._find_and_load

        def counted(*arguments: Any) -> Any:
            with self.one():
                return original(*arguments)

        machinery._find_and_load = counted
        try:
            yield
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
        imports, began = Imports(), time.perf_counter()
        with imports.watched():
            self._model = engines.opened(
                self._engine, self._module, request["open"], request["threads"]
            )
        return {
            "seconds": time.perf_counter() - began - imports.seconds,
            "imports": imports.seconds,
            "import_bytes": imports.bytes,
            "memory": status(),
        }

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
