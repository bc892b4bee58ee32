"""Attention of few queries: each goes through its keys by itself, cut among blocks.

::

    for image, head, query, chunk of keys:     a block
        for keys of the chunk, shared out among groups of G lanes:
            s = q · k · scale, capped and masked;  total, o go on as in `attention`
        parts = what the groups have, put together
    for image, head, query:                    where there are several chunks
        y = what the chunks have, put together: o / total

Heads may have any size up to `LARGEST`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from runtime_ep_cuda.codegen.attention_scores import (
    ATTENTION,
    SINK,
    Heads,
    Rules,
    is_narrow,
    places,
    scoring,
    sinking,
    vector_of,
)
from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.kernel import Launch
from runtime_ep_cuda.codegen.lines import power_of_two
from runtime_ep_cuda.codegen.teams import preceded
from runtime_ep_cuda.tensor import Dtype, Tensor

LARGEST = 1024
"""Elements a head may have."""

THREADS = 128
_BLOCKS = 528
"""Blocks that are enough for every GPU."""
_LEAST = 64
"""Keys of a chunk, at least."""

_QUERY = r"""
constexpr int GROUPS = THREADS / G, ROOM = EV * G * V;
const int lane = threadIdx.x % G, group_of_lanes = threadIdx.x / G;
real qd[EK * V], o[EV * V], top = -real(RT_INF), total = real(0);
#pragma unroll
for (int e = 0; e < EK; ++e) {
  const int d = (e * G + lane) * V;
  rt_pack<q_type, V> read;
  if (d < depth) read = rt_read<q_type, V>(q + qo + offset(i) * q_row + offset(d) * q_step);
#pragma unroll
  for (int v = 0; v < V; ++v)
    qd[e * V + v] = d < depth ? real(rt_wide(read.at[v])) * scale : real(0);
}
#pragma unroll
for (int c = 0; c < EV * V; ++c) o[c] = real(0);
const int lowest = first_key(i), highest = end_key(i);
const int from = int(blockIdx.y) * chunk > lowest ? int(blockIdx.y) * chunk : lowest;
const int until = int(blockIdx.y) * chunk + chunk;
const int to = until < highest ? until : highest;
#pragma unroll 2
for (int start = from; start < to; start += GROUPS) {
  const int j = start + group_of_lanes;
  const bool there = j < to;
  real s = real(0);
#pragma unroll
  for (int e = 0; e < EK; ++e) {
    const int d = (e * G + lane) * V;
    if (there && d < depth) {
      const auto read =
          rt_read<k_type, V>(k + ko + offset(j) * k_row + offset(d) * k_step);
#pragma unroll
      for (int v = 0; v < V; ++v) s += qd[e * V + v] * real(rt_wide(read.at[v]));
    }
  }
#pragma unroll
  for (int m = G / 2; m; m /= 2) s += __shfl_xor_sync(~0u, s, m);
  s = there ? scored(i, j, s) : -real(RT_INF);
  const real high = rt_most(top, s), keep = rt_decay(top, high);
  const real p = s == -real(RT_INF) ? real(0) : rt_exp(s - high);
  top = high;
  total = total * keep + p;
#pragma unroll
  for (int e = 0; e < EV; ++e) {
    const int d = (e * G + lane) * V;
    if (there && d < width) {
      const auto read =
          rt_read<v_type, V>(v + vo + offset(j) * v_row + offset(d) * v_step);
#pragma unroll
      for (int w = 0; w < V; ++w)
        o[e * V + w] = o[e * V + w] * keep + p * real(rt_wide(read.at[w]));
    }
  }
}
"""

_GROUPS = r"""
__shared__ real tops[GROUPS], totals[GROUPS], os[GROUPS * ROOM];
if (lane == 0) {
  tops[group_of_lanes] = top;
  totals[group_of_lanes] = total;
}
#pragma unroll
for (int e = 0; e < EV; ++e)
#pragma unroll
  for (int w = 0; w < V; ++w)
    os[group_of_lanes * ROOM + (e * G + lane) * V + w] = o[e * V + w];
__syncthreads();
real high = tops[0], sum = real(0);
for (int g = 1; g < GROUPS; ++g) high = rt_most(high, tops[g]);
for (int g = 0; g < GROUPS; ++g) sum += totals[g] * rt_decay(tops[g], high);
for (int c = threadIdx.x; c < width; c += THREADS) {
  real value = real(0);
  for (int g = 0; g < GROUPS; ++g) value += os[g * ROOM + c] * rt_decay(tops[g], high);
  END
}
"""

_WRITE = r"""
rt_put(y[yo + offset(i) * y_row + offset(c) * y_step],
       sum == real(0) ? real(0) : value / sum);
"""

_SINK_WRITE = (
    "\n".join(SINK).format(top="high", total="sum")
    + r"""
