"""The contenders on a GPU: how each opens a model, and its fastest public way to run it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

Feed = dict[str, np.ndarray]
CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
RUNS = 20
"""Of each setting that onnxruntime is tried with."""


class Bound:
    """A session of ours or of onnxruntime, whose inputs and outputs lie on the device.

    Outputs are bound where a first run has put them; those on the host stay there.
    """

    def __init__(self, module: Any, session: Any, feed: Feed, kind: str) -> None:
        self.session = session
        self.module = module
        self.names = [output.name for output in session.get_outputs()]
        self.first = session.run(None, feed)
        self.binding = session.io_binding()
        made = module.OrtValue.ortvalue_from_numpy
        self.alive = {key: made(array, kind, 0) for key, array in feed.items()}
        for key, value in self.alive.items():
            self.binding.bind_ortvalue_input(key, value)
        results = dict(zip(self.names, self.first, strict=True))
        for key, array in results.items():
            self.alive[f"→{key}"] = made(np.ascontiguousarray(array), kind, 0)
            self.binding.bind_ortvalue_output(key, self.alive[f"→{key}"])
        for _ in range(3):
            session.run_with_iobinding(self.binding)

    def run(self) -> None:
        """Run once; the results are there when it returns."""
        self.session.run_with_iobinding(self.binding)

    def outputs(self) -> list[np.ndarray]:
        """Return what the bound run made."""
        self.run()
        return [np.asarray(self.alive[f"→{name}"].numpy()) for name in self.names]


class Loose:
    """The same with nothing bound, for outputs whose shapes depend on what is computed."""

    def __init__(self, session: Any, feed: Feed) -> None:
        self.session, self.feed = session, feed

    def run(self) -> None:
        """Run once, inputs and outputs on the host."""
        self.session.run(None, self.feed)

    def outputs(self) -> list[np.ndarray]:
        """Return what a run returns."""
        return list(self.session.run(None, self.feed))


def ours(request: dict[str, Any], feed: Feed, dry: bool) -> tuple[Any, dict[str, Any]]:
    """Open a model with our provider, in the precision that is asked for."""
    import runtime

    settings = runtime.SessionOptions()
    if dry:
        settings.add_session_config_entry("session.cost_rule", "0")
    options = {
        "precision": request["precision"], "cudnn_conv_algo_search": request["search"],
    }  # fmt: skip
    session = runtime.InferenceSession(
        request["model"], settings, providers=[(CUDA, options), CPU]
    )
    counts = session.explain().counts()
    facts = {"nodes": counts, **_plans(session, feed)}
    if request["loose"]:
        return Loose(session, feed), facts
    return Bound(runtime, session, feed, "cuda"), facts


def _plans(session: Any, feed: Feed) -> dict[str, Any]:
    """Run once, and count what the plans are made of."""
    from runtime_ep_cuda.actions import Chosen
    from runtime_ep_cuda.codegen.kernel import Launch

    from benchmarks.gpu.timing import flops

    session.run(None, feed)
    names = ("actions", "library calls", "flops", "read", "weights", "arena")
    found = dict.fromkeys(names, 0)
    for section in session._runnable.section.sections():
        for item in section.placed:
            program = item.executable
            if item.partition.provider != CUDA:
                continue
            for key, size in program.memory().items():
                found[key] += size
            plan = list(program._plans.values())[-1]
            works = [action.work for action in plan.actions]
            chosen = [work for work in works if isinstance(work, Chosen)]
            found["actions"] += len(works)
            found["library calls"] += len(chosen)
            found["flops"] += sum(flops(work.call.operation) for work in chosen)
            whole = [
                work
                for work in works
                if not (isinstance(work, Launch) and "gather" in work.kernel.name)
            ]
            buffers = {t.buffer for work in whole for t in work.tensors}
            found["read"] += sum(b.size for b in buffers if b.role == "weight")
    return found


def onnxruntime(
    request: dict[str, Any], feed: Feed, dry: bool
) -> tuple[Any, dict[str, Any]]:
    """Open a model with onnxruntime's CUDA provider, by the fastest of its settings."""
    import onnxruntime as module

    if CUDA not in module.get_available_providers() and not dry:
        raise RuntimeError(
            f"onnxruntime {module.__version__} here has no CUDA provider; it has "
            f"{', '.join(module.get_available_providers())}"
        )
    tried: dict[str, Any] = {}
    best: tuple[float, Any] | None = None
    for name, options in _settings(request).items():
        try:
            made = _peer(module, request, feed, {} if dry else options, dry)
            tried[name] = 1e3 * _median(made.run)
        except Exception as error:
            tried[name] = f"{type(error).__name__}: {error}"[:200]
            continue
        if best is None or tried[name] < best[0]:
            best = tried[name], made
        if dry:
            break
    if best is None:
        raise RuntimeError(f"onnxruntime opens it with none of its settings: {tried}")
    return best[1], {"settings, ms": tried}


def _settings(request: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return onnxruntime's options to choose among."""
    shared = {
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "use_tf32": str(int(request["precision"] == "tf32")),
    }
    graph = {"enable_cuda_graph": "1"} if not request["loose"] else {}
    last = {"prefer_nhwc": "1"}
    found = {"as bound": {**shared, **graph}}
    if request["images"]:
        found["channels last"] = {**shared, **graph, **last}
    found["without a graph"] = shared
    return found


def _peer(
    module: Any, request: dict[str, Any], feed: Feed, options: Any, dry: bool
) -> Any:
    settings = module.SessionOptions()
    settings.log_severity_level = 4
    provider = CPU if dry else CUDA
    providers = [(provider, options), *([] if dry else [CPU])]
    session = module.InferenceSession(request["model"], settings, providers=providers)
    if request["loose"]:
        return Loose(session, feed)
    if "enable_cuda_graph" in options:
        return Bound(module, _Plain(module, session, request, feed), feed, "cuda")
    return Bound(module, session, feed, "cpu" if dry else "cuda")


class _Plain:
    """A session with a graph to record, which runs nothing that is not bound.

    What outputs look like is asked of the CPU's provider.
    """

    def __init__(
        self, module: Any, session: Any, request: dict[str, Any], feed: Feed
    ) -> None:
        self._session = session
        other = module.InferenceSession(request["model"], providers=[CPU])
        self._results = other.run(None, feed)

    def run(self, names: Any, feed: Feed) -> list[np.ndarray]:
        """Return the CPU's results."""
        return list(self._results)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)


def torch(request: dict[str, Any], feed: Feed, dry: bool) -> tuple[Any, dict[str, Any]]:
    """Compile the same architecture with torch.compile, its weights random."""
    from benchmarks.gpu.torch_models import Compiled

    made = Compiled(request["name"], request["batch"], request["precision"], dry)
    return made, {"mode": made.mode}


def _median(run: Callable[[], None], count: int = RUNS) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


OPENERS = {"ours": ours, "onnxruntime": onnxruntime, "torch": torch}
