"""RotaryEmbedding: pairs of a head's elements, turned by the angle of their position.

::

    for image, head, position, pair:
        c, s = cos and sin of the position's row, or of the image's and the position's
        y[first], y[second] = c · a - s · b, s · a + c · b
    the elements behind the turned ones are copied

Pairs are halves of what is turned, or neighbours where interleaved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.indices import Axes, axes_of, blocks
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.tensor import Tensor

THREADS = 256

_TURN = """
if (unit < units) {
const offset pair = unit * V;
const auto c = rt_read<cache, V>(cos + cos_at + pair * cos_step);
const auto s = rt_read<cache, V>(sin + sin_at + pair * sin_step);
READ
#pragma unroll
for (int v = 0; v < V; ++v) {
const real m = inside ? real(rt_wide(c.at[v])) : real(RT_NAN);
const real n = inside ? real(rt_wide(s.at[v])) : real(RT_NAN);
const real p = rt_wide(FIRST), q = rt_wide(SECOND);
rt_put(TURNED_FIRST, m * p - n * q);
rt_put(TURNED_SECOND, n * p + m * q);
}
WRITE
} else {
const offset rest = (units + unit) * V;
rt_write<memory, V>(y + yo + rest * y_step, rt_read<memory, V>(x + xo + rest * x_step));
}
"""
_APART = {
    "READ": "const auto a = rt_read<memory, V>(x + xo + A * x_step);\n"
    "const auto b = rt_read<memory, V>(x + xo + B * x_step);\n"
    "rt_pack<memory, V> f, g;",
    "TURNED_FIRST": "f.at[v]",
    "TURNED_SECOND": "g.at[v]",
    "FIRST": "a.at[v]",
    "SECOND": "b.at[v]",
    "WRITE": "rt_write<memory, V>(y + yo + A * y_step, f);\n"
    "rt_write<memory, V>(y + yo + B * y_step, g);",
}
_TOGETHER = {
    "READ": "const auto a = rt_read<memory, 2 * V>(x + xo + 2 * pair);\n"
    "rt_pack<memory, 2 * V> f;",
    "TURNED_FIRST": "f.at[2 * v]",
    "TURNED_SECOND": "f.at[2 * v + 1]",
    "FIRST": "a.at[2 * v]",
    "SECOND": "a.at[2 * v + 1]",
    "WRITE": "rt_write<memory, 2 * V>(y + yo + 2 * pair, f);",
}


def heads(tensor: Tensor, count: int) -> Tensor:
    """Return (batch, length, heads · size) as (batch, heads, length, size)."""
    size, step = tensor.shape[2] // count, tensor.strides[2]
    return replace(
        tensor,
        shape=(tensor.shape[0], count, tensor.shape[1], size),
        strides=(tensor.strides[0], step * size, tensor.strides[1], step),
    )


def rotary(
    x: Tensor,
    cos: Tensor,
    sin: Tensor,
    y: Tensor,
    positions: Tensor | None = None,
    *,
    interleaved: bool = False,
    turned: int = 0,
) -> list[Launch]:
    """Turn x (batch, heads, length, size) into y, both in any strides; see `heads`.

    The caches are (batch, length, turned / 2), or (rows, turned / 2) with ``positions``:
    integers of (batch, length), or of (1,) for the first, which the others follow. What
    has a position outside of the caches becomes NaN. ``turned`` elements of each head
    are turned, all if it is 0.
    """
    if y.size == 0:
        return []
    half, size = (turned or x.shape[3]) // 2, x.shape[3]
    vector = _vector(x, y, cos, sin, half, interleaved)
    units = half // vector
    shape = (*x.shape[:3], units + (size - 2 * half) // vector)
    draft = Draft(axes_of([x, y]).is_narrow() and axes_of([cos, sin]).is_narrow())
    names = {"x": x, "cos": cos, "sin": sin}
    for name, tensor in names.items():
        draft.reads(name, tensor)
    draft.writes("y", y)
    at = _head(draft, x, y, shape)
    _angles(draft, cos, sin, positions, at)
    draft.number("i32", "units", units)
    for name, tensor in (*names.items(), ("y", y)):
        draft.offset(f"{name}_step", tensor.strides[-1])
    together = interleaved and all(_is_aligned(t, 2 * vector) for t in (x, y))
    _turn(draft, x, cos, vector, interleaved, together)
    codes = "_".join(element(tensor.dtype).code for tensor in (x, cos))
    way = "neighbours" if interleaved else "halves"
    name = f"rotary_{way}_{codes}_v{vector}"
    return [draft.launch(name, blocks(Axes(shape, ()).size, THREADS), THREADS)]


def _head(draft: Draft, x: Tensor, y: Tensor, shape: Sequence[int]) -> list[str]:
    """Append a thread's head and unit; return its image, head and position as text."""
    order = sorted(range(3), key=lambda axis: -abs(x.strides[axis]))
    draft.thread("i", Axes(tuple(shape), ()).size, THREADS)
    found = draft.split("i", [*(shape[axis] for axis in order), shape[3]], "c")
    at = [found[order.index(axis)] for axis in range(3)]
    draft.line(f"const offset unit = {found[3]};")
    draft.placed("xo", at, x.strides[:3])
    draft.placed("yo", at, y.strides[:3])
    return at


