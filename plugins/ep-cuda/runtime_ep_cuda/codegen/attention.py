"""Attention by our own kernels: exact float and double, any masks, any strides.

::

    for image, head, tile of queries:         a block of 256 threads, 16 to a query's side
        for tile of keys that the queries may attend:
            s = q kᵀ · scale, capped and masked;  most = max(most, s)
            p = exp(s - most);  total, o = those so far · exp(former most - most)
            total += Σ p;  o += p v
        y = o / total, or 0 where all keys are hidden

Tiles lie in shared memory and are widened when they are read. Few queries, and heads
larger than tiles can be, are the work of `attention_keys`.
"""

from __future__ import annotations

from typing import NamedTuple

from runtime_ep_cuda.codegen.attention_keys import by_keys, keys_scratch
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
from runtime_ep_cuda.tensor import Tensor

THREADS = 256
RESIDENT = 2
"""Blocks of a multiprocessor for which registers are shared out."""
FEW_QUERIES = 8
"""Up to here each query goes through its keys by itself."""

_SHARED = 48 << 10
_TILES = ((64, 64), (64, 32), (32, 64), (32, 32), (16, 64), (16, 32), (16, 16))

_BODY = r"""
constexpr int RI = BQ / 16, RJ = BK / 16, C = DV / 16 < 4 ? DV / 16 : 4, CC = DV / 16 / C;
constexpr int LARGER = DK > DV ? DK : DV;
__shared__ uint4 q_room[BQ * (DK + 4) * sizeof(real) / 16];
__shared__ uint4 kv_room[BK * (LARGER + 4) * sizeof(real) / 16];
__shared__ uint4 p_room[BQ * (BK + 4) * sizeof(real) / 16];
real* const qs = reinterpret_cast<real*>(q_room);
real* const kvs = reinterpret_cast<real*>(kv_room);
real* const ps = reinterpret_cast<real*>(p_room);
const int tx = threadIdx.x % 16, ty = threadIdx.x / 16;
const int begin = tile * BQ;
const int most_rows = queries - begin < BQ ? queries - begin : BQ;
rt_rows_of<BQ, DK, QV, THREADS>(
    q + qo + offset(begin) * q_row, q_row, q_step, most_rows, depth, scale, qs);
real o[RI][CC][C], top[RI], total[RI];
#pragma unroll
for (int i = 0; i < RI; ++i) {
  top[i] = -real(RT_INF);
  total[i] = real(0);
#pragma unroll
  for (int c = 0; c < CC * C; ++c) o[i][c / C][c % C] = real(0);
}
const int end = end_key(begin + most_rows - 1);
for (int start = first_key(begin) / BK * BK; start < end; start += BK) {
  const int rows = end - start < BK ? end - start : BK;
  __syncthreads();
  rt_rows_of<BK, DK, KV, THREADS>(
      k + ko + offset(start) * k_row, k_row, k_step, rows, depth, real(1), kvs);
  __syncthreads();
  real s[RI][RJ];
#pragma unroll
  for (int c = 0; c < RI * RJ; ++c) s[c / RJ][c % RJ] = real(0);
#pragma unroll 4
  for (int d = 0; d < DK; d += 4) {
    rt_pack<real, 4> qd[RI], kd[RJ];
#pragma unroll
    for (int i = 0; i < RI; ++i)
      qd[i] = rt_read<real, 4>(qs + (ty * RI + i) * (DK + 4) + d);
#pragma unroll
    for (int j = 0; j < RJ; ++j)
      kd[j] = rt_read<real, 4>(kvs + (tx + 16 * j) * (DK + 4) + d);
#pragma unroll
    for (int i = 0; i < RI; ++i)
#pragma unroll
      for (int j = 0; j < RJ; ++j)
#pragma unroll
        for (int e = 0; e < 4; ++e) s[i][j] += qd[i].at[e] * kd[j].at[e];
  }
  __syncthreads();
  rt_rows_of<BK, DV, VV, THREADS>(
      v + vo + offset(start) * v_row, v_row, v_step, rows, width, real(1), kvs);
#pragma unroll
  for (int i = 0; i < RI; ++i) {
    const int at = begin + ty * RI + i;
    real high = top[i];
#pragma unroll
    for (int j = 0; j < RJ; ++j) {
      const int key = start + tx + 16 * j;
      s[i][j] = key < end && at < queries ? scored(at, key, s[i][j]) : -real(RT_INF);
      high = rt_most(high, s[i][j]);
    }
#pragma unroll
    for (int m = 8; m; m /= 2) high = rt_most(high, __shfl_xor_sync(~0u, high, m));
    const real keep = rt_decay(top[i], high);
    real sum = real(0);
#pragma unroll
    for (int j = 0; j < RJ; ++j) {
      const real p = s[i][j] == -real(RT_INF) ? real(0) : rt_exp(s[i][j] - high);
      ps[(ty * RI + i) * (BK + 4) + tx + 16 * j] = p;
      sum += p;
    }
#pragma unroll
    for (int m = 8; m; m /= 2) sum += __shfl_xor_sync(~0u, sum, m);
    total[i] = total[i] * keep + sum;
    top[i] = high;
#pragma unroll
    for (int c = 0; c < CC * C; ++c) o[i][c / C][c % C] *= keep;
  }
  __syncthreads();
#pragma unroll 2
  for (int j = 0; j < BK; j += 4) {
    rt_pack<real, 4> p[RI];
#pragma unroll
    for (int i = 0; i < RI; ++i)
      p[i] = rt_read<real, 4>(ps + (ty * RI + i) * (BK + 4) + j);
#pragma unroll
    for (int e = 0; e < 4; ++e)
#pragma unroll
      for (int c = 0; c < CC; ++c) {
        const auto vd = rt_read<real, C>(kvs + (j + e) * (DV + 4) + c * 16 * C + tx * C);
#pragma unroll
        for (int i = 0; i < RI; ++i)
#pragma unroll
          for (int f = 0; f < C; ++f) o[i][c][f] += p[i].at[e] * vd.at[f];
      }
  }
}
#pragma unroll
for (int i = 0; i < RI; ++i) {
  const int at = begin + ty * RI + i;
  ROW
#pragma unroll
  for (int c = 0; c < CC * C; ++c) {
    const int column = c / C * 16 * C + tx * C + c % C;
    if (at < queries && column < width) {
      const real value = VALUE;
      rt_put(y[yo + offset(at) * y_row + offset(column) * y_step], value);
    }
  }
}
"""


