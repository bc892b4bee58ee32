"""Constant filters and biases of convolutions, with a BatchNormalization in them."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import numpy as np
from runtime.graph import Value

from runtime_ep_cuda.actions import Array, Unplannable
from runtime_ep_cuda.dtypes import Dtype
from runtime_ep_cuda.group import Group
from runtime_ep_cuda.planner import Planner
from runtime_ep_cuda.steps.affine import factor_and_offset
from runtime_ep_cuda.steps.view import anchor_of
from runtime_ep_cuda.tensor import Tensor


def filters(
    planner: Planner,
    group: Group,
    form: Hashable,
    make: Callable[[Array], Array],
    dtype: Dtype,
) -> Tensor:
    """Return the anchor's constant filters in a form, each scaled as the group says."""
    value, scaling = anchor_of(group).input(1), group.scaling
    if value is None:
        raise Unplannable("an input is missing")
    if scaling is None:
        return planner.weight(value, form, make, dtype)
    factor, _ = factor_and_offset(scaling)

    def scaled(array: Array) -> Array:
        each = factor.reshape(-1, *(1,) * (array.ndim - 1))
        return make((array * each).astype(_real(dtype)))

    return planner.weight(value, (form, scaling), scaled, dtype)


def bias_of(planner: Planner, group: Group, dtype: Dtype) -> Tensor | None:
    """Return what is added to each channel, as the anchor and the group's scaling say."""
    value, scaling = anchor_of(group).input(2), group.scaling
    if scaling is None:
        return None if value is None else planner.typed(planner.tensor(value), dtype)
    factor, offset = factor_and_offset(scaling)
    before = None if value is None else value.constant()

    def moved(_: Array) -> Array:
        return offset if before is None else offset + before * factor

    shift: Value | None = scaling.input(2)
    assert shift is not None, "refused where it is none"
    return planner.weight(shift, ("of a convolution", scaling), moved, dtype)


def _real(dtype: Dtype) -> Dtype:
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)
