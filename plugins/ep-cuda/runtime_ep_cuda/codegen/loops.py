"""Pieces of the bodies of kernels that walk lines: loops over tiles, and gathering.

They are put together to what `walker` describes; ``x[e][v]`` is element v of a thread's
vector e in the tile that begins at ``start``.
"""

from __future__ import annotations

import numpy as np

from runtime_ep_cuda.tensor import Tensor

_TILE = """
{declared}
#pragma unroll
for (int e = 0; e < E; ++e) {{
  const int k = {start} + (e * T + lane) * U;
  if (k < n) {read}(k, x[e]);
}}
"""

_EACH = """
#pragma unroll
for (int e = 0; e < E; ++e) {{
  const int k = {start} + (e * T + lane) * U;
  if (k < n) {{
{work}
  }}
}}
"""

_VECTOR = """
#pragma unroll
    for (int v = 0; v < V; ++v) {work}
"""


def real_type(*tensors: Tensor | None) -> str:
    """Return NumPy's name of the type that tensors are gathered in."""
    double = any(
        tensor is not None and tensor.dtype == np.float64 for tensor in tensors
    )
    return "float64" if double else "float32"


def c_type(real: str) -> str:
    """Return C's name of a type to gather in."""
    return "double" if real == "float64" else "float"


def tile(start: str = "0", read: str = "before") -> str:
    """Return the text that reads a team's tile of a line into ``x[E][V]``."""
    return _TILE.format(declared="real x[E][V];", start=start, read=read)


def each(work: str, start: str = "0", after: str = "") -> str:
    """Return a loop over the elements ``x[e][v]`` of a tile that are in the line."""
    inner = _VECTOR.format(work=work) if work else ""
    return _EACH.format(start=start, work=inner + (f"    {after}" if after else ""))


def repeated(body: str, begin: str = "0") -> str:
    """Return a loop over the tiles of a line."""
    return f"for (int start = {begin}; start < n; start += E * T * U) {{\n{body}\n}}\n"


def gathered(kind: str, name: str) -> str:
    """Return the declaration of accumulators, and of what a team exchanges them by."""
    return f"""
typedef {kind} {name}_type;
__shared__ {name}_type {name}_shared[rt_room<columns, T, R, W>()];
{name}_type {name}[W];
#pragma unroll
for (int w = 0; w < W; ++w) {name}[w] = {name}_type::none();
"""


def gather(name: str) -> str:
    """Return the text after which all threads of a team have its accumulators."""
    return f"rt_gather<columns, T, R>({name}, {name}_shared, lane, seat);\n"
