"""Partitions that come compiled: ``EPContext`` nodes whose source is this provider.

They carry an engine, as `runtime_ep_tensorrt.program.Program.export` returned it or as
onnxruntime has written it, or name a file beside the model. Nothing is parsed or built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from runtime.abilities import Context
from runtime.graph import Node, Value
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings
from runtime_ep_cuda.driver import Driver
from runtime_ep_cuda.memory import Pool

from runtime_ep_tensorrt.adapter import Api, Engine
from runtime_ep_tensorrt.guards import is_public
from runtime_ep_tensorrt.info import NAME
from runtime_ep_tensorrt.options import Choice
from runtime_ep_tensorrt.orders import BuildFailed, Ranges
from runtime_ep_tensorrt.program import Program
from runtime_ep_tensorrt.records import MAGIC, Damaged, Record, unpacked
from runtime_ep_tensorrt.slots import Habits

DOMAIN, OPERATOR = "com.microsoft", "EPContext"


def is_compiled(node: Node) -> bool:
    """Whether a node carries an engine of this provider."""
    mine = node.domain == DOMAIN and node.op_type == OPERATOR
    return mine and node.attribute("source") == NAME


def against(node: Node) -> str:
    """Say why a node that carries an engine cannot be run, or return ``""``."""
    if not node.attribute("main_context", 1):
        return "engines that several nodes share are not read"
    if node.attribute("embed_mode", 1) == 0 and not _is_beside(_text(node)):
        return f"the engine {_text(node)!r} must lie beside the model, or below"
    return ""


def _is_beside(name: str) -> bool:
    path = Path(name)
    return not path.is_absolute() and ".." not in path.parts and bool(name)


def _text(node: Node) -> str:
    found = node.attribute("ep_cache_context", "")
    return found.decode() if isinstance(found, bytes) else str(found)


def loaded(
    partition: Partition,
    settings: Settings,
    choice: Choice,
    api: Api,
    driver: Driver,
    pool: Pool,
    habits: Habits,
) -> Program | Chain:
    """Return what runs a partition of nodes that carry engines.

    Raises `Unsupported` for what carries none that is of use here.
    """
    programs = [
        _program(
            _alone(partition, node), node, settings, choice, api, driver, pool, habits
        )
        for node in partition.nodes
    ]
    return programs[0] if len(programs) == 1 else Chain(partition, programs)


def _program(
    part: Partition,
    node: Node,
    settings: Settings,
    choice: Choice,
    api: Api,
    driver: Driver,
    pool: Pool,
    habits: Habits,
) -> Program:
    record = _record(node, settings, choice)
    if (
        record.version
        and record.version != api.version
        and not choice.build.any_version
    ):
        raise Unsupported(
            f"the engine of {node.label} was built by TensorRT {record.version}, and this "
            f"is {api.version}; compile the model again, or, if that was done with "
            "version_compatible=1 by somebody you trust, say version_compatible=1 here, too"
        )
    try:
        with driver.using(0):
            trusted = choice.build.any_version
            engine = api.load(record.engine, _weights(node, choice), trusted)
        ranges = engine.ranges()

        def make(wanted: Sequence[Ranges]) -> tuple[Engine, Record]:
            return engine, record

        facts = {"engine": f"TensorRT {api.version}", "source": "the model"}
        return Program(part, make, driver, pool, habits, facts, ranges, ranges)
    except BuildFailed as error:
        raise Unsupported(
            f"the engine of {node.label} is of no use here: {error}"
        ) from error


def _record(node: Node, settings: Settings, choice: Choice) -> Record:
    """Return the engine that a node carries, with what is known of it."""
    data = _data(node, settings, choice)
    if data[: len(MAGIC)] != MAGIC:  # an engine as TensorRT has it, by onnxruntime
        return Record("", "", "", (), data)
    try:
        return unpacked(data)
    except Damaged as error:
        raise Unsupported(f"what {node.label} carries is no engine: {error}") from error


def _data(node: Node, settings: Settings, choice: Choice) -> bytes:
    if node.attribute("embed_mode", 1):
        found = node.attribute("ep_cache_context", "")
        if isinstance(found, bytes):
            return found
        return str(found).encode("utf-8", "surrogateescape")
    folder = (
        Path(choice.context).parent
        if choice.context
        else Path(settings.external_data_directory or ".")
    )
    path = folder / _text(node)
    try:
        return path.read_bytes()
    except OSError as error:
        raise Unsupported(
            f"the engine {path} cannot be read ({error}); say where the model lies with "
            "trt_ep_context_file_path"
        ) from error


def _weights(node: Node, choice: Choice) -> bytes | None:
    """Return the model whose weights an engine without any is filled from."""
    if not choice.weights:
        return None
    if isinstance(choice.weights, bytes):
        return choice.weights
    name = str(node.attribute("onnx_model_filename", "") or "")
    if not name:
        return None
    if not _is_beside(name):
        raise Unsupported(f"the model {name!r} must lie in trt_onnx_model_folder_path")
    try:
        return (Path(choice.weights) / name).read_bytes()
    except OSError as error:
        raise Unsupported(f"its weights cannot be read: {error}") from error


def _alone(partition: Partition, node: Node) -> Partition:
    """Return the partition of one node."""
    inputs = tuple(value for value in node.inputs if value is not None)
    outputs = tuple(v for v in node.outputs if v.uses or is_public(v))
    return replace(
        partition, nodes=(node,), inputs=inputs, outputs=outputs, constants=()
    )


class Chain:
    """Several engines, one run after the other."""

    concurrent = True

    def __init__(self, partition: Partition, programs: Sequence[Program]) -> None:
        self._partition = partition
        self._programs = programs
        self.facts = {**programs[0].facts, "engines": str(len(programs))}

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run each on what those before it have made."""
        values: dict[Value, Any] = dict(
            zip(self._partition.inputs, inputs, strict=True)
        )
        values |= {value: value.constant() for value in self._partition.constants}
        buffers = dict(zip(self._partition.outputs, outputs, strict=True))
        for node, program in zip(self._partition.nodes, self._programs, strict=True):
            part = _alone(self._partition, node)
            given = [values[value] for value in part.inputs]
            wanted = [buffers.get(value) for value in part.outputs]
            made = program.run(given, wanted, context)
            values.update(zip(part.outputs, made, strict=True))
        return [values[value] for value in self._partition.outputs]

    def trim(self) -> None:
        """Give back idle contexts."""
        for program in self._programs:
            program.trim()

    def close(self) -> None:
        """Release every engine."""
        for program in self._programs:
            program.close()
