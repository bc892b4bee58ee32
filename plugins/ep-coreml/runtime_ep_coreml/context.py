"""Partitions that come compiled: ``EPContext`` nodes whose source is this provider.

They carry a package, as `runtime_ep_coreml.program.Program.export` returned it; nothing is
lowered again, so that such a model needs coremltools for nothing but predicting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from runtime.abilities import Context
from runtime.graph import Node, Value
from runtime.kernels import filled
from runtime.plugin import Partition, Unsupported
from runtime.settings import Settings

from runtime_ep_coreml.boundary import Boundary
from runtime_ep_coreml.build import compiled, store_of
from runtime_ep_coreml.dims import sizes_of
from runtime_ep_coreml.engine import Loader
from runtime_ep_coreml.folder import Folder
from runtime_ep_coreml.guards import type_reason, used
from runtime_ep_coreml.info import info
from runtime_ep_coreml.options import chosen
from runtime_ep_coreml.package import Damaged, unpack
from runtime_ep_coreml.program import Program

DOMAIN, OPERATOR = "com.microsoft", "EPContext"


def is_compiled(node: Node) -> bool:
    """Whether a node carries a package of this provider."""
    mine = node.domain == DOMAIN and node.op_type == OPERATOR
    return mine and node.attribute("source") == info.name


def against(node: Node) -> str:
    """Say why a node that carries a package cannot be run, or return ``""``."""
    if node.attribute("embed_mode", 1) != 1 or not node.attribute("main_context", 1):
        return "packages outside of the model are not read"
    values = [value for value in (*node.inputs, *node.outputs) if value is not None]
    return next(filter(None, map(type_reason, filter(used, values))), "")


def loaded(partition: Partition, settings: Settings, load: Loader) -> Program | Chain:
    """Return what runs a partition of nodes that carry packages.

    Raises `Unsupported` for what is no package.
    """
    programs = [_program(partition, node, settings, load) for node in partition.nodes]
    return programs[0] if len(programs) == 1 else Chain(partition, programs)


def _program(
    partition: Partition, node: Node, settings: Settings, load: Loader
) -> Program:
    choice = chosen(settings)
    folder = Folder()
    path, data = folder.package, _data(node)
    try:
        unpack(data, path)
    except Damaged as error:
        raise Unsupported(
            f"what {node.label} carries is no package: {error}"
        ) from error
    part = _alone(partition, node)
    boundary = Boundary(part, sizes_of(partition.graph, choice.dims))
    store = store_of(choice, settings)
    key = hashlib.blake2b(data, digest_size=20).hexdigest()
    with store.lock(key) if store.enabled else nullcontext():
        engine = load(path, choice, compiled(store, key))
    facts = {**engine.facts, "source": "the model"}
    return Program(part, boundary, engine, folder, facts)


def _data(node: Node) -> bytes:
    found = node.attribute("ep_cache_context", "")
    if isinstance(found, bytes):
        return found
    return str(found).encode("utf-8", "surrogateescape")


def _alone(partition: Partition, node: Node) -> Partition:
    """Return the partition of one node."""
    inputs = tuple(value for value in node.inputs if value is not None)
    outputs = tuple(value for value in node.outputs if used(value))
    return replace(
        partition, nodes=(node,), inputs=inputs, outputs=outputs, constants=()
    )


class Chain:
    """Several packages, one run after the other."""

    concurrent = True

    def __init__(self, partition: Partition, programs: Sequence[Program]) -> None:
        self._partition = partition
        self._programs = programs
        self.facts = {**programs[0].facts, "packages": str(len(programs))}

    def run(
        self, inputs: Sequence[Any], outputs: Sequence[Any], context: Context
    ) -> list[Any]:
        """Run each on what those before it have made."""
        values: dict[Value, Any] = dict(
            zip(self._partition.inputs, inputs, strict=True)
        )
        values |= {value: value.constant() for value in self._partition.constants}
        for node, program in zip(self._partition.nodes, self._programs, strict=True):
            part = _alone(self._partition, node)
            given = [values[value] for value in part.inputs]
            made = program.run(given, (None,) * len(part.outputs), context)
            values.update(zip(part.outputs, made, strict=True))
        return filled([values[value] for value in self._partition.outputs], outputs)

    def trim(self) -> None:
        """Let go of models that only runs side by side need."""
        for program in self._programs:
            program.trim()

    def close(self) -> None:
        """Release every package."""
        for program in self._programs:
            program.close()