_ROW = "", "total[i] == real(0) ? real(0) : o[i][c / C][c % C] / total[i]"
_SINK_ROW = (
    "\n".join(SINK).format(top="top[i]", total="total[i]"),
    "o[i][c / C][c % C] * keep / all",
)


class Tiles(NamedTuple):
    """Queries and keys of a tile, and the sizes of heads it has room for."""

    queries: int
    keys: int
    depth: int
    width: int


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    y: Tensor,
    scale: float,
    *,
    mask: Tensor | None = None,
    bias: Tensor | None = None,
    causal: bool = False,
    past: int = 0,
    left: int = -1,
    right: int = -1,
    valid: Tensor | None = None,
    softcap: float = 0.0,
    sink: Tensor | None = None,
    scratch: Tensor | None = None,
) -> list[Launch]:
    """Attend: y = softmax(q kᵀ · scale + …) v, all (batch, heads, rows, size).

    k and v may have fewer heads, which q's share in groups. ``mask`` and ``bias`` are
    booleans, or numbers to add, broadcast to the scores. Query i stands at key
    i + ``past``: ``causal`` hides what comes after, ``left`` and ``right`` what is
    farther away than that. ``valid`` are int64 counts of each image's keys, of which the
    last is the last query's. ``sink`` are numbers of heads, each beside its scores in the
    softmax. ``scratch`` is memory of `attention_scratch` bytes.
    """
    if y.size == 0:
        return []
    scores = (*q.shape[:3], k.shape[2])
    masks = tuple(m.broadcast(scores) for m in (mask, bias) if m is not None)
    if causal:
        right = min(right, 0) if right >= 0 else 0
    rules = Rules(scale, softcap, masks, past, left, right, valid, sink)
    heads = Heads(q, k, v, y)
    tiles = tiles_of(q, v)
    if tiles is None or q.shape[2] <= FEW_QUERIES:
        return by_keys(heads, rules, scratch)
    return [_by_tiles(heads, rules, tiles)]


def attention_scratch(q: Tensor, k: Tensor, v: Tensor) -> int:
    """Return the bytes of scratch memory that few queries of many keys need."""
    if q.size == 0 or (tiles_of(q, v) is not None and q.shape[2] > FEW_QUERIES):
        return 0
    return keys_scratch(q, k, v)


def tiles_of(q: Tensor, v: Tensor) -> Tiles | None:
    """Return tiles that fit into shared memory; ``None`` where heads are too large.

    Fewer queries than a tile's, or too few tiles for all multiprocessors, make it smaller.
    """
    batch, heads, rows, depth = q.shape
    depth, width = (max(16, power_of_two(size)) for size in (depth, v.shape[3]))
    size = 8 if q.dtype.itemsize == 8 else 4
    most = 16 if rows <= 16 else 32 if batch * heads * rows < 128 * 64 else 64
    for queries, keys in _TILES:
        room = queries * (depth + 4) + keys * (max(depth, width) + 4)
        room += queries * (keys + 4)
        if queries <= most and room * size <= _SHARED:
            return Tiles(queries, keys, depth, width)
    return None


def _by_tiles(heads: Heads, rules: Rules, tiles: Tiles) -> Launch:
    """Return the launch of the kernel with tiles of queries and keys."""
    draft = Draft(is_narrow(heads, rules))
    batch, count, rows, _ = heads.q.shape
    each = -(-rows // tiles.queries)
    draft.number("i32", "each", each)
    draft.number("i32", "head_count", count)
    draft.line(
        "const int tile = int(blockIdx.x) % each, bh = int(blockIdx.x) / each;",
        "const int h = bh % head_count, b = bh / head_count;",
    )
    places(draft, heads)
    scoring(draft, heads, rules)
    sinking(draft, rules)
    row, value = _ROW if rules.sink is None else _SINK_ROW
    body = _BODY.replace("  ROW\n", row and f"{row}\n").replace("VALUE", value)
    vectors = [vector_of(tensor) for tensor in (heads.q, heads.k, heads.v)]
    draft.line(
        f"constexpr int BQ = {tiles.queries}, BK = {tiles.keys}, DK = {tiles.depth}, "
        f"DV = {tiles.width}, THREADS = {THREADS};",
        "constexpr int QV = {}, KV = {}, VV = {};".format(*vectors),
        *body.strip("\n").splitlines(),
    )
    name = "attention_{}_{}_{}x{}x{}x{}".format(
        heads.codes, "".join(map(str, vectors)), *tiles
    )
    launch = draft.launch(name, each * count * batch, THREADS, resident=RESIDENT)
    return preceded(launch, ATTENTION)
