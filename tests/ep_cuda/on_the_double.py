"""Sessions whose GPU is the host double, and what they are asked about it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import runtime as ort
from runtime.plugin import Device, Probe
from runtime.providers import registry
from runtime_ep_cuda import devices
from runtime_ep_cuda.info import info
from runtime_ep_cuda.provider import provider

NAME = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


@contextlib.contextmanager
def registered(count: int = 1) -> Iterator[None]:
    """Have the provider here, with a probe that finds so many devices."""
    found = Probe(tuple(Device("cuda", index) for index in range(count)))
    registry.register(provider, replace(info, probe=lambda: found), NAME)
    try:
        yield
    finally:
        registry.unregister(NAME)


def opened(model: Any, *, simplified: bool = True, **options: Any) -> Any:
    """Return a session on the double, whatever the cost rule says of small models."""
    settings = ort.SessionOptions()
    settings.add_session_config_entry("session.cost_rule", "0")
    if not simplified:
        level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.graph_optimization_level = level
    source = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(source, settings, providers=[(NAME, options)])


def alone(model: Any) -> Any:
    """Return a session of the CPU provider's NumPy kernels."""
    source = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(source, providers=[(CPU, {"native": "off"})])


def driver(index: int = 0) -> Any:
    """Return the double that sessions use."""
    return devices.device(index).driver


def programs(session: Any) -> list[Any]:
    """Return the programs of a session's partitions on the device."""
    return [
        item.executable
        for section in session._runnable.section.sections()
        for item in section.placed
        if item.partition.provider == NAME
    ]


def share(session: Any) -> float:
    """Return which part of the nodes is on the device."""
    counts = session.explain().counts()
    return counts.get(NAME, 0) / sum(counts.values())


def error(got: Any, want: Any) -> float:
    """Return the largest difference, relative to the largest wanted magnitude."""
    wide, other = np.asarray(want, np.float64), np.asarray(got, np.float64)
    assert wide.shape == other.shape
    scale = max(np.abs(wide).max(initial=0), 1e-12)
    return float(np.abs(wide - other).max(initial=0) / scale)
