"""Kinds of operations: what is alike but for its sizes, so that one may stand for all."""

from __future__ import annotations

from collections.abc import Hashable

from runtime_ep_cuda.operations import (
    Attention,
    Convolution,
    Operation,
    Product,
    Spec,
    specs_of,
)


def kind_of(operation: Operation) -> Hashable:
    """Return what an operation is without how large it is."""
    looks = tuple(map(_look, specs_of(operation)))
    match operation:
        case Convolution():
            windows = tuple(min(size, 8) for size in operation.w.shape[2:])
            depthwise = operation.groups > 1 and operation.w.shape[1] == 1
            own: tuple[Hashable, ...] = (
                windows,
                operation.strides,
                operation.dilations,
                operation.pads_begin == operation.pads_end,
                any(operation.pads_begin),
                (operation.groups > 1, depthwise, operation.transposed),
                tuple(step[:2] for step in operation.epilogue),
                operation.tf32,
            )
        case Product():
            one = operation.y.shape[1] == 1, operation.b.shape[0] == 1
            steps = tuple(step[:2] for step in operation.epilogue)
            own = (one, operation.alpha == 1.0, steps, operation.tf32)
        case Attention():
            lengths = operation.q.shape[2] == 1, operation.k.shape[2] % 8 == 0
            own = (lengths, operation.q.shape[3], operation.causal, operation.tf32)
    return (type(operation).__name__, looks, own)


def _look(spec: Spec) -> Hashable:
    """Return how a tensor lies: which axes are long, in which order, how aligned."""
    long = [axis for axis, dim in enumerate(spec.shape) if dim != 1]
    order = sorted(long, key=lambda axis: -spec.strides[axis])
    still = [axis for axis in long if spec.strides[axis] == 0]
    eights = spec.shape[1] % 8 == 0 if len(spec.shape) > 1 else True
    return (spec.dtype, len(spec.shape), *order, -1, *still, spec.alignment, eights)
