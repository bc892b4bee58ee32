"""Compiles a partition: taken from the cache, or converted and compiled, then bound."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import openvino as ov
from runtime.cache import CompileCache, structure_key
from runtime.errors import near
from runtime.graph import Tensor, Value
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings
from runtime.weights import fingerprint

from runtime_ep_openvino.frontend import model_of
from runtime_ep_openvino.options import Choice, chosen
from runtime_ep_openvino.program import Program, Shapes
from runtime_ep_openvino.tensors import engine, first_line

logger = logging.getLogger("runtime.openvino")

WORTH_KEEPING = 64 << 20
"""Bytes of weights up to which a model for the CPU goes to the runtime's cache unasked.

Beyond, hashing and reading what was compiled takes longer than compiling it again.
"""


CONVERSION = 4
"""Number of the way in which partitions are turned into models; enters the cache's keys."""


def build(partition: Partition, settings: Settings) -> Program:
    """Return what runs a partition as a session's settings ask.

    Raises `Unsupported` with OpenVINO's reason.
    """
    builder = Builder(partition, settings)
    return Program(builder, partition, builder.choice.static)


class Builder:
    """Makes compiled models of one partition, for all shapes or for given ones.

    ``weights`` and ``held`` tell what became of the initializers and which arrays the
    compiled models look into; ``facts`` is for `explain()`.
    """

    def __init__(self, partition: Partition, settings: Settings) -> None:
        self._partition = partition
        self._settings = settings
        self.choice: Choice = chosen(settings)
        self.weights: dict[str, str] = {}
        self.held: list[Any] = []
        self.facts = _asked(self.choice)

    def __call__(self, shapes: Shapes | None) -> ov.CompiledModel:
        """Compile for given input shapes, or for all; the cache may have it."""
        began = time.perf_counter()
        store, key = self._place(shapes)
        model = self._loaded(store, key) if key else None
        source = "loaded from the compile cache"
        if model is None:
            source = "compiled"
            model = self._compiled(shapes)
            if key:
                self._keep(store, key, model)
        seconds = time.perf_counter() - began
        count = len(self._partition.nodes)
        logger.info("%d nodes %s in %.3f s, key %s", count, source, seconds, key or "-")
        self.facts.update(_facts(model, self.choice), source=source)
        return model

    def _place(self, shapes: Shapes | None) -> tuple[CompileCache, str]:
        """Return the cache and the key, ``""`` for what is not to be kept."""
        choice, settings = self.choice, self._settings
        directory = choice.cache or settings.cache_directory
        store = CompileCache(directory, settings.cache or bool(choice.cache))
        constants = self._partition.constants
        arrays = {v.name: v.constant for v in constants if isinstance(v.const, Tensor)}
        size = sum(array().nbytes for array in arrays.values())
        large = size > WORTH_KEEPING and choice.device == "CPU"
        if not store.enabled or (large and not choice.cache):
            return store, ""
        return store, structure_key(
            self._partition, *self._parts(shapes), fingerprint(arrays)
        )

    def _parts(self, shapes: Shapes | None) -> tuple[object, ...]:
        """Return what the compiled model depends on beside the nodes and weights."""
        part, choice = self._partition, self.choice
        names = [value.name for value in (*part.inputs, *part.outputs)]
        sizes = [_sizes(value) for value in (*part.inputs, *part.outputs)]
        properties = sorted((k, repr(v)) for k, v in choice.properties.items())
        return (
            CONVERSION, ov.__version__, _hardware(choice.device), choice.device, properties,
            sorted(choice.shapes.items()), sorted(choice.layouts.items()),
            names, sizes, shapes,
        )  # fmt: skip

    def _loaded(self, store: CompileCache, key: str) -> ov.CompiledModel | None:
        data = store.get(key)
        if data is None:
            return None
        array = np.frombuffer(data, np.uint8)
        try:
            tensor = ov.Tensor(array, [array.size], ov.Type.u8)
            model = engine().import_model(
                tensor, self.choice.device, dict(self.choice.properties)
            )
        except (RuntimeError, ValueError, TypeError) as error:
            logger.info("a compiled model is of no use: %s", first_line(error))
            return None
        self.held.append(array)
        self.weights.update((v.name, "unused") for v in self._partition.constants)
        return model

    def _compiled(self, shapes: Shapes | None) -> ov.CompiledModel:
        choice = self.choice
        model, shared = model_of(self._partition)
        try:
            self._shape(model, shapes)
            _lay_out(model, choice.layouts)
            compiled = engine().compile_model(
                model, choice.device, dict(choice.properties)
            )
        except RuntimeError as error:
            raise Unsupported(first_line(error)) from error
        self.held += [value.constant() for value in shared]
        for value in self._partition.constants:
            kept = value in shared and not _is_packed(value)
            self.weights[value.name] = "kept" if kept else "repacked"
        return compiled

    def _shape(self, model: ov.Model, shapes: Shapes | None) -> None:
        """Fix the shapes of inputs, to those given or as the options say."""
        graph = self._partition.graph
        known = {value.name for value in (*graph.inputs, *self._partition.inputs)}
        wanted: dict[str, Any] = {}
        for name, bounds in self.choice.shapes.items():
            if name not in known and not graph.captures:
                logger.warning("reshape_input: no input %r%s", name, near(name, known))
            wanted[name] = [ov.Dimension(low, high) for low, high in bounds]
        for value, shape in zip(self._partition.inputs, shapes or (), strict=False):
            wanted[value.name] = list(shape)
        ports = {name: port for port in model.inputs for name in port.get_names()}
        found = {n: ov.PartialShape(s) for n, s in wanted.items() if n in ports}
        if found:
            model.reshape(found)

    def _keep(self, store: CompileCache, key: str, model: ov.CompiledModel) -> None:
        try:
            store.put(key, model.export_model().getvalue())
        except RuntimeError as error:
            logger.info("the device cannot export: %s", first_line(error))


