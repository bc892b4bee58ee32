"""Timed events of loading and running, in the Chrome trace form that viewers read."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from runtime.graph import Node
from runtime.valuetypes import ELEMENT_TYPES, element_code


class Trace:
    """Collects complete events; times are microseconds since the trace began."""

    def __init__(self) -> None:
        self.began_ns = time.perf_counter_ns()
        self.began_epoch_ns = time.time_ns()
        self.events: list[dict[str, Any]] = []
        self._numbers: dict[Node, int] = {}

    def add(
        self,
        name: str,
        category: str,
        began_ns: int,
        ended_ns: int,
        args: dict[str, Any] | None = None,
    ) -> None:
        """Record one event between two ``time.perf_counter_ns`` readings."""
        self.events.append(
            {
                "cat": category,
                "pid": os.getpid(),
                "tid": threading.get_ident(),
                "dur": (ended_ns - began_ns) // 1000,
                "ts": (began_ns - self.began_ns) // 1000,
                "ph": "X",
                "name": name,
                "args": args or {},
            }
        )

    @contextmanager
    def span(self, name: str, category: str = "Session", **args: Any) -> Iterator[None]:
        """Record the time a block takes."""
        began = time.perf_counter_ns()
        try:
            yield
        finally:
            self.add(name, category, began, time.perf_counter_ns(), args)

    def kernel(
        self,
        node: Node,
        provider: str,
        began_ns: int,
        inputs: Sequence[Any],
        outputs: Sequence[Any],
        ended_ns: int = 0,
        fused: Sequence[Node] = (),
    ) -> None:
        """Record one operator with the types and shapes it met.

        It ends now unless told otherwise; ``fused`` are the nodes it did the work of.
        """
        number = self._numbers.setdefault(node, len(self._numbers))
        args = {
            "op_name": node.op_type,
            "provider": provider,
            "node_index": str(number),
            "input_type_shape": type_shapes(inputs),
            "output_type_shape": type_shapes(outputs),
            "activation_size": str(_bytes(inputs)),
            "output_size": str(_bytes(outputs)),
            "fused": [inner.op_type for inner in fused],
            "origins": [name for inner in fused or (node,) for name in inner.origins],
        }
        label = node.name or node.label
        ended = ended_ns or time.perf_counter_ns()
        self.add(f"{label}_kernel_time", "Node", began_ns, ended, args)

    def write(self, path: str) -> None:
        """Write the events as one JSON array."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.events, file)


def type_shapes(values: Sequence[Any]) -> list[dict[str, list[int]]]:
    """Return each array as ``{"float": [2, 3]}``; other values are left out."""
    return [
        {ELEMENT_TYPES[element_code(value.dtype)].name: list(value.shape)}
        for value in values
        if hasattr(value, "dtype")
    ]


def _bytes(values: Sequence[Any]) -> int:
    return sum(int(getattr(value, "nbytes", 0)) for value in values)
