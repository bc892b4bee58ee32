"""The contenders: how each one opens a model, and its fastest public way to run it."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

Feed = dict[str, np.ndarray]


class Opened(Protocol):
    """A model held by one engine."""

    def runner(self, feed: Feed) -> Callable[[], Any]:
        """Return what runs these inputs once, with whatever can be bound bound."""

    def outputs(self, feed: Feed) -> list[np.ndarray]:
        """Return the outputs for these inputs."""


class Session:
    """A session of ours or of onnxruntime, which look alike.

    ``target`` is for ours: what code is generated for; see its provider's options.
    """

    def __init__(self, module: Any, path: str, threads: int, target: str = "") -> None:
        options = module.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        chosen = {"target": target} if target else {}
        self.session = module.InferenceSession(
            path, options, providers=[("CPUExecutionProvider", chosen)]
        )

    def runner(self, feed: Feed) -> Callable[[], Any]:
        """Return a call of ``session.run``."""
        run = self.session.run
        return lambda: run(None, feed)

    def outputs(self, feed: Feed) -> list[np.ndarray]:
        """Return what ``session.run`` returns."""
        return list(self.session.run(None, feed))

    def facts(self) -> dict[str, Any]:
        """Return what our session tells about itself; nothing for onnxruntime."""
        if not hasattr(self.session, "explain"):
            return {}
        placement = self.session.explain()
        facts: dict[str, Any] = {"seconds": placement.seconds}
        for partition in placement.partitions:
            facts.update(partition.facts)
        return facts


class Request:
    """An inference request of OpenVINO in float32, inputs and outputs bound."""

    def __init__(self, module: Any, path: str, threads: int) -> None:
        self._ov = module
        core = module.Core()
        self._compiled = core.compile_model(
            core.read_model(path),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._indices = range(len(self._compiled.outputs))

    def _bound(self, feed: Feed) -> Any:
        request = self._compiled.create_infer_request()
        for port in self._compiled.inputs:
            (array,) = (feed[name] for name in port.get_names() if name in feed)
            request.set_tensor(port, self._ov.Tensor(array, shared_memory=True))
        return request

    def runner(self, feed: Feed) -> Callable[[], Any]:
        """Return a call of ``request.infer`` that writes where the first one did."""
        request = self._bound(feed)
        request.infer()
        # A tensor does not keep its array alive; the closure does.
        arrays = [np.array(request.get_output_tensor(i).data) for i in self._indices]
        for index, array in enumerate(arrays):
            request.set_output_tensor(index, self._ov.Tensor(array, shared_memory=True))

        def run(infer: Any = request.infer, alive: Any = arrays) -> None:
            infer(share_outputs=True)

        return run

    def outputs(self, feed: Feed) -> list[np.ndarray]:
        """Return copies of the request's outputs."""
        request = self._bound(feed)
        request.infer()
        return [np.array(request.get_output_tensor(i).data) for i in self._indices]

    def facts(self) -> dict[str, Any]:
        """Return nothing."""
        return {}


MODULES = {"ours": "runtime", "onnxruntime": "onnxruntime", "openvino": "openvino"}


def installed(engine: str) -> bool:
    """Say whether the engine can be imported, without importing it."""
    return importlib.util.find_spec(MODULES[engine]) is not None


def imported(engine: str) -> Any:
    """Import the engine with its session class, and return its module.

    ``ours@avx2`` is ours with code for that target.
    """
    module = importlib.import_module(MODULES[engine.partition("@")[0]])
    if engine != "openvino":
        _ = module.InferenceSession
    return module


def opened(engine: str, module: Any, path: str, threads: int) -> Any:
    """Open a model."""
    if engine == "openvino":
        return Request(module, path, threads)
    return Session(module, path, threads, engine.partition("@")[2])
