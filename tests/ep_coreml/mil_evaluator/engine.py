"""Executes a saved package with NumPy: the engine of the tests where there is no Mac.

It shows that the translation, the weights and the file are right as MIL's documentation
has it. It does not show what Apple's kernels compute, nor that Core ML accepts the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from mil_evaluator import arithmetic, layers, movement  # noqa: F401  (they fill the table)
from mil_evaluator.packages import Name, Operation, Package
from mil_evaluator.registry import OPERATIONS


class Evaluator:
    """Runs one package; each run has its own values."""

    def __init__(self, path: Path) -> None:
        self.package = Package(path)
        self.facts = {"units": "NumPy"}
        self.compiled_from = path

    def predict(self, feed: dict[str, Any]) -> dict[str, Any]:
        """Run once; checks the interface, and each operation's declared type and shape."""
        values: dict[str, Any] = {}
        for name in self.package.inputs:
            values[name] = _admitted(name, feed[name], self.package.interface[name])
        for operation in self.package.operations:
            results = _run(operation, values)
            for declared, made in zip(operation.results, results, strict=True):
                values[declared.name] = _checked(operation.kind, declared, made)
        return {name: values[name] for name in self.package.outputs}

    def close(self) -> None:
        """Nothing is held."""


INTERFACE = {65568: np.float32, 65552: np.float16, 131104: np.int32}
"""``ArrayDataType`` of Core ML's specification."""


def _admitted(name: str, array: Any, kind: Any) -> Any:
    assert array.dtype == INTERFACE[kind.dataType], f"{name} is fed {array.dtype}"
    assert array.flags.c_contiguous
    which = kind.WhichOneof("ShapeFlexibility")
    if which == "shapeRange":
        for size, bound in zip(array.shape, kind.shapeRange.sizeRanges, strict=True):
            assert bound.lowerBound <= size <= bound.upperBound, (
                f"{name}: {array.shape}"
            )
    elif which == "enumeratedShapes":
        shapes = [tuple(one.shape) for one in kind.enumeratedShapes.shapes]
        assert array.shape in shapes, f"{name}: {array.shape} is none of {shapes}"
    else:
        assert array.shape == tuple(kind.shape), f"{name}: {array.shape}"
    return array


def _run(operation: Operation, values: dict[str, Any]) -> tuple[Any, ...]:
    arguments = {
        name: _resolved(argument, values)
        for name, argument in operation.arguments.items()
    }
    arguments.pop("name", None)
    if operation.kind == "const":
        return (arguments["val"],)
    function = OPERATIONS.get(operation.kind)
    assert function is not None, f"the evaluator lacks {operation.kind}"
    with np.errstate(all="ignore"):
        made = function(**arguments)
    return made if isinstance(made, tuple) else (made,)


def _resolved(argument: Any, values: dict[str, Any]) -> Any:
    if isinstance(argument, list):
        return [_resolved(one, values) for one in argument]
    found = values[argument.text] if isinstance(argument, Name) else argument
    if isinstance(found, np.ndarray) and found.dtype == np.float16:
        return found.astype(np.float32)
    return found


def _checked(kind: str, declared: Any, made: Any) -> Any:
    if declared.dtype == object:
        return made
    array = np.asarray(made)
    shape = declared.shape
    fits = len(shape) == array.ndim and all(
        want is None or want == have
        for want, have in zip(shape, array.shape, strict=True)
    )
    assert fits, f"{kind} made {array.shape}, and {shape} is declared"
    both = {array.dtype.kind, declared.dtype.kind}
    assert len(both) == 1 or both == {"i", "u"}, (
        f"{kind}: {array.dtype}, {declared.dtype}"
    )
    return array.astype(declared.dtype)


def load(package: Path, choice: Any, compiled: Path | None) -> Evaluator:
    """Load a package as `runtime_ep_coreml.engine.load` does."""
    return Evaluator(package)