rt_put(y[yo + offset(i) * y_row + offset(c) * y_step], value * keep / all);
"""
)

_PART = r"""
parts[(rt_i64(blockIdx.x) * gridDim.y + blockIdx.y) * (width + 2) + 2 + c] = value;
if (c == 0) {
  parts[(rt_i64(blockIdx.x) * gridDim.y + blockIdx.y) * (width + 2)] = high;
  parts[(rt_i64(blockIdx.x) * gridDim.y + blockIdx.y) * (width + 2) + 1] = sum;
}
"""

_CHUNKS = r"""
const real* const mine = parts + rt_i64(blockIdx.x) * chunks * (width + 2);
real high = mine[0], sum = real(0);
for (int g = 1; g < chunks; ++g) high = rt_most(high, mine[g * (width + 2)]);
for (int g = 0; g < chunks; ++g)
  sum += mine[g * (width + 2) + 1] * rt_decay(mine[g * (width + 2)], high);
for (int c = threadIdx.x; c < width; c += THREADS) {
  real value = real(0);
  for (int g = 0; g < chunks; ++g)
    value += mine[g * (width + 2) + 2 + c] * rt_decay(mine[g * (width + 2)], high);
  END
}
"""


def by_keys(heads: Heads, rules: Rules, scratch: Tensor | None) -> list[Launch]:
    """Return the launches; without scratch memory keys are not cut."""
    size = max(heads.q.shape[3], heads.v.shape[3])
    if size > LARGEST:
        raise ValueError(f"heads of {size} elements are larger than {LARGEST}")
    chunks, chunk = (1, heads.k.shape[2]) if scratch is None else _cut(heads.q, heads.k)
    if chunks == 1 or scratch is None:
        return [_gathered(heads, rules, None, 1, heads.k.shape[2])]
    real: Dtype = np.dtype("float64" if heads.real == "double" else "float32")
    start = scratch.offset * scratch.dtype.itemsize // real.itemsize
    parts = replace(scratch, dtype=real, offset=start)
    first = _gathered(heads, rules, parts, chunks, chunk)
    return [first, _joined(heads, rules, parts, chunks)]


def keys_scratch(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Return the bytes of scratch memory for what chunks of keys have; often 0."""
    chunks, _ = _cut(q, k)
    rows = q.shape[0] * q.shape[1] * q.shape[2]
    size = 8 if q.dtype.itemsize == 8 else 4
    return 0 if chunks == 1 else rows * chunks * (v.shape[3] + 2) * size


def _cut(q: Tensor, k: Tensor) -> tuple[int, int]:
    """Return how many chunks keys are cut into, and the keys of one."""
    rows, keys = q.shape[0] * q.shape[1] * q.shape[2], k.shape[2]
    wanted = min(-(-_BLOCKS // max(1, rows)), -(-keys // _LEAST))
    if wanted <= 1:
        return 1, keys
    chunk = -(-keys // wanted)
    return -(-keys // chunk), chunk


def _begun(heads: Heads, rules: Rules) -> Draft:
    """Return a kernel whose blocks are queries, with its places and rules."""
    draft = Draft(is_narrow(heads, rules))
    draft.number("i32", "head_count", heads.q.shape[1])
    draft.number("i32", "row_count", heads.q.shape[2])
    draft.line(
        "const int i = int(blockIdx.x) % row_count;",
        "const int bh = int(blockIdx.x) / row_count;",
        "const int h = bh % head_count, b = bh / head_count;",
        f"constexpr int THREADS = {THREADS};",
    )
    places(draft, heads)
    return draft


def _gathered(
    heads: Heads, rules: Rules, parts: Tensor | None, chunks: int, chunk: int
) -> Launch:
    """Return the launch that goes through keys, and writes parts or the result."""
    draft = _begun(heads, rules)
    scoring(draft, heads, rules)
    vector = min(vector_of(tensor) for tensor in (heads.q, heads.k, heads.v))
    depth, width = heads.q.shape[3], heads.v.shape[3]
    lanes = min(32, power_of_two(-(-max(depth, width) // vector)))
    turns = [power_of_two(-(-size // (lanes * vector))) for size in (depth, width)]
    draft.number("i32", "chunk", chunk)
    if parts is not None:
        draft.writes("parts", parts)
    body = _QUERY + _GROUPS.replace(
        "END", _PART if parts is not None else _ending(draft, rules)
    )
    draft.line(
        f"constexpr int G = {lanes}, V = {vector}, EK = {turns[0]}, EV = {turns[1]};",
        *(line for line in body.splitlines() if line),
    )
    name = f"attention_keys_{heads.codes}_{lanes}x{vector}x{turns[0]}x{turns[1]}"
    rows = heads.q.shape[0] * heads.q.shape[1] * heads.q.shape[2]
    return preceded(
        draft.launch(name, (rows, chunks, 1), THREADS, resident=4), ATTENTION
    )


def _ending(draft: Draft, rules: Rules) -> str:
    """Return the text that writes a result, whose sink is read by then."""
    sinking(draft, rules)
    return _WRITE if rules.sink is None else _SINK_WRITE


def _joined(heads: Heads, rules: Rules, parts: Tensor, chunks: int) -> Launch:
    """Return the launch that puts together what chunks have."""
    draft = _begun(heads, Rules(1.0))
    draft.reads("parts", parts)
    draft.number("i32", "chunks", chunks)
    body = _CHUNKS.replace("END", _ending(draft, rules))
    draft.line(*(line for line in body.splitlines() if line))
    rows = heads.q.shape[0] * heads.q.shape[1] * heads.q.shape[2]
    launch = draft.launch(f"attention_chunks_{heads.codes}", (rows, 1, 1), THREADS)
    return preceded(launch, ATTENTION)
