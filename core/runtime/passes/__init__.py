"""Simplification: an ordered list of passes, each a module that rewrites graphs."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

from runtime.errors import ModelInvalid
from runtime.graph import Graph, Model
from runtime.infer import infer, public
from runtime.passes import (
    branches,
    constants,
    cse,
    deadcode,
    expand_einsum,
    fold,
    functions,
    gradient,
    identities,
    modernize,
    raise_attention,
    raise_gelu,
    raise_groupnorm,
    raise_layernorm,
    raise_rmsnorm,
    raise_rotary,
    raise_silu,
    shapes,
    sink_reshapes,
)
from runtime.passes.scope import Evaluate, Scope
from runtime.settings import Settings

__all__ = ["PASSES", "Evaluate", "PassRecord", "simplify"]

logger = logging.getLogger("runtime")

_REQUIRED = (functions, gradient, constants)
_BASIC = (shapes, fold, branches, identities, cse, deadcode)
_RAISING = (
    expand_einsum,
    raise_layernorm,
    raise_rmsnorm,
    raise_groupnorm,
    raise_gelu,
    raise_silu,
    raise_rotary,
    raise_attention,
    sink_reshapes,
)
_ROUNDS = 6


def _name(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


PASSES = tuple(map(_name, (*_REQUIRED, modernize, *_BASIC, *_RAISING)))
"""The names of all passes, in order; what `Settings.disabled_passes` may hold."""


@dataclass(frozen=True, slots=True)
class PassRecord:
    """What a pass did to a model: how many changes, in how many seconds, all rounds."""

    name: str
    changes: int
    seconds: float


def simplify(model: Model, settings: Settings, evaluate: Evaluate) -> list[PassRecord]:
    """Rewrite a model's graphs in place until nothing changes; tell what was done.

    Afterwards the model has no functions and no Constant nodes, and every value has at
    least the element type it had or that could be inferred. Raises `ModelInvalid` for
    functions that call themselves or grow without bound.
    """
    return _Run(model, settings, evaluate).all()


class _Run:
    def __init__(self, model: Model, settings: Settings, evaluate: Evaluate) -> None:
        self._model = model
        self._settings = settings
        self._scope = Scope(model, settings, evaluate)
        self._records: dict[str, tuple[int, float]] = {}
        self._flat = False

    def all(self) -> list[PassRecord]:
        level = self._settings.passes
        self._require()
        if level != "none":
            self._apply(modernize)
            self._settle(_BASIC)
        if level == "all" and self._raise():
            self._settle(_BASIC)
        self._finish()
        return [PassRecord(name, *done) for name, done in self._records.items()]

    def _require(self) -> None:
        """Do what running needs; inlined nodes get their types."""
        inlined = self._apply(functions)
        if inlined:
            self._model.functions.clear()
        self._apply(gradient)
        self._apply(constants)
        if self._settings.outputs:
            self._apply(deadcode)
        root = self._model.graph
        self._flat = not any(node.bodies for node in root)
        if inlined:
            try:
                infer(self._model, self._settings)
            except (ModelInvalid, ValueError) as error:
                logger.info("types of inlined functions stay unknown: %s", error)

    def _raise(self) -> int:
        return sum([self._apply(module) for module in _RAISING])

    def _settle(self, modules: tuple[ModuleType, ...]) -> None:
        """Apply passes in turn until none changes anything."""
        clean: set[ModuleType] = set()
        for _ in range(_ROUNDS):
            for module in modules:
                if module in clean:
                    continue
                clean.add(module)
                if self._apply(module):
                    clean = {module}
            if len(clean) == len(modules):
                return

    def _apply(self, module: ModuleType) -> int:
        name = _name(module)
        if name in self._settings.disabled_passes and module is not functions:
            return 0
        began, changes = time.perf_counter(), 0
        for graph in self._graphs():
            changes += module.run(graph, self._scope)
        count, seconds = self._records.get(name, (0, 0.0))
        seconds += time.perf_counter() - began
        self._records[name] = (count + changes, seconds)
        return changes

    def _graphs(self) -> Iterable[Graph]:
        root = self._model.graph
        return (root,) if self._flat else root.all_graphs()

    def _finish(self) -> None:
        """Leave every value a name, and an IR version that admits new constants."""
        model = self._model
        for value in model.graph.outputs:
            value.type = public(value.type, model.declared.get(value.name))
        for graph in self._graphs():
            for node in graph:
                for value in node.outputs:
                    if not value.name and value.uses:
                        stem = node.origins[0] if node.origins else node.op_type
                        value.name = model.graph.fresh_name(stem or node.op_type)
        model.ir_version = max(model.ir_version, 10)