def _turn(
    draft: Draft, x: Tensor, cos: Tensor, vector: int, interleaved: bool, together: bool
) -> None:
    """Append what is read, turned and written."""
    kind = element(x.dtype)
    draft.line(
        f"typedef {kind.memory} memory;",
        f"typedef {element(cos.dtype).memory} cache;",
        f"typedef {kind.computed} real;",
        f"constexpr int V = {vector};",
    )
    text = _TURN
    for word, part in (_TOGETHER if together else _APART).items():
        text = text.replace(word, part)
    first, second = "pair", "(units * V + pair)"
    if interleaved:
        first, second = "2 * pair", "(2 * pair + 1)"
    text = text.replace("A * ", f"{first} * ").replace("B * ", f"{second} * ")
    draft.line(*(line for line in text.splitlines() if line))


def _angles(
    draft: Draft, cos: Tensor, sin: Tensor, positions: Tensor | None, at: Sequence[str]
) -> None:
    """Append where the angles of a position lie, and whether it is inside the caches."""
    batch, _, place = at
    if positions is None:
        draft.line("const bool inside = true;")
        draft.placed("cos_at", [batch, place], cos.strides[:2])
        draft.placed("sin_at", [batch, place], sin.strides[:2])
        return
    draft.reads("positions", positions)
    if positions.rank == 1:
        draft.line(f"const rt_i64 asked = rt_i64(positions[0]) + {place};")
    else:
        draft.placed("po", [batch, place], positions.strides)
        draft.line("const rt_i64 asked = rt_i64(positions[po]);")
    draft.number("i64", "known", cos.shape[0])
    draft.line("const bool inside = asked >= 0 && asked < known;")
    draft.line("const offset line = inside ? offset(asked) : 0;")
    draft.placed("cos_at", ["line"], cos.strides[:1])
    draft.placed("sin_at", ["line"], sin.strides[:1])


def _is_aligned(tensor: Tensor, count: int) -> bool:
    """Whether a tensor's rows can be read by vectors of some elements."""
    steps = (tensor.offset, *tensor.strides[:-1])
    return tensor.strides[-1] == 1 and all(step % count == 0 for step in steps)


def _vector(
    x: Tensor, y: Tensor, cos: Tensor, sin: Tensor, half: int, interleaved: bool
) -> int:
    """Return how many pairs a thread turns at once."""
    each = 2 if interleaved else 1
    vector = 16 // x.dtype.itemsize // each
    while vector > 1:
        whole = half % vector == 0 and (x.shape[3] - 2 * half) % vector == 0
        pairs = all(_is_aligned(tensor, each * vector) for tensor in (x, y))
        if whole and pairs and all(_is_aligned(t, vector) for t in (cos, sin)):
            break
        vector //= 2
    return vector
