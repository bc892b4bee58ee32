"""What becomes of attention's scores before the softmax: a cap, masks, a bound of keys.

A kernel's text sees, after `places` and `scoring`::

    b h kv          the image, the head of queries, its head of keys
    keys            how many keys of the image there are
    first_key(i)    the first key that query i may attend, as far as its place tells
    end_key(i)      one behind the last
    scored(i, j, s) what query i's score of key j becomes; -∞ where it is hidden
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.indices import MOST_NARROW
from runtime_ep_cuda.tensor import Tensor

ATTENTION: Final = r"""
#if !defined(RT_ATTENTION) || !defined(__CUDACC__)
#define RT_ATTENTION
// rows of a matrix, widened, to shared memory; what is outside of it becomes zero
template <int Rows, int D, int V, int Threads, typename M, typename O, typename T>
RT_INLINE void rt_rows_of(const M* from, O row, O step, int rows, int size, T factor, T* to) {
  for (int i = threadIdx.x; i < Rows * (D / V); i += Threads) {
    const int r = i / (D / V), d = i % (D / V) * V;
    rt_pack<T, V> wide;
    if (r < rows && d < size) {
      const auto read = rt_read<M, V>(from + O(r) * row + O(d) * step);
#pragma unroll
      for (int v = 0; v < V; ++v) wide.at[v] = T(rt_wide(read.at[v])) * factor;
    } else {
#pragma unroll
      for (int v = 0; v < V; ++v) wide.at[v] = T(0);
    }
    rt_write<T, V>(to + r * (D + 4) + d, wide);
  }
}
template <typename T> RT_INLINE T rt_most(T a, T b) {
  if constexpr (rt_same<T, float>::value) return fmaxf(a, b);
  else return fmax(a, b);
}
// what exp(a - b) is, where equals may be infinite
template <typename T> RT_INLINE T rt_decay(T a, T b) { return a == b ? T(1) : rt_exp(a - b); }
#endif
"""
"""Text in front of every kernel of attention."""


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """Queries, keys, values and the result, each (batch, heads, rows, size)."""

    q: Tensor
    k: Tensor
    v: Tensor
    y: Tensor

    @property
    def real(self) -> str:
        """C's name of the type that is computed in."""
        return "double" if self.q.dtype == np.float64 else "float"

    @property
    def codes(self) -> str:
        """The short names of the element types."""
        tensors = (self.q, self.k, self.v, self.y)
        return "_".join(element(tensor.dtype).code for tensor in tensors)


@dataclass(frozen=True, slots=True, eq=False)
class Rules:
    """How scores are made and hidden.

    ``masks`` are booleans, or numbers to add, of the scores' shape. Query i stands at
    key i + ``past``, or where ``valid`` (batch) counts keys, so that the last query
    stands at the last of these; ``left`` and ``right`` bound the distance to a key where
    they are not negative. ``sink`` (heads) are numbers that count as the score of one more
    key, whose values are zeros.
    """

    scale: float
    softcap: float = 0.0
    masks: tuple[Tensor, ...] = ()
    past: int = 0
    left: int = -1
    right: int = -1
    valid: Tensor | None = None
    sink: Tensor | None = None


def is_narrow(heads: Heads, rules: Rules) -> bool:
    """Whether 32 bits hold all offsets."""
    return all(
        sum(abs(s) * (n - 1) for n, s in zip(t.shape, t.strides, strict=True))
        <= MOST_NARROW
        for t in (heads.q, heads.k, heads.v, heads.y, *rules.masks)
    )


