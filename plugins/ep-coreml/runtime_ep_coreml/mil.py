"""Writes ML Programs: operations of the Model Intermediate Language, by coremltools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from runtime_ep_coreml.scope import Array, Handle, Refused, Sizes
from runtime_ep_coreml.tools import coremltools, first_line, target

MOST_RANK = 5


class MilEmitter:
    """Adds operations to the function of a program that is being made.

    Used within `function`, and under `runtime_ep_coreml.tools.writing`.
    """

    def __init__(self, number: int, halves: bool = False) -> None:
        from coremltools.converters.mil.mil import Builder, types
        from coremltools.converters.mil.mil.types.symbolic import is_symbolic

        self.target = number
        self.halves = halves
        self._builder = Builder
        self._name = types.builtin_to_string
        self._is_symbolic = is_symbolic

    def op(self, kind: str, /, **arguments: Any) -> Any:
        """Add an operation; raises `Refused` with coremltools' words."""
        try:
            made = getattr(self._builder, kind)(**arguments)
        except Exception as error:  # what it raises has no common class
            raise Refused(f"coremltools refuses {kind}: {first_line(error)}") from error
        results = made if isinstance(made, (tuple, list)) else (made,)
        for result in results:
            if result.rank > MOST_RANK:
                raise Refused(
                    f"{kind} would have rank {result.rank}, above {MOST_RANK}"
                )
        return made

    def constant(self, array: Array) -> Handle:
        """Add a constant."""
        return self.op("const", val=np.asarray(array))

    def sizes(self, handle: Handle) -> Sizes:
        """Return a shape; ``None`` for a size that is known at run time."""
        return tuple(
            None if self._is_symbolic(size) else int(size) for size in handle.shape
        )

    def kind(self, handle: Handle) -> str:
        """Return the element type."""
        return str(self._name(handle.dtype))


def function(inputs: Mapping[str, tuple[Sequence[Any], str]], number: int) -> Any:
    """Return a function of inputs, by name their shape and element type.

    Sizes are ints or coremltools' symbols. It is a context in which operations are added.
    """
    from coremltools.converters.mil.mil import Builder, Function, types

    kinds = {"fp32": types.fp32, "fp16": types.fp16, "int32": types.int32}
    placeholders = {
        name: Builder.placeholder(shape=tuple(shape), dtype=kinds[kind])
        for name, (shape, kind) in inputs.items()
    }
    return Function(placeholders, opset_version=target(number))


def unknown() -> Any:
    """Return a new symbol, for a size of which nothing is known."""
    from coremltools.converters.mil.mil import get_new_symbol

    return get_new_symbol()


def program(main: Any) -> Any:
    """Return a program of one function."""
    from coremltools.converters.mil.mil import Program

    made = Program()
    made.add_function("main", main)
    return made


def convert(made: Any, inputs: Sequence[Any], number: int, halves: bool) -> Any:
    """Return a program as a model, optimised by coremltools' passes and not loaded."""
    tools = coremltools()
    precision = tools.precision.FLOAT16 if halves else tools.precision.FLOAT32
    return tools.convert(
        made,
        source="milinternal",
        convert_to="mlprogram",
        inputs=list(inputs),
        minimum_deployment_target=target(number),
        compute_precision=precision,
        skip_model_load=True,
    )
