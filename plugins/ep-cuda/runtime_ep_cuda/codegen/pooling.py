"""Pooling: the largest, the mean or the norm of what a window shows of an image.

Tensors are (N, C, …) with any strides: where channels lie innermost, they are taken in
vectors. Whole images are pooled by `reduction.reduce`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from runtime_ep_cuda.codegen.elements import FLOATS, element
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.codegen.terms import literal
from runtime_ep_cuda.codegen.windows import (
    Window,
    begin,
    close_taps,
    image_offset,
    is_short,
    label,
    open_taps,
    without_image,
)
from runtime_ep_cuda.tensor import Tensor

FEW_TAPS = 16
"""More taps than that, written out, take more than 64 registers of a thread."""


def max_pool(
    x: Tensor,
    y: Tensor,
    window: Window,
    indices: Tensor | None = None,
    storage_order: int = 0,
) -> list[Launch]:
    """MaxPool: padding never wins, NaN always does.

    ::

        for (n, c, p) in parallel over y, c in vectors where channels lie innermost:
            y[n, c, p] = max over taps t inside the image: x[n, c, place(p, t)]

    ``indices`` get the place of the first largest element in a dense x; with
    ``storage_order`` 1, places within an image count its first axis fastest.
    """
    if y.size == 0:
        return []
    if indices is not None:
        return [_with_indices(x, y, window, indices, storage_order)]
    computed = element(x.dtype).computed
    return [
        _pooled(
            "max", x, y, window, _lowest(x), "found[k] = rt_max(found[k], a);",
            "found[k]", computed,
        )
    ]  # fmt: skip


def average_pool(
    x: Tensor, y: Tensor, window: Window, count_include_pad: bool = False
) -> list[Launch]:
    """AveragePool: the mean of what lies inside the image, or inside its padding, too.

    What ``ceil_mode`` reaches beyond the padding never counts.
    """
    if y.size == 0:
        return []
    computed = _real(x)
    name = "average_padded" if count_include_pad else "average"
    return [
        _pooled(
            name, x, y, window, "0", "found[k] += a;", "found[k] / divisor", computed
        )
    ]


def lp_pool(x: Tensor, y: Tensor, window: Window, p: int = 2) -> list[Launch]:
    """LpPool: the p-norm of what lies inside the image."""
    if y.size == 0:
        return []
    computed = _real(x)
    power = literal(float(p), computed)
    combine = f"found[k] += rt_pow(rt_abs(a), {power});"
    result = f"rt_pow(found[k], {computed}(1) / {power})"
    if p == 1:
        combine, result = "found[k] += rt_abs(a);", "found[k]"
    elif p == 2:
        combine, result = "found[k] += a * a;", "rt_sqrt(found[k])"
    return [_pooled(f"lp{p}", x, y, window, "0", combine, result, computed)]


def _real(x: Tensor) -> str:
    computed = element(x.dtype).computed
    if computed not in FLOATS:
        raise TypeError(f"means and norms are of floats, found {x.dtype}")
    return computed


def _lowest(x: Tensor) -> str:
    computed = element(x.dtype).computed
    if computed in FLOATS:
        return literal(-np.inf, computed)
    return literal(np.iinfo(x.dtype).min if x.dtype.kind in "iu" else 0, computed)


def _pooled(
    name: str,
    x: Tensor,
    y: Tensor,
    window: Window,
    start: str,
    combine: str,
    result: str,
    computed: str,
) -> Launch:
    """Return the launch that combines every window's taps in ``found``."""
    image = range(2, y.rank)
    walk = Walk(
        [("x", without_image(x, y.shape)), ("y", y)], image, most=8, jumps={"x": x}
    )
    draft, width = walk.draft, walk.width
    begin(walk, x, window)
    draft.line(
        f"const auto first = {walk.place('x')};",
        f"{computed} found[{width}]; int seen = 0;",
        f"for (int k = 0; k < {width}; ++k) found[k] = {start};",
    )
    ends = _ends(walk, x, window) if name == "average_padded" else ["inside"]
    open_taps(draft, window)
    walk.pack("x", "v")
    walk.load("x", "v", f"(inside ? first + {image_offset(window)} : first)")
    draft.line(
        f"seen += {' && '.join(ends)};",
        "#pragma unroll",
        f"for (int k = 0; k < {width}; ++k) {{",
        f"const {computed} a = {computed}(rt_wide(v.at[k]));",
        f"if (inside) {combine}",
        "}",
    )
    close_taps(draft, window)
    _finish(walk, y, result, computed)
    return walk.launch(f"pool_{name}_{label(window)}", _resident(walk, window))


def _resident(walk: Walk, window: Window) -> int:
    """Return how many blocks share registers, half as many where there are many taps."""
    if not is_short(window) or prod(window.kernel) <= FEW_TAPS:
        return 0
    return 2 if walk.draft.narrow else 1


def _finish(walk: Walk, y: Tensor, result: str, computed: str) -> None:
    """Append the writing of what was found, ``seen`` taps of it."""
    target = element(y.dtype).computed
    walk.pack("y", "w")
    walk.draft.line(
        f"const {computed} divisor = {computed}(seen > 0 ? seen : 1);",
        "#pragma unroll",
        f"for (int k = 0; k < {walk.width}; ++k)",
        f"rt_put(w.at[k], rt_cast<{target}>({computed}({result})));",
    )
    walk.store("w", walk.place("y"))


def _ends(walk: Walk, x: Tensor, window: Window) -> list[str]:
    """Return the tests of whether a tap lies within the padded image."""
    tests = []
    for n, pad in enumerate(window.pads_end):
        tests.append(f"j{n} < {walk.draft.offset(f'end{n}', x.shape[n + 2] + pad)}")
    return tests


def _with_indices(
    x: Tensor, y: Tensor, window: Window, indices: Tensor, storage_order: int
) -> Launch:
    walk = Walk(
        [("x", without_image(x, y.shape)), ("places", indices), ("y", y)],
        range(y.rank), jumps={"x": x}, written=["places"],
    )  # fmt: skip
    draft = walk.draft
    begin(walk, x, window)
    computed = element(x.dtype).computed
    image = x.shape[2:]
    draft.line(
        f"const auto first = {walk.place('x')};",
        f"{computed} found = {_lowest(x)}; rt_i64 at = -1;",
    )
    for n in range(len(image)):
        inner = image[:n] if storage_order else image[n + 1 :]
        draft.number("i64", f"within{n}", prod(inner))
    open_taps(draft, window)
    within = " + ".join(f"j{n} * within{n}" for n in range(len(image)))
    draft.line(
        f"const {computed} a = rt_wide(*(inside ? first + {image_offset(window)} : first));",
        "if (inside && (at < 0 || a > found || (a != a && found == found))) {",
        f"found = a; at = {within};",
        "}",
    )
    close_taps(draft, window)
    draft.number("i64", "channels", x.shape[1])
    draft.number("i64", "pixels", prod(image))
    plane = f"({walk.at(0)} * channels + {walk.at(1)}) * pixels"
    draft.line(
        f"*{walk.place('places')} = {element(indices.dtype).memory}({plane} + at);",
        f"rt_put(*{walk.place('y')}, found);",
    )
    name = f"pool_max_at_{label(window)}_{storage_order}"
    return walk.launch(name, _resident(walk, window))
