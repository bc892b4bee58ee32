"""A contender's side of the pipe on a GPU: holds one model and runs it when it is told to.

usage: python -m benchmarks.gpu.contender ENGINE [--dry]
Requests, one a line in JSON: ``{"open": …}`` with what `benchmarks.gpu.engines` needs,
``{"run": COUNT, "warm": COUNT}``, ``{"save": FILE.npz}``. Each is answered by one line; a
failure by ``{"error": …}``.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import Any


class Worker:
    """One engine, one model at a time."""

    def __init__(self, engine: str, dry: bool) -> None:
        self._engine, self._dry = engine, dry
        self._model: Any = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        """Do what is asked."""
        for name in ("open", "run", "save"):
            if name in request:
                return dict(getattr(self, f"_on_{name}")(request))
        raise ValueError(f"nothing known is asked in {sorted(request)}")

    def _on_open(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        from benchmarks.gpu.engines import OPENERS

        self._model = None
        gc.collect()
        asked = request["open"]
        with np.load(asked["feed"]) as arrays:
            feed = dict(arrays)
        began = time.perf_counter()
        self._model, facts = OPENERS[self._engine](asked, feed, self._dry)
        self._model.run()
        return {"seconds": time.perf_counter() - began, "facts": facts}

    def _on_run(self, request: dict[str, Any]) -> dict[str, Any]:
        run, clock = self._model.run, time.perf_counter_ns
        for _ in range(request.get("warm", 0)):
            run()
        gc.disable()
        times = []
        for _ in range(request["run"]):
            began = clock()
            run()
            times.append(clock() - began)
        gc.enable()
        return {"ns": times}

    def _on_save(self, request: dict[str, Any]) -> dict[str, Any]:
        import numpy as np

        np.savez(request["save"], *self._model.outputs())
        return {}


def main() -> None:
    """Answer requests until there are no more."""
    # What libraries print goes to standard error; the pipe is for answers only.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine, dry = sys.argv[1], "--dry" in sys.argv
    from benchmarks.gpu.here import provider

    with provider(dry):
        worker = Worker(engine, dry)
        for line in sys.stdin:
            try:
                answer = worker.answer(json.loads(line))
            except Exception as error:
                answer = {"error": f"{engine}: {type(error).__name__}: {error}"[:500]}
            print(json.dumps(answer, default=str), file=answers, flush=True)


if __name__ == "__main__":
    main()
