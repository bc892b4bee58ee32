"""Depthwise convolution of images whose channels lie innermost, with an epilogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import SAME, Expression
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.codegen.terms import applied
from runtime_ep_cuda.codegen.windows import MOST_UNROLLED, Window, without_image
from runtime_ep_cuda.tensor import Tensor

Named = list[tuple[str, Tensor]]
BUSY = 1 << 15
"""With fewer threads than that a device is not busy: none is to do its neighbour's work."""


def depthwise(
    x: Tensor,
    weights: Tensor,
    y: Tensor,
    window: Window,
    bias: Tensor | None = None,
    epilogue: Expression = SAME,
    operands: Sequence[Tensor] = (),
) -> list[Launch]:
    """Convolve each channel by its own window; ``weights`` are (…, C), C innermost.

    ::

        for (n, p, c) in parallel, c in vectors, p in groups along the last image axis:
            for rows of taps, for the columns that the group sees:
                v = x[n, c, column]
                sums[each of the group that has a tap t there][c] += v · weights[t, c]
            y[n, c, p] = epilogue(sums + bias[c], operands[n, c, p])

    ``bias`` has C elements. The epilogue's first operand is the sum, in float; the others
    are broadcast to y's shape. Kernel, strides and dilations are part of the kernel.
    """
    _check(x, weights, y, window, epilogue, operands)
    if y.size == 0:
        return []
    group = _group(window, y)
    spread = [tensor.broadcast(y.shape) for tensor in operands]
    walk = _walk(x, weights, y, window, bias, spread, group)
    draft = walk.draft
    real = element(x.dtype).computed
    _begin(walk, x, window, group)
    draft.line(f"{real} sums[{group}][{walk.width}];")
    _start(walk, bias, group)
    _rows(walk, weights, window, group, real)
    _finish(walk, y, spread, epilogue, group, x)
    steps = "x".join(map(str, (*window.strides, *window.dilations)))
    kernel = "x".join(map(str, window.kernel))
    resident = 2 if draft.narrow else 1  # addresses of 64 bits take registers, too
    return [walk.launch(f"depthwise_{kernel}_{steps}_g{group}", resident)]


def _check(
    x: Tensor,
    weights: Tensor,
    y: Tensor,
    window: Window,
    epilogue: Expression,
    operands: Sequence[Tensor],
) -> None:
    channels = x.shape[1]
    if y.shape[1] != channels or weights.shape != (*window.kernel, channels):
        raise ValueError(
            f"weights {weights.shape} do not convolve each of {channels} channels by a "
            f"window of {window.kernel}"
        )
    if epilogue.operands != 1 + len(operands) or len(epilogue.results) != 1:
        raise ValueError("an epilogue has the sum, the operands, and one result")


def _group(window: Window, y: Tensor) -> int:
    """Return how many neighbours a thread computes: more read less, if there are many."""
    if prod(window.kernel) == 1 or window.dilations[-1] > 1:
        return 1
    group = 4 if window.strides[-1] == 1 else 2
    while group > 1 and (y.size < BUSY * 8 * group or group >= 2 * y.shape[-1]):
        group //= 2
    return group