def _sizes(value: Value) -> tuple[int | None, ...] | None:
    if value.shape is None:
        return None
    return tuple(dim if isinstance(dim, int) else None for dim in value.shape)


def _hardware(device: str) -> str:
    try:
        name = engine().get_property(device.partition(":")[0], "FULL_DEVICE_NAME")
    except RuntimeError:
        name = ""
    return str(name)


_PACKERS = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"))


def _is_packed(value: Value) -> bool:
    """Whether OpenVINO lays a constant out anew for all who read it."""
    return all(user.op_type in _PACKERS for user in value.users)


def _lay_out(model: ov.Model, layouts: Mapping[str, str]) -> None:
    """Tell OpenVINO what the dims of inputs and outputs mean."""
    for port in (*model.inputs, *model.outputs):
        for name in port.get_names() & layouts.keys():
            node: Any = port.get_node()
            node.set_layout(ov.Layout(layouts[name]))


def _asked(choice: Choice) -> dict[str, str]:
    """Return what is known before anything is compiled."""
    return {
        "engine": f"OpenVINO {ov.__version__.partition('-')[0]}",
        "device": choice.device,
        "precision": choice.precision.lower(),
    }


def _facts(model: ov.CompiledModel, choice: Choice) -> dict[str, str]:
    """Return what a compiled model is, as it says itself."""

    def told(name: str) -> Any:
        try:
            return model.get_property(name)
        except RuntimeError:
            return None

    precision = told("INFERENCE_PRECISION_HINT")
    asked = choice.precision
    if precision is None or precision == ov.Type.dynamic:
        found = "the model's own types" if asked == "ACCURACY" else asked.lower()
    else:
        found = {"f32": "fp32", "f16": "fp16"}.get(
            name := precision.get_type_name(), name
        )
    if asked not in ("ACCURACY", found.upper()):
        found = f"{found} ({asked.lower()} was asked for; the device has none)"
    facts = {"device": ", ".join(told("EXECUTION_DEVICES") or [choice.device])}
    facts["precision"] = found
    for fact, name in (
        ("threads", "INFERENCE_NUM_THREADS"),
        ("streams", "NUM_STREAMS"),
    ):
        if (count := told(name)) is not None:
            facts[fact] = str(count)
    return facts
