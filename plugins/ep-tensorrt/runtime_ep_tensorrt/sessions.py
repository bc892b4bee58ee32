"""What the partitions of one session share: a device, working memory, TensorRT itself."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from dataclasses import dataclass

from runtime.graph import Graph
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings
from runtime_ep_cuda import devices
from runtime_ep_cuda.devices import Opened
from runtime_ep_cuda.driver import Driver

from runtime_ep_tensorrt import adapter, context, profiles
from runtime_ep_tensorrt.adapter import Api
from runtime_ep_tensorrt.engines import Engines
from runtime_ep_tensorrt.info import NAME
from runtime_ep_tensorrt.options import Choice, chosen
from runtime_ep_tensorrt.orders import BuildFailed, Ranges
from runtime_ep_tensorrt.program import Program
from runtime_ep_tensorrt.slots import Habits, Shared, Streams

QUANTIZED = frozenset(("QuantizeLinear", "DequantizeLinear"))


@dataclass(frozen=True, slots=True)
class Session:
    """One session's share of a device."""

    opened: Opened
    api: Api
    habits: Habits


class _State:
    def __init__(self) -> None:
        self.inherited: list[object] = []
        self.streams: weakref.WeakKeyDictionary[Driver, Streams]
        self.opened: weakref.WeakKeyDictionary[Graph, Session]
        self.forget()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.forget)

    def forget(self) -> None:
        """Begin anew: what a parent process opened is kept, and never touched."""
        self.lock = threading.Lock()
        self.streams = weakref.WeakKeyDictionary()
        self.opened = weakref.WeakKeyDictionary()
        self.inherited += [self.streams, self.opened]


_state = _State()


def build(partition: Partition, settings: Settings) -> Program | context.Chain:
    """Compile one partition. Raises `Unsupported` with TensorRT's reason."""
    choice = chosen(settings)
    session = _session(partition, choice)
    opened = session.opened
    if context.is_compiled(partition.nodes[0]):
        return context.loaded(
            partition, settings, choice, session.api, opened.driver, opened.pool,
            session.habits,
        )  # fmt: skip
    _check_quantized(partition, choice)
    engines = Engines(partition, settings, choice, session.api, opened.driver)
    fixed = _told(partition, choice)
    first = fixed or _known(partition, settings) or engines.stored()
    if choice.build.stripped:
        engines.facts["weights"] = "kept without"
    try:
        return Program(
            partition, engines.make, opened.driver, opened.pool, session.habits,
            engines.facts, fixed, first,
        )  # fmt: skip
    except BuildFailed as error:
        raise Unsupported(f"TensorRT builds no engine: {error}") from error


def _session(partition: Partition, choice: Choice) -> Session:
    with _state.lock:
        session = _state.opened.get(partition.graph)
        if session is None:
            session = _state.opened[partition.graph] = _open(choice)
        return session


def _open(choice: Choice) -> Session:
    opened, api = devices.device(choice.device), adapter.opened()
    try:
        api.load_plugins(choice.plugins)
    except BuildFailed as error:
        raise Unsupported(str(error)) from error
    shared = Shared(opened.pool) if choice.shared_memory else None
    streams = _state.streams.get(opened.driver)
    if streams is None:
        streams = _state.streams[opened.driver] = Streams(opened.driver)
    habits = Habits(streams, choice.stream, choice.graphs, shared)
    return Session(opened, api, habits)


def _told(partition: Partition, choice: Choice) -> list[Ranges] | None:
    """Return a user's ranges; where some inputs lack one, say so and go without."""
    found, lacking = profiles.told(
        partition.inputs, partition.host_inputs, choice.profiles
    )
    if lacking:
        warnings.warn(
            f"{NAME}: trt_profile_min_shapes, trt_profile_opt_shapes and "
            f"trt_profile_max_shapes have no effect, as they tell nothing that fits of "
            f"{', '.join(lacking)}; engines are built for the shapes that come",
            stacklevel=2,
        )
    return found or None


def _known(partition: Partition, settings: Settings) -> list[Ranges] | None:
    """Return ranges from the bounds that a session gives to symbolic dims."""
    if partition.host_inputs:
        return None
    found = profiles.bounded(partition.inputs, settings.bounds)
    return [Ranges(found)] if found else None


def _check_quantized(partition: Partition, choice: Choice) -> None:
    """Say where 8 bits were asked for, and the model has none."""
    if choice.int8 and not any(n.op_type in QUANTIZED for n in partition.nodes):
        warnings.warn(
            f"{NAME}: trt_int8_enable has no effect, as the model is not quantised; "
            "onnxruntime.quantization puts the nodes in",
            stacklevel=2,
        )
