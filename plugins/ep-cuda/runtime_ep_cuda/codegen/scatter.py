"""ScatterElements and ScatterND: updates put, added, … where indices say.

Indices outside are left out. Where several updates meet in one element, without a
reduction any of them stays. Sums and products of floats depend on the order: atomic
updates take any, ``deterministic`` kernels the updates' own.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.gather import tuple_place
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.movement import copy
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.tensor import Tensor

REDUCTIONS = ("none", "add", "mul", "max", "min")
FEW_LINES = 2048
"""With fewer lines than that to walk, a device is not busy."""
LONG = 32
"""Lines of so many updates are long."""


def scatter_elements(
    x: Tensor,
    indices: Tensor,
    updates: Tensor,
    y: Tensor,
    axis: int,
    reduction: str = "none",
    deterministic: bool = False,
) -> list[Launch]:
    """ScatterElements: x copied to y, where it is not y already, then the updates.

    ::

        for line in parallel over updates' axes but one:
            for t along that axis: y[line, indices[line, t]] (op)= updates[line, t]

    Lines that are few and long are walked in parallel, too, by atomic updates.
    """
    _check(reduction)
    launches = _copied(x, y)
    if updates.size == 0:
        return launches
    length = updates.shape[axis]
    lines = updates.size // length
    alone = reduction == "none"
    if alone or (not deterministic and lines < FEW_LINES and length > LONG):
        return [*launches, _at_once(indices, updates, y, axis, reduction)]
    return [*launches, _by_lines(indices, updates, y, axis, reduction)]


def _along(tensor: Tensor, axis: int, stride: int, dim: int) -> Tensor:
    """Return a tensor with another stride and length of one axis."""
    strides, shape = list(tensor.strides), list(tensor.shape)
    strides[axis], shape[axis] = stride, dim
    return replace(tensor, shape=tuple(shape), strides=tuple(strides))


def _at_once(
    indices: Tensor, updates: Tensor, y: Tensor, axis: int, reduction: str
) -> Launch:
    target = replace(_along(y, axis, 0, 1), shape=updates.shape)
    walk = Walk(
        [("indices", indices), ("u", updates), ("y", target)], jumps={"y": y},
        leading="u",
    )  # fmt: skip
    draft = walk.draft
    draft.number("i64", "dim", y.shape[axis])
    step = draft.offset("step", y.strides[axis])
    draft.line(
        f"rt_i64 at = *{walk.place('indices')};",
        "if (at < 0) at += dim;",
        "if (at < 0 || at >= dim) return;",
        f"auto value = {_value(updates, y, '*' + walk.place('u'))};",
        _update(reduction, f"{walk.place('y')} + offset(at) * {step}", True),
    )
    return walk.launch(f"scatter_elements_{reduction}")


def _by_lines(
    indices: Tensor, updates: Tensor, y: Tensor, axis: int, reduction: str
) -> Launch:
    shape = tuple(1 if a == axis else dim for a, dim in enumerate(updates.shape))
    tensors = [
        (name, replace(_along(tensor, axis, 0, 1), shape=shape))
        for name, tensor in (("indices", indices), ("u", updates), ("y", y))
    ]
    walk = Walk(tensors, jumps={"indices": indices, "u": updates, "y": y})
    draft = walk.draft
    draft.number("i64", "dim", y.shape[axis])
    length = draft.offset("length", updates.shape[axis])
    places = [walk.place(name) for name, _ in tensors]
    steps = [
        draft.offset(f"{name}_step", tensor.strides[axis])
        for name, tensor in (("indices", indices), ("u", updates), ("y", y))
    ]
    draft.line(
        f"for (offset t = 0; t < {length}; ++t) {{",
        f"rt_i64 at = {places[0]}[t * {steps[0]}];",
        "if (at < 0) at += dim;",
        "if (at < 0 || at >= dim) continue;",
        f"auto value = {_value(updates, y, f'{places[1]}[t * {steps[1]}]')};",
        _update(reduction, f"{places[2]} + offset(at) * {steps[2]}", False),
        "}",
    )
    return walk.launch(f"scatter_lines_{reduction}")


def scatter_nd(
    x: Tensor,
    indices: Tensor,
    updates: Tensor,
    y: Tensor,
    reduction: str = "none",
    deterministic: bool = False,
) -> list[Launch]:
    """ScatterND: x copied to y, where it is not y already, then slices of updates.

    ::

        for (n, s) in parallel over updates: y[indices[n], s] (op)= updates[n, s]

    With ``deterministic``, only s is parallel where a reduction could depend on the order
    of n; indices and updates are then to be such that their first axes can become one.
    """
    _check(reduction)
    launches = _copied(x, y)
    if updates.size == 0:
        return launches
    count = indices.shape[-1]
    numbers = updates.shape[: indices.rank - 1]
    if deterministic and reduction in ("add", "mul"):
        total = prod(numbers)
        flat = indices.reshaped((total, count))
        values = updates.reshaped((total, *y.shape[count:]))
        if flat is None or values is None:
            raise ValueError("indices and updates must be dense to be taken in order")
        return [*launches, _slices(flat, values, y, reduction)]
    return [*launches, _tuples(indices, updates, y, reduction)]


def _tuples(indices: Tensor, updates: Tensor, y: Tensor, reduction: str) -> Launch:
    count, outer = indices.shape[-1], indices.rank - 1
    rest = y.rank - count
    strides = (*indices.strides[:-1], *(0,) * rest)
    tuples = replace(indices, shape=updates.shape, strides=strides)
    strides = (*(0,) * outer, *y.strides[count:])
    slices = replace(y, shape=updates.shape, strides=strides)
    walk = Walk(
        [("indices", tuples), ("u", updates), ("y", slices)],
        jumps={"indices": indices, "y": y}, leading="u",
    )  # fmt: skip
    there = tuple_place(walk, y, 0, count, indices.strides[-1])
    walk.draft.line(
        "if (!inside) return;",
        f"auto value = {_value(updates, y, '*' + walk.place('u'))};",
        _update(reduction, f"{walk.place('y')} + {there}", True),
    )
    return walk.launch(f"scatter_nd_{count}_{reduction}")


def _slices(indices: Tensor, updates: Tensor, y: Tensor, reduction: str) -> Launch:
    """Return the launch that takes tuples in order, each slice by all threads."""
    count = indices.shape[-1]
    rest = y.shape[count:] or (1,)
    parts = [
        ("indices", replace(indices, shape=rest, strides=(0,) * len(rest))),
        ("u", replace(updates, shape=rest, strides=updates.strides[1:] or (0,))),
        ("y", replace(y, shape=rest, strides=y.strides[count:] or (0,))),
    ]
    walk = Walk(parts, jumps={"indices": indices, "u": updates, "y": y})
    draft = walk.draft
    number = draft.offset("number", indices.shape[0])
    tuples = draft.offset("indices_step", indices.strides[0])
    steps = draft.offset("u_step", updates.strides[0])
    target, value = walk.place("y"), walk.place("u")
    draft.line(f"for (offset n = 0; n < {number}; ++n, indices += {tuples}) {{")
    there = tuple_place(walk, y, 0, count, indices.strides[-1])
    draft.line(
        "if (!inside) continue;",
        f"auto value = {_value(updates, y, f'{value}[n * {steps}]')};",
        _update(reduction, f"{target} + {there}", False),
        "}",
    )
    return walk.launch(f"scatter_slices_{count}_{reduction}")


def _copied(x: Tensor, y: Tensor) -> list[Launch]:
    same = (x.buffer is y.buffer, x.offset, x.strides) == (True, y.offset, y.strides)
    return [] if same and x.dtype == y.dtype else copy(x, y)


def _check(reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"there is no reduction {reduction!r}")


def _value(updates: Tensor, y: Tensor, text: str) -> str:
    return f"rt_cast<{element(y.dtype).computed}>(rt_wide({text}))"


def _update(reduction: str, place: str, atomic: bool) -> str:
    """Return the statement that puts ``value`` into an element, or combines them."""
    if reduction == "none":
        return f"rt_put(*({place}), value);"
    texts = {
        "add": "old + value", "mul": "old * value", "max": "rt_max(old, value)",
        "min": "rt_min(old, value)",
    }  # fmt: skip
    function = (
        f"[&](decltype(value) old) {{ return decltype(value)({texts[reduction]}); }}"
    )
    if atomic:
        return f"rt_atomic({place}, {function});"
    return f"{{ auto* e = {place}; rt_put(*e, ({function})(rt_wide(*e))); }}"
