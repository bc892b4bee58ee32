"""Labels mapped to labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from runtime.graph import Node, Tensor

from runtime_ep_cpu.codegen import copies, mapped
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.express import element_of
from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.layout import SIZES, of_array
from runtime_ep_cpu.native.planner import Argument, Planner
from runtime_ep_cpu.native.steps.table import (
    EXACT,
    GIVEN,
    Array,
    given_x,
)

OPERATORS = ("LabelEncoder",)


def _entries(node: Node) -> tuple[Array, Array, Any] | None:
    """Return keys, values and the default of a LabelEncoder; ``None`` of version 1."""
    if node.version < 2:
        return None

    def given(word: str) -> Any:
        for kind, dtype in (("floats", np.float32), ("int64s", np.int64),
                            ("strings", object)):  # fmt: skip
            found = node.attribute(f"{word}_{kind}")
            if found is not None:
                return np.array(found, dtype)
        tensor = node.attribute(f"{word}_tensor")
        return tensor.numpy().reshape(-1) if isinstance(tensor, Tensor) else None

    keys, values = given("keys"), given("values")
    if keys is None or values is None or len(keys) != len(values) or not len(keys):
        return None
    kind = {"f": ("float", -0.0), "i": ("int64", -1)}.get(values.dtype.kind)
    word, default = kind or ("string", "_Unused")
    default = node.attribute(f"default_{word}", default)
    if node.attribute("values_tensor") is not None:
        default = {"f": -0.0, "i": -1}.get(values.dtype.kind, "_Unused")
    tensor = node.attribute("default_tensor")
    if isinstance(tensor, Tensor) and tensor.numpy().size:
        default = tensor.numpy().reshape(-1)[0]
    return keys, values, default


def texts_of(node: Node) -> Array | None:
    """Return the strings a node maps to, the default last."""
    entries = _entries(node)
    if entries is None or entries[1].dtype.kind not in "OU":
        return None
    return np.array([*map(str, entries[1].tolist()), str(entries[2])], object)


def is_supported(node: Node) -> bool:
    """Whether numbers are mapped to numbers of 4 or 8 bytes, or to strings."""
    given = element_of(node.input(0))
    entries = _entries(node)
    if entries is None or given not in GIVEN or entries[0].dtype.kind not in "if":
        return False
    keys, values, _ = entries
    if values.dtype.kind in "if" and values.dtype.itemsize not in (4, 8):
        return False
    if keys.dtype.kind == "i":
        return given in ("i64", "i32") or bool(np.abs(keys).max() < EXACT)
    return given in ("float", "double")


class MappedStep:
    """LabelEncoder of numbers."""

    def __init__(self, group: Group) -> None:
        if group.anchor is None:
            raise ValueError("an encoder has an anchor")
        self._node = node = group.anchor
        entries = _entries(node)
        if entries is None:
            raise ValueError(f"{node.label} has no native form")
        keys, values, default = entries
        given = element_of(given_x(node)) or "i64"
        kind = (
            "double"
            if "double" in (given, "double" * (keys.dtype.kind == "f"))
            else "i64"
        )
        kind = "double" if given == "float" else kind
        if values.dtype.kind in "OU":
            values, default = np.arange(len(values)), len(values)
        self._element = {4: "i32", 8: "i64"}[values.dtype.itemsize]
        self._spec = mapped.spec(given, kind, values.dtype.itemsize)
        self.specs: Sequence[Spec] = (
            self._spec, *copies.specs(SIZES[given]),
        )  # fmt: skip
        self._keep(keys, values, default, np.float64 if kind == "double" else np.int64)

    def _keep(self, keys: Array, values: Array, default: Any, dtype: Any) -> None:
        """Sort the keys; of equal ones the last counts."""
        last = np.array([default], values.dtype)
        odd = np.isnan(keys) if keys.dtype.kind == "f" else np.zeros(len(keys), bool)
        nan = values[odd][-1:] if odd.any() else last
        keys, values = keys[~odd][::-1].astype(dtype), values[~odd][::-1]
        keys, first = np.unique(keys, return_index=True)
        self._count = max(len(keys), 1)
        filler = len(keys) == 0
        keys = np.concatenate([keys, np.zeros(int(filler), dtype)])
        values = np.concatenate([values[first], *[last] * filler, last, nan])
        self._constants = [of_array(np.ascontiguousarray(a)) for a in (keys, values)]

    def plan(self, planner: Planner) -> None:
        """Plan the look-up of every element."""
        x = planner.contiguous(planner.layout(given_x(self._node)))
        value = self._node.outputs[0]
        made = planner.allocate(value, x.shape, element_of(value) or "i64")
        count = x.size
        each = max(1024, -(-count // 8))
        keys, values = self._constants
        fields: list[Argument] = [x, made, count, each, keys, values, self._count]
        planner.step(
            self._spec, fields, -(-count // each), [x], [made], work=20.0 * count
        )
