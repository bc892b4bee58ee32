"""Sessions whose TensorRT and whose GPU are doubles, and what they are asked about."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import runtime as ort
from runtime.plugin import Device, Probe
from runtime.providers import registry
from runtime_ep_cuda import devices
from runtime_ep_tensorrt.info import NAME, info
from runtime_ep_tensorrt.provider import provider

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


@contextlib.contextmanager
def registered() -> Iterator[None]:
    """Have the provider here, with a probe that finds one device."""
    found = Probe((Device("cuda", 0),))
    registry.register(provider, replace(info, probe=lambda: found), NAME)
    try:
        yield
    finally:
        registry.unregister(NAME)


def driver() -> Any:
    """Return the device's double."""
    return devices.device(0).driver


def opened(model: Any, *others: str, entries: Any = (), **options: Any) -> Any:
    """Return a session, whatever the cost rule says of small models."""
    settings = ort.SessionOptions()
    settings.add_session_config_entry("session.cost_rule", "0")
    for key, value in dict(entries).items():
        settings.add_session_config_entry(key, value)
    source = model if isinstance(model, bytes) else model.SerializeToString()
    providers = [(NAME, options), *others, CPU]
    return ort.InferenceSession(source, settings, providers=providers)


def alone(model: Any) -> Any:
    """Return a session of the CPU provider's NumPy kernels."""
    source = model if isinstance(model, bytes) else model.SerializeToString()
    return ort.InferenceSession(source, providers=[(CPU, {"native": "off"})])


def placed(session: Any) -> list[Any]:
    """Return what a session has placed with the provider."""
    return [
        item
        for section in session._runnable.section.sections()
        for item in section.placed
        if item.partition.provider == NAME
    ]


def programs(session: Any) -> list[Any]:
    """Return the executables of a session's partitions with the provider."""
    return [item.executable for item in placed(session)]


def share(session: Any) -> float:
    """Return which part of the nodes is with the provider."""
    counts = session.explain().counts()
    return counts.get(NAME, 0) / sum(counts.values())
