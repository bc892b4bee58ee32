"""Normalizations over groups of channels, over channels' images, along vectors.

GroupNormalization of small images is one kernel along the lines (image, group). Of large
ones, whose groups no block can hold, it is three, which read images as they lie:

::

    for image, channel, chunk:  parts = count, mean and squares of the chunk
    for image, group:           gathered of the parts: mean and inverse deviation, which
                                are written once for each channel
    for element:                results = after((x - mean) · inverse · scale + bias, …)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import ABSENT, SAME, Expression, Instruction
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lines import (
    Axis,
    Lines,
    Team,
    arrange,
    choose,
    power_of_two,
)
from runtime_ep_cuda.codegen.loops import (
    c_type,
    each,
    gather,
    gathered,
    real_type,
    repeated,
    tile,
)
from runtime_ep_cuda.codegen.reduction import JOIN, PARTS, cut
from runtime_ep_cuda.codegen.rows import Norm, normalize
from runtime_ep_cuda.codegen.walker import Walker
from runtime_ep_cuda.tensor import Dtype, Tensor


def group_norm(
    x: Tensor,
    scale: Tensor | None,
    bias: Tensor | None,
    y: Tensor,
    groups: int,
    epsilon: float,
    *,
    after: Expression = SAME,
    further: Sequence[Tensor] = (),
    results: Sequence[Tensor] | None = None,
    scratch: Tensor | None = None,
) -> list[Launch]:
    """GroupNormalization of (N, C, …) in any strides; with C groups, of instances.

    ``scale`` and ``bias`` have one value per channel, or one per group. ``after`` makes
    the results, y if no others are given, of the normalized and the further operands,
    which are broadcast to y's shape. ``scratch`` is memory of `group_norm_scratch` bytes;
    without it everything is one kernel.
    """
    if y.size == 0:
        return []
    outputs = [_split(tensor, groups) for tensor in (results or [y])]
    others = [_split(tensor.broadcast(y.shape), groups) for tensor in further]
    factor = None if scale is None else _weight(scale, x, groups)
    offset = None if bias is None else _weight(bias, x, groups)
    if scratch is None or not group_norm_scratch(x, y, groups):
        return normalize(
            SAME, [_split(x, groups)], factor, offset, _split(y, groups),
            range(2, x.rank + 1), epsilon, after=after, further=others,
            results=outputs, family="group_norm",
        )  # fmt: skip
    statistics = _places(x, scratch)
    operands = [_split(x, groups), *(_split(each, groups) for each in statistics[:2])]
    operands += [weight for weight in (factor, offset) if weight is not None]
    whole = _followed(factor is not None, offset is not None, after)
    return [
        *_statistics(x, groups, epsilon, *statistics),
        *elementwise(whole, [*operands, *others], outputs),
    ]


def group_norm_scratch(x: Tensor, y: Tensor, groups: int) -> int:
    """Return the bytes of scratch memory that large images need; 0 for small ones."""
    if y.size == 0:
        return 0
    tensors = [_split(x, groups), _split(y, groups)]
    lines = arrange(tensors[0].shape, range(2, x.rank + 1), tensors)
    if choose(lines, tensors).cached:
        return 0
    _, _, chunks, _ = _channels(x)
    channels = x.shape[0] * x.shape[1]
    return (2 + 3 * chunks) * channels * np.dtype(real_type(x)).itemsize


def _split(tensor: Tensor, groups: int) -> Tensor:
    """Make two axes of a tensor's channels: groups, and channels of a group."""
    channels, step = tensor.shape[1], tensor.strides[1]
    count = channels // groups
    return replace(
        tensor,
        shape=(tensor.shape[0], groups, count, *tensor.shape[2:]),
        strides=(tensor.strides[0], step * count, step, *tensor.strides[2:]),
    )


def _weight(weight: Tensor, x: Tensor, groups: int) -> Tensor:
    """Return a weight per channel or per group, as wide as `_split` makes x."""
    count, step, rest = x.shape[1] // groups, weight.strides[0], x.rank - 2
    steps = (step * count, step) if weight.shape[0] == x.shape[1] else (step, 0)
    return replace(
        weight,
        shape=(x.shape[0], groups, count, *x.shape[2:]),
        strides=(0, *steps, *(0,) * rest),
    )


