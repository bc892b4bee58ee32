"""Softmax and normalizations along lines, with element-wise work before and after.

::

    for line:
        x[:] = before(operands); what is gathered of x
        results[:] = after(of x and what was gathered, further operands)

Statistics are float, of doubles double. A line that fits into the registers of its team
is read once, and a mean is taken before distances from it; of longer ones everything is
gathered in one pass, from which nothing is lost, and they are read again to be written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypedDict, Unpack

from runtime_ep_cuda.codegen.expression import SAME, Expression
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lines import arrange
from runtime_ep_cuda.codegen.loops import (
    c_type,
    each,
    gather,
    gathered,
    real_type,
    repeated,
    tile,
)
from runtime_ep_cuda.codegen.walker import Walker
from runtime_ep_cuda.tensor import Tensor

_SOFTMAX_CACHED = (
    tile()
    + gathered("rt_peak<real>", "most")
    + each("most[v % W].add(x[e][v]);")
    + gather("most")
    + gathered("rt_sum<real>", "total")
)
_EXPONENTIALS = _SOFTMAX_CACHED + each(
    "{ x[e][v] = rt_exp(x[e][v] - most[v % W].value); total[v % W].add(x[e][v]); }"
)
_SOFTMAX = (
    _EXPONENTIALS
    + gather("total")
    + each("x[e][v] /= total[v % W].value;", after="after(k, x[e]);")
)
_LOG_SOFTMAX = (
    _SOFTMAX_CACHED
    + each("total[v % W].add(rt_exp(x[e][v] - most[v % W].value));")
    + gather("total")
    + each(
        "x[e][v] = x[e][v] - most[v % W].value - rt_log(total[v % W].value);",
        after="after(k, x[e]);",
    )
)
_POWERS = (
    gathered("rt_powers<real>", "all")
    + repeated(tile("start") + each("all[v % W].add(x[e][v]);", "start"))
    + gather("all")
    + "// infinities are NaN, as their distance from themselves is\n"
    + "real top[W], total[W];\n#pragma unroll\n"
    + "for (int w = 0; w < W; ++w) {\n"
    + "  top[w] = all[w].top;\n  total[w] = all[w].total + (top[w] - top[w]);\n}\n"
)
_LONG_SOFTMAX = _POWERS + repeated(
    tile("start", "again")
    + each(
        "x[e][v] = rt_exp(x[e][v] - top[v % W]) / total[v % W];",
        "start",
        "after(k, x[e]);",
    )
)
_LONG_LOG_SOFTMAX = _POWERS + repeated(
    tile("start", "again")
    + each(
        "x[e][v] = x[e][v] - top[v % W] - rt_log(total[v % W]);",
        "start",
        "after(k, x[e]);",
    )
)


def softmax(
    before: Expression,
    operands: Sequence[Tensor],
    y: Tensor,
    axes: int | Sequence[int],
    *,
    log: bool = False,
    after: Expression = SAME,
    further: Sequence[Tensor] = (),
    results: Sequence[Tensor] | None = None,
) -> list[Launch]:
    """Softmax, or its logarithm, along an axis or several of ``before(operands)``.

    Operands are broadcast to y's shape; ``after`` makes the results, y if no others are
    given, of the softmax and further operands. A result may be the memory of an operand
    of the same strides. A line that has a NaN, +∞, or nothing but -∞ is NaN throughout.

    ::

        x = before(operands); most = max x
        total = Σ exp(x - most)
        results = after(exp(x - most) / total, further)
                  or after(x - most - log(total), further)
    """
    outputs = [y] if results is None else list(results)
    if y.size == 0:
        return []
    given = (axes,) if isinstance(axes, int) else axes
    along = [axis % y.rank for axis in given]
    walker, places = _walker(y, along, operands, further, outputs)
    real = real_type(*operands, y)
    walker.head.append(f"typedef {c_type(real)} real;")
    walker.reads("before" if walker.team.cached else "again", before, places[0], real)
    walker.writes("after", after, places[1], real, places[2])
    if walker.team.cached:
        body = _LOG_SOFTMAX if log else _SOFTMAX
    else:
        known = "const auto& before = again;\n"
        body = known + (_LONG_LOG_SOFTMAX if log else _LONG_SOFTMAX)
    return [walker.launch("log_softmax" if log else "softmax", body)]


def _walker(
    y: Tensor, axes: Sequence[int], *groups: Sequence[Tensor]
) -> tuple[Walker, list[list[int]]]:
    """Return a walker of groups of tensors, the last of which are results.

    Also returns the numbers by which it knows the tensors of each group.
    """
    tensors: list[Tensor] = []
    places = []
    for group in groups:
        places.append(list(range(len(tensors), len(tensors) + len(group))))
        tensors += [tensor.broadcast(y.shape) for tensor in group]
    lines = arrange(y.shape, axes, tensors)
    return Walker(lines, tensors, places[-1]), places


_MEAN = (
    gathered("rt_sum<real>", "first")
    + each("first[v % W].add(x[e][v]);")
    + gather("first")
    + "real mean[W];\n#pragma unroll\n"
    + "for (int w = 0; w < W; ++w) mean[w] = first[w].value / real(length);\n"
)
_NO_MEAN = (
    "real mean[W];\n#pragma unroll\nfor (int w = 0; w < W; ++w) mean[w] = real(0);\n"
)
_DEVIATION = (
    gathered("rt_sum<real>", "second")
    + each("{ const real d = x[e][v] - mean[v % W]; second[v % W].add(POWER); }")
    + gather("second")
)
_SQUARES = (
    gathered("rt_sum<real>", "second")
    + repeated(
        tile("start")
        + each("{ const real d = x[e][v]; second[v % W].add(POWER); }", "start")
    )
    + gather("second")
)
_MOMENTS = (
    gathered("rt_moments<real>", "all")
    + repeated(tile("start") + each("all[v % W].add(x[e][v]);", "start"))
    + gather("all")
    + "real mean[W];\n#pragma unroll\n"
    + "for (int w = 0; w < W; ++w) mean[w] = all[w].mean;\n"
)
_INVERSE = """
real inverse[W];
#pragma unroll
for (int w = 0; w < W; ++w) inverse[w] = INVERSE;
if (active && lane == 0) {
#pragma unroll
  for (int w = 0; w < W; ++w) { STATISTICS }
}
"""
_MULTIPLIED = "x[e][v] = (x[e][v] - mean[v % W]) * inverse[v % W];"
_DIVIDED = "x[e][v] = (x[e][v] - mean[v % W]) / inverse[v % W];"


class Norm(NamedTuple):
    """By what distances are divided: text of what is gathered of them.

    Distances ``d`` are from the mean if ``centre``, else from 0; ``total`` in
    ``divisor`` is the sum of their ``power``, ``variance`` its mean. Without ``divides``
    they are multiplied by the inverse, which no divisor near 0 allows.
    """

    centre: bool = True
    divisor: str = "rt_sqrt(variance + epsilon)"
    power: str = "d * d"
    divides: bool = False


LAYER = Norm()
RMS = Norm(centre=False)


def normalize(
    before: Expression,
    operands: Sequence[Tensor],
    scale: Tensor | None,
    bias: Tensor | None,
    y: Tensor,
    axes: Sequence[int],
    epsilon: float,
    *,
    norm: Norm = LAYER,
    after: Expression = SAME,
    further: Sequence[Tensor] = (),
    results: Sequence[Tensor] | None = None,
    mean: Tensor | None = None,
    inverse: Tensor | None = None,
    total: Tensor | None = None,
    family: str = "normalize",
) -> list[Launch]:
    """Normalize ``before(operands)`` over some axes: distances from the mean, scaled.

    All tensors are broadcast to y's shape. ``scale`` and ``bias`` come before ``after``,
    whose first operand they make; ``mean`` and ``inverse`` take the statistics, one per
    line, ``total`` the value of ``before`` itself.

    ::

        x = before(operands); total = x
        mean = Σ x / n, or 0 if not to be centred; variance = Σ (x - mean)² / n
        results = after((x - mean) / √(variance + ε) · scale + bias, further)
                  or another divisor, as ``norm`` has it
    """
    outputs = [y] if results is None else list(results)
    if y.size == 0:
        return []
    totals = [] if total is None else [total]
    weights = [weight for weight in (scale, bias) if weight is not None]
    given = {
        name: tensor
        for name, tensor in (("mean", mean), ("inverse", inverse))
        if tensor is not None
    }
    walker, places = _walker(
        y, [axis % y.rank for axis in axes], operands, weights, further,
        [*outputs, *totals, *given.values()],
    )  # fmt: skip
    real = real_type(*operands, y)
    walker.scalar("f64" if real == "float64" else "f32", "epsilon", epsilon)
    walker.head.append(f"typedef {c_type(real)} real;")
    made, rest = places[3][: len(outputs)], places[3][len(outputs) :]
    stores = {0: rest.pop(0)} if totals else {}
    walker.reads("before", before, places[0], real, stores)
    if not walker.team.cached:
        walker.reads("again", before, places[0], real)
    first = _weighed(walker, places[1], scale is not None, bias is not None)
    walker.writes("after", after, places[2], real, made, first, places[1])
    for name, number in zip(given, rest, strict=True):
        walker.ends(f"put_{name}", SAME, (), real, [number])
    statistics = " ".join(f"put_{name}(w, {name}[w]);" for name in given)
    return [walker.launch(family, _normalizing(walker, norm, statistics))]


def _weighed(walker: Walker, weights: Sequence[int], scaled: bool, moved: bool) -> str:
    """Return the text of an element times its scale, plus its bias."""
    text = "x[v]"
    if scaled:
        text += f" * real({walker.wide(weights[0])})"
    if moved:
        text += f" + real({walker.wide(weights[-1])})"
    return text


def _normalizing(walker: Walker, norm: Norm, statistics: str) -> str:
    """Return the body for lines that are cached or not."""
    total, centre = "second[w].value", norm.centre
    variance = f"{total} / real(length)"
    applied = _DIVIDED if norm.divides else _MULTIPLIED
    if walker.team.cached:
        begin = tile() + (_MEAN if centre else _NO_MEAN) + _DEVIATION
        end = each(applied, after="after(k, x[e]);")
    else:
        begin = _MOMENTS if centre else _NO_MEAN + _SQUARES
        variance = "all[w].squares / real(length)" if centre else variance
        end = repeated(
            tile("start", "again") + each(applied, "start", "after(k, x[e]);")
        )
    divisor = norm.divisor.replace("variance", variance).replace("total", total)
    inverse = divisor if norm.divides else f"real(1) / ({divisor})"
    middle = _INVERSE.replace("INVERSE", inverse).replace("STATISTICS", statistics)
    return begin.replace("POWER", norm.power) + middle + end


class Extras(TypedDict, total=False):
    """What else `normalize` takes."""

    after: Expression
    further: Sequence[Tensor]
    results: Sequence[Tensor] | None
    mean: Tensor | None
    inverse: Tensor | None
    total: Tensor | None


def layer_norm(
    before: Expression,
    operands: Sequence[Tensor],
    scale: Tensor | None,
    bias: Tensor | None,
    y: Tensor,
    axes: Sequence[int],
    epsilon: float,
    **extras: Unpack[Extras],
) -> list[Launch]:
    """LayerNormalization over some axes; what else `normalize` takes may be given."""
    return normalize(
        before, operands, scale, bias, y, axes, epsilon, family="layer_norm", **extras
    )


def rms_norm(
    before: Expression,
    operands: Sequence[Tensor],
    scale: Tensor | None,
    y: Tensor,
    axes: Sequence[int],
    epsilon: float,
    **extras: Unpack[Extras],
) -> list[Launch]:
    """RMSNormalization over some axes; what else `normalize` takes may be given."""
    return normalize(
        before, operands, scale, None, y, axes, epsilon,
        norm=RMS, family="rms_norm", **extras,
    )  # fmt: skip
