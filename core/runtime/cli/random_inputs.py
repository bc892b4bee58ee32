"""Generates inputs from what a model declares: type, shape and the sizes of symbols."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from typing import Any

import numpy as np

from runtime.cli.exits import Stop
from runtime.valuetypes import code_of_name, numpy_dtype

WORDS = ("alpha", "beta", "gamma", "delta", "epsilon")
_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.floordiv,
}


def random_input(
    arg: Any,
    rng: np.random.Generator,
    dims: Mapping[str, int],
    shape: tuple[int, ...] | None = None,
) -> Any:
    """Return random data for an input: floats in [0, 1), integers 0 or 1.

    Small integers are valid indices, masks and token numbers for nearly every model.
    Raises `Stop` for a type that data must be given for.
    """
    kind = arg.type
    if kind.startswith("seq(tensor("):
        element = kind[4:-1]
        return [_tensor(element, rng, shape or (2,)) for _ in range(2)]
    if not kind.startswith("tensor("):
        raise Stop(
            f"input {arg.name} is a {kind}, which is not generated; give it with "
            f"--inputs {arg.name}=file.pb"
        )
    return _tensor(kind, rng, _shape(arg, dims, shape))


def _tensor(kind: str, rng: np.random.Generator, shape: tuple[int, ...]) -> Any:
    dtype = numpy_dtype(code_of_name(kind[7:-1]))
    if dtype.kind == "O":
        made = np.empty(shape, object)
        made.reshape(-1)[:] = rng.choice(WORDS, int(np.prod(shape))).astype(object)
        return made
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype.name == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    if dtype.kind in "iu" or "int" in dtype.name:
        return rng.integers(0, 2, shape).astype(dtype)
    if dtype.kind == "c":
        return (rng.random(shape) + 1j * rng.random(shape)).astype(dtype)
    return np.asarray(rng.random(shape)).astype(dtype)


def _shape(
    arg: Any, dims: Mapping[str, int], given: tuple[int, ...] | None
) -> tuple[int, ...]:
    if given is None:
        return tuple(size_of(dim, dims) for dim in arg.shape)
    if arg.shape and len(given) != len(arg.shape):
        raise Stop(
            f"--shape {arg.name} has {len(given)} dims, the model's input has "
            f"{len(arg.shape)}: {arg.shape}"
        )
    for at, (size, dim) in enumerate(zip(given, arg.shape, strict=False)):
        if isinstance(dim, int) and dim != size:
            raise Stop(f"--shape {arg.name}: dim {at} is fixed to {dim}, found {size}")
    return given


def size_of(dim: Any, dims: Mapping[str, int]) -> int:
    """Return a dim's size: its own, the one given, 1, or what its expression comes to.

    Exporters write ``past_sequence + sequence`` for a dim that is a sum.
    """
    if isinstance(dim, int):
        return max(dim, 0)
    if dim is None or dim in dims:
        return dims.get(dim, 1) if dim else 1
    try:
        return max(int(_value(ast.parse(dim, mode="eval").body, dims)), 0)
    except (SyntaxError, ValueError, ZeroDivisionError):
        return 1


def _value(node: ast.expr, dims: Mapping[str, int]) -> int:
    match node:
        case ast.Name():
            return dims.get(node.id, 1)
        case ast.Constant(value=int(value)):
            return value
        case ast.BinOp() if type(node.op) in _ARITHMETIC:
            left, right = _value(node.left, dims), _value(node.right, dims)
            return int(_ARITHMETIC[type(node.op)](left, right))
    raise ValueError(ast.dump(node))


def symbols_used(declared: Any, dims: Mapping[str, int]) -> dict[str, int]:
    """Return the size of every symbolic dim of the inputs."""
    found = [dim for arg in declared for dim in arg.shape if isinstance(dim, str)]
    return {symbol: size_of(symbol, dims) for symbol in dict.fromkeys(found)}