def _followed(scaled: bool, moved: bool, after: Expression) -> Expression:
    """Return what x, mean, inverse, weights and further operands become."""
    made = [("subtract", 1), ("multiply", 2)]
    made += [("multiply", 3)] if scaled else []
    made += [("add", 3 + scaled)] if moved else []
    first = 3 + scaled + moved
    count = first + after.operands - 1
    instructions, value = [], 0
    for number, (operation, operand) in enumerate(made):
        instructions.append(Instruction(operation, (value, operand)))
        value = count + number

    def renumbered(number: int) -> int:
        if number in (ABSENT, 0):
            return value if number == 0 else ABSENT
        if number < after.operands:
            return first + number - 1
        return value + 1 + number - after.operands

    instructions += [
        Instruction(
            each.operation, tuple(map(renumbered, each.inputs)), each.attributes
        )
        for each in after.instructions
    ]
    results = tuple(map(renumbered, after.results))
    return Expression(count, tuple(instructions), results)


def _channels(x: Tensor) -> tuple[Lines, Team, int, int]:
    """Return the lines (image, channel), their team, and how they are cut."""
    lines = arrange(x.shape, range(2, x.rank), [x], in_order=True)
    team = choose(lines, [x])
    return lines, team, *cut(lines, team)


def _places(x: Tensor, scratch: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return where means, inverse deviations and parts lie in scratch memory."""
    real: Dtype = np.dtype(real_type(x))
    start = scratch.offset * scratch.dtype.itemsize // real.itemsize
    channels = x.shape[0] * x.shape[1]
    shape = (*x.shape[:2], *(1,) * (x.rank - 2))
    flat = Tensor.dense(scratch.buffer, real, shape)
    mean, inverse, parts = (
        replace(flat, offset=start + number * channels) for number in range(3)
    )
    return mean.broadcast(x.shape), inverse.broadcast(x.shape), parts


_ENDED = """
const real inverse = real(1) / rt_sqrt(all[0].squares / all[0].count + epsilon);
for (int c = lane; active && c < channels; c += T) {
  means[rt_i64(row) * channels + c] = all[0].mean;
  inverses[rt_i64(row) * channels + c] = inverse;
}
"""


def _statistics(
    x: Tensor, groups: int, epsilon: float, mean: Tensor, inverse: Tensor, parts: Tensor
) -> list[Launch]:
    """Return the launches that fill means and inverse deviations."""
    lines, team, chunks, chunk = _channels(x)
    real = real_type(x)
    moments = f"rt_moments<{c_type(real)}>"
    known = f"typedef {c_type(real)} real;\n" + gathered(moments, "all")
    first = Walker(lines, [x], (), team, chunk)
    first.reads("before", SAME, [0], real)
    first.pointer("parts", parts, False, moments)
    body = repeated(tile("start") + each("all[v % W].add(x[e][v]);", "start"), "begin")
    text = known + body + gather("all") + PARTS
    made = [first.launch("group_norm_parts", text, chunks=chunks)]
    count = x.shape[1] // groups
    joined = Lines((Axis(x.shape[0] * groups, ()),), (Axis(count * chunks, ()),))
    threads = min(256, power_of_two(count * chunks))
    seats = 128 // threads if threads <= 32 else 1
    second = Walker(joined, (), (), Team(False, 1, threads, seats, 1, False))
    second.pointer("parts", parts, True, moments)
    second.pointer("means", mean, False)
    second.pointer("inverses", inverse, False)
    second.scalar("i32", "channels", count)
    second.scalar("f64" if real == "float64" else "f32", "epsilon", epsilon)
    text = known + JOIN + gather("all") + _ENDED
    return [*made, second.launch(f"group_norm_joined_{real}", text)]


def lp_norm(x: Tensor, y: Tensor, axis: int, p: int) -> list[Launch]:
    """LpNormalization for p 1 or 2: vectors over their norm; zeros stay zeros.

    ::

        for line:  y = x / (Σ |x| or √Σ x², 1 where that is 0)
    """
    norm = "total" if p == 1 else "rt_sqrt(total)"
    divisor = f"(total == real(0) ? real(1) : {norm})"
    power = "rt_abs(d)" if p == 1 else "d * d"
    kind = Norm(False, divisor, power, True)
    return normalize(
        SAME, [x], None, None, y, (axis,), 0.0, norm=kind, family=f"l{p}_norm"
    )


def mean_variance_norm(x: Tensor, y: Tensor, axes: Sequence[int]) -> list[Launch]:
    """MeanVarianceNormalization: distances from the mean over deviation + 1e-9."""
    kind = Norm(True, "(rt_sqrt(variance) + epsilon)", "d * d", True)
    return normalize(
        SAME, [x], None, None, y, axes, 1e-9, norm=kind, family="mean_variance_norm"
    )