def _grouped(tensor: Tensor, group: int) -> Tensor:
    """Return a tensor whose last axis counts groups."""
    *shape, last = tensor.shape
    *strides, step = tensor.strides
    return replace(
        tensor, shape=(*shape, -(-last // group)), strides=(*strides, step * group)
    )


def _walk(
    x: Tensor,
    weights: Tensor,
    y: Tensor,
    window: Window,
    bias: Tensor | None,
    operands: Sequence[Tensor],
    group: int,
) -> Walk:
    target = _grouped(y, group)
    walked = target.shape
    along = (0, weights.strides[-1], *(0,) * (y.rank - 2))
    tensors: Named = [("x", without_image(x, walked))]
    tensors.append(("w", replace(weights, shape=walked, strides=along)))
    jumps = {"x": x, "w": weights, "y": y}
    if bias is not None:
        steps = (0, bias.strides[-1], *(0,) * (y.rank - 2))
        tensors.append(("b", replace(bias, shape=walked, strides=steps)))
    for n, operand in enumerate(operands):
        tensors.append((f"o{n}", _grouped(operand, group)))
        jumps[f"o{n}"] = operand
    tensors.append(("y", target))
    most = 8 if window.kernel[-1] <= 3 and x.dtype.itemsize <= 2 else 4
    return Walk(tensors, range(2, y.rank), most=most, jumps=jumps)


def _begin(walk: Walk, x: Tensor, window: Window, group: int) -> None:
    """Append where the group's windows begin along each image axis."""
    draft, last = walk.draft, x.rank - 3
    for n, (step, pad) in enumerate(
        zip(window.strides, window.pads_begin, strict=True)
    ):
        draft.offset(f"n{n}", x.shape[n + 2])
        draft.offset(f"xs{n}", x.strides[n + 2])
        scale = step * group if n == last else step
        text = f"{walk.at(n + 2)} * {scale} - {draft.offset(f'pad{n}', pad)}"
        draft.line(f"const offset w{n} = {text};")


def _start(walk: Walk, bias: Tensor | None, group: int) -> None:
    value = "0"
    if bias is not None:
        walk.pack("b", "bv")
        walk.load("b", "bv", walk.place("b"))
        value = "rt_wide(bv.at[k])"
    walk.draft.line(
        "#pragma unroll",
        f"for (int r = 0; r < {group}; ++r)",
        "#pragma unroll",
        f"for (int k = 0; k < {walk.width}; ++k) sums[r][k] = {value};",
    )


def _rows(walk: Walk, weights: Tensor, window: Window, group: int, real: str) -> None:
    """Append the loops over rows of taps, and over the columns of each."""
    draft = walk.draft
    *outer, taps = window.kernel
    last = len(outer)
    draft.line(
        f"const auto first = {walk.place('x')};",
        f"const auto taps = {walk.place('w')};",
    )
    for n in range(len(window.kernel)):
        draft.offset(f"ws{n}", weights.strides[n])
    unroll = prod(window.kernel) <= MOST_UNROLLED
    for n, count in enumerate(outer):
        draft.line(
            "#pragma unroll" if unroll else "#pragma unroll 1",
            f"for (int t{n} = 0; t{n} < {count}; ++t{n}) {{",
            f"const offset j{n} = w{n} + t{n} * {window.dilations[n]};",
            f"if (j{n} < 0 || j{n} >= n{n}) continue;",
        )
    chosen = " + ".join((*(f"t{n} * ws{n}" for n in range(last)), f"t * ws{last}"))
    memory = element(walk.tensors["w"].dtype).memory
    draft.line(f"rt_pack<{memory}, {walk.width}> row[{taps}];")
    draft.line("#pragma unroll", f"for (int t = 0; t < {taps}; ++t) {{")
    walk.load("w", "row[t]", f"(taps + {chosen})")
    draft.line("}")
    _columns(walk, window, group, real)
    draft.line(*("}" for _ in outer))


def _columns(walk: Walk, window: Window, group: int, real: str) -> None:
    """Append the loop over the columns that a group sees in one row."""
    draft, taps, last = walk.draft, window.kernel[-1], len(window.kernel) - 1
    step, apart = window.strides[-1], window.dilations[-1]
    columns = (group - 1) * step + (taps - 1) * apart + 1
    line = " + ".join((*(f"j{n} * xs{n}" for n in range(last)), "0"))
    draft.line("#pragma unroll", f"for (int q = 0; q < {columns}; ++q) {{")
    if group == 1 and apart > 1:
        draft.line(f"if (q % {apart}) continue;")
    draft.line(
        f"const offset j = w{last} + q;",
        f"const bool inside = j >= 0 && j < n{last};",
    )
    walk.pack("x", "v")
    walk.load("x", "v", f"(inside ? first + {line} + j * xs{last} : first)")
    draft.line(
        "#pragma unroll", f"for (int r = 0; r < {group}; ++r) {{",
        f"const int t = (q - r * {step}) / {apart};",
        f"if (q >= r * {step} && t < {taps}) {{",
        "#pragma unroll", f"for (int k = 0; k < {walk.width}; ++k) {{",
        f"const {real} a = inside ? rt_wide(v.at[k]) : {real}(0);",
        "sums[r][k] += a * rt_wide(row[t].at[k]);",
        "}", "}", "}", "}",
    )  # fmt: skip


def _finish(
    walk: Walk,
    y: Tensor,
    operands: Sequence[Tensor],
    epilogue: Expression,
    group: int,
    x: Tensor,
) -> None:
    """Append the epilogue and the writing, of each of the group that there is."""
    draft, last = walk.draft, y.rank - 1
    names = [f"o{n}" for n in range(len(operands))]
    target = walk.place("y")
    places = [walk.place(name) for name in names]
    draft.offset("columns", y.shape[last])
    step = draft.offset("along", y.strides[last])
    steps = [
        draft.offset(f"{name}along", tensor.strides[last])
        for name, tensor in zip(names, operands, strict=True)
    ]
    draft.line(
        "#pragma unroll", f"for (int r = 0; r < {group}; ++r) {{",
        f"if ({walk.at(last)} * {group} + r >= columns) break;",
    )  # fmt: skip
    for name, place, further in zip(names, places, steps, strict=True):
        walk.pack(name, f"{name}v")
        walk.load(name, f"{name}v", f"({place} + r * {further})")
    walk.pack("y", "v")
    draft.line("#pragma unroll", f"for (int k = 0; k < {walk.width}; ++k) {{")
    draft.line(f"const {element(x.dtype).computed} sum = sums[r][k];")
    sum_type = "float64" if x.dtype.name == "float64" else "float32"
    texts: list[tuple[str, Any]] = [("sum", sum_type)]
    for name, tensor in zip(names, operands, strict=True):
        kind = element(tensor.dtype)
        draft.line(f"const {kind.computed} {name}k = rt_wide({name}v.at[k]);")
        texts.append((f"{name}k", tensor.dtype))
    lines, (result,) = applied(epilogue, texts, [y.dtype], "e")
    draft.line(*lines, f"rt_put(v.at[k], {result});", "}")
    walk.store("v", f"({target} + r * {step})")
    draft.line("}")