def places(draft: Draft, heads: Heads) -> None:
    """Append parameters of the tensors, and where the block's heads begin in them.

    The head and image must be in ``h`` and ``b``.
    """
    draft.reads("q", heads.q)
    draft.reads("k", heads.k)
    draft.reads("v", heads.v)
    draft.writes("y", heads.y)
    draft.number("i32", "queries", heads.q.shape[2])
    draft.number("i32", "all_keys", heads.k.shape[2])
    draft.number("i32", "group", heads.q.shape[1] // heads.k.shape[1])
    draft.number("i32", "depth", heads.q.shape[3])
    draft.number("i32", "width", heads.v.shape[3])
    draft.line("const int kv = h / group;")
    tensors = {"q": heads.q, "k": heads.k, "v": heads.v, "y": heads.y}
    for name, tensor in tensors.items():
        head = "kv" if name in "kv" else "h"
        draft.placed(f"{name}o", ["b", head], tensor.strides[:2])
        draft.offset(f"{name}_row", tensor.strides[2])
        draft.offset(f"{name}_step", tensor.strides[3])
    draft.line(
        f"typedef {heads.real} real;",
        *(
            f"typedef {element(tensor.dtype).memory} {name}_type;"
            for name, tensor in tensors.items()
        ),
    )


def scoring(draft: Draft, heads: Heads, rules: Rules) -> None:
    """Append the functions that bound, cap and hide scores."""
    kind = "f64" if heads.real == "double" else "f32"
    draft.number(kind, "scale", rules.scale)
    if rules.valid is None:
        draft.number("i32", "past", rules.past)
        draft.line("const int keys = all_keys;")
    else:
        draft.reads("valid", rules.valid)
        draft.placed("vao", ["b"], rules.valid.strides)
        draft.line("const int keys = int(valid[vao]), past = keys - queries;")
    first, end = "return 0;", "return keys;"
    if rules.left >= 0:
        draft.number("i32", "left", rules.left)
        first = "return i + past > left ? i + past - left : 0;"
    if rules.right >= 0:
        draft.number("i32", "right", rules.right)
        end = (
            "const rt_i64 end = rt_i64(i) + past + right + 1; "
            "return end < 0 ? 0 : end < keys ? int(end) : keys;"
        )
    draft.line(
        f"const auto first_key = [&](const int i) -> int {{ {first} }};",
        f"const auto end_key = [&](const int i) -> int {{ {end} }};",
        "const auto scored = [&](const int i, const int j, real s) -> real {",
    )
    if rules.softcap > 0:
        draft.number(kind, "cap", rules.softcap)
        draft.line("s = cap * rt_tanh(s / cap);")
    for number, mask in enumerate(rules.masks):
        _masked(draft, f"mask{number}", mask)
    hidden = []
    if rules.left >= 0:
        hidden.append("j < first_key(i)")
    if rules.right >= 0 or rules.valid is not None:
        hidden.append("j >= end_key(i)")
    if hidden:
        draft.line(f"if ({' || '.join(hidden)}) s = -real(RT_INF);")
    draft.line("return s;", "};")


def sinking(draft: Draft, rules: Rules) -> None:
    """Append the ``sink`` of the block's head, where heads have any."""
    if rules.sink is not None:
        draft.reads("sinks", rules.sink)
        draft.placed("sinko", ["h"], rules.sink.strides)
        draft.line("const real sink = real(rt_wide(sinks[sinko]));")


SINK: Final = (
    "const real most = rt_most({top}, sink), keep = rt_decay({top}, most);",
    "const real all = {total} * keep + rt_decay(sink, most);",
)
"""Of a row's highest score and its sum, what y is by: the sums of values · keep / all."""


def _masked(draft: Draft, name: str, mask: Tensor) -> None:
    """Append what a mask does to a score."""
    draft.reads(name, mask)
    coordinates = ["b", "h", "i", "j"]
    used = [axis for axis in range(4) if mask.strides[axis]]
    draft.placed(
        f"{name}o",
        [coordinates[axis] for axis in used],
        [mask.strides[axis] for axis in used],
    )
    read = f"rt_wide({name}[{name}o])"
    if mask.dtype == np.bool_:
        draft.line(f"if (!{read}) s = -real(RT_INF);")
        return
    draft.line(
        f"const real {name}_value = real({read});",
        f"s = {name}_value == -real(RT_INF) ? {name}_value : s + {name}_value;",
    )


def vector_of(tensor: Tensor) -> int:
    """Return how many neighbours of a head's row can be read at once."""
    if tensor.strides[3] != 1:
        return 1
    vector = 16 // tensor.dtype.itemsize
    steps = (tensor.shape[3], tensor.offset, *tensor.strides[:3])
    while vector > 1 and any(step % vector for step in steps):
        vector //= 2
    return vector
