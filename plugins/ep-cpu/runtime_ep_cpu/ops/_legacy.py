"""What operators of opset 1 to 6 had besides today's signature."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

Function = Callable[..., Any]


def with_consumed_inputs(function: Function) -> Function:
    """Return a kernel that also takes, and ignores, opset 1's ``consumed_inputs``."""

    @functools.wraps(function)
    def run(*inputs: Any, consumed_inputs: Any = None, **attributes: Any) -> Any:
        return function(*inputs, **attributes)

    return _with_keywords(run, function, {"consumed_inputs": None})


def with_broadcast_attributes(function: Function) -> Function:
    """Return a binary kernel with the ``axis`` and ``broadcast`` of opset 1 to 6."""

    @functools.wraps(function)
    def run(a: Any, b: Any, /, *, axis: int | None = None, broadcast: int = 0) -> Any:
        return function(a, _aligned(a, b, axis) if broadcast else _equal(a, b))

    return _with_keywords(run, function, {"axis": None, "broadcast": 0})


def without_broadcasting(function: Function) -> Function:
    """Return a variadic kernel whose inputs must have one shape, as before opset 8."""

    @functools.wraps(function)
    def run(*inputs: Any) -> Any:
        for other in inputs[1:]:
            _equal(inputs[0], other)
        return function(*inputs)

    return run


def _with_keywords(run: Function, like: Function, added: dict[str, Any]) -> Function:
    signature = inspect.signature(like)
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
        for name, default in added.items()
    ]
    parameters = [*signature.parameters.values(), *keywords]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    return run


def _equal(a: Any, b: Any) -> Any:
    if a.shape != b.shape:
        raise ValueError(
            f"inputs must have one shape, found {list(a.shape)} and {list(b.shape)}"
        )
    return b


def _aligned(a: Any, b: Any, axis: int | None) -> Any:
    """Reshape ``b`` so that its dims stand at ``axis`` of ``a``, or at the end."""
    if b.size == 1 and b.ndim <= a.ndim:
        return b.reshape(())
    free = a.ndim - b.ndim
    start = free if axis is None else axis + (a.ndim if axis < 0 else 0)
    if not (0 <= start <= free and _fits(a.shape[start : start + b.ndim], b.shape)):
        at = "the end" if axis is None else f"axis {axis}"
        raise ValueError(
            f"shape {list(b.shape)} cannot be broadcast to {list(a.shape)} at {at}"
        )
    return b.reshape(b.shape + (1,) * (free - start))


def _fits(wanted: Sequence[int], given: Sequence[int]) -> bool:
    return all(size in (1, want) for want, size in zip(wanted, given, strict=True))
