"""TopK: the k largest or smallest elements along an axis, and their places.

An element's rank is an integer ordered as TopK orders: the best come first, NaN is larger
than every number, of equals the lower place is better. A block sorts up to `ROOM` ranks
in shared memory; of longer lines it sorts pieces, and the best of each are sorted again:

::

    for line, piece:  best[line, piece, :k] = sort(rank(x[line, piece]))[:k]
    ... until all that are left fit into one piece
    for line:         places = sort(best)[:k];  values = x[line, places]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.expression import SAME
from runtime_ep_cuda.codegen.kernel import GRID, Launch
from runtime_ep_cuda.codegen.lines import Lines, Team, arrange, power_of_two
from runtime_ep_cuda.codegen.teams import preceded
from runtime_ep_cuda.codegen.walker import Walker
from runtime_ep_cuda.tensor import Dtype, Tensor

ROOM = 4096
"""Elements of up to 32 bits that a block sorts; half as many of 64 bits."""

MOST_AT_ONCE = GRID[1]
"""Pieces of a line that have blocks of their own; blocks go on to further ones."""

_RANK = r"""
#if !defined(RT_RANKS) || !defined(__CUDACC__)
#define RT_RANKS
template <typename T> RT_INLINE auto rt_rank(T x) {
  if constexpr (rt_same<T, float>::value) {
    rt_u32 bits;
    x = x == 0.0f ? 0.0f : x;
    memcpy(&bits, &x, 4);
    return x != x ? ~0u : bits >> 31 ? ~bits : bits | 1u << 31;
  } else if constexpr (rt_same<T, double>::value) {
    rt_u64 bits;
    x = x == 0.0 ? 0.0 : x;
    memcpy(&bits, &x, 8);
    return x != x ? ~0ull : bits >> 63 ? ~bits : bits | 1ull << 63;
  } else if constexpr (sizeof(T) == 8) {
    return rt_u64(x) ^ (rt_kind<T>::is_signed ? 1ull << 63 : 0ull);
  } else {
    return rt_u32(x) ^ (rt_kind<T>::is_signed ? 1u << 31 : 0u);
  }
}
// a rank of 32 bits and a place in one number, or a rank of 64 bits beside its place
struct rt_long_item { rt_u64 rank, place; };
RT_INLINE bool rt_before(rt_u64 a, rt_u64 b) { return a < b; }
RT_INLINE bool rt_before(const rt_long_item& a, const rt_long_item& b) {
  return a.rank < b.rank || (a.rank == b.rank && a.place < b.place);
}
RT_INLINE int rt_place_of(rt_u64 a) { return int(rt_u32(a)); }
RT_INLINE int rt_place_of(const rt_long_item& a) { return int(a.place); }
RT_INLINE rt_u64 rt_item(rt_u32 rank, int place) {
  return rt_u64(rank) << 32 | rt_u32(place);
}
RT_INLINE rt_long_item rt_item(rt_u64 rank, int place) { return {rank, rt_u64(place)}; }
RT_INLINE void rt_clear(rt_u64& a) { a = ~0ull; }
RT_INLINE void rt_clear(rt_long_item& a) { a = {~0ull, ~0ull}; }
template <int N, int T, typename I> RT_INLINE void rt_sort(I* items, int thread) {
  for (int size = 2; size <= N; size *= 2) {
    for (int gap = size / 2; gap; gap /= 2) {
      __syncthreads();
      for (int i = thread; i < N / 2; i += T) {
        const int low = 2 * i - (i & (gap - 1)), high = low + gap;
        const I a = items[low], b = items[high];
        if (rt_before(b, a) == !(low & size)) {
          items[low] = b;
          items[high] = a;
        }
      }
    }
  }
  __syncthreads();
}
#endif
"""

_READ_LINE = """
for (int i = lane; i < N; i += T) {
  const int k = begin + i;
  if (k < n) {
    real x[V];
    before(k, x);
    items[i] = rt_item(INVERTED rt_rank(x[0]), k);
  } else {
    rt_clear(items[i]);
  }
}
"""
_READ_ITEMS = """
for (int i = lane; i < N; i += T) {
  const int k = begin + i;
  if (k < count) items[i] = from[rt_i64(row) * count + k];
  else rt_clear(items[i]);
}
"""
_WRITE_ITEMS = """
for (int i = lane; active && i < wanted; i += T)
  to[(rt_i64(row) * pieces + piece) * wanted + i] = items[i];
__syncthreads();
"""
_BY_PLACE = """
for (int i = lane; i < N; i += T) {
  const int place = rt_place_of(items[i]);
  if (i < wanted) items[i] = rt_item(RANK(place), place);
  else rt_clear(items[i]);
}
rt_sort<N, T>(items, lane);
"""
_WRITE_LINE = """
for (int i = lane; active && i < wanted; i += T) {
  const int place = rt_place_of(items[i]);
  VALUE = SOURCE;
  PLACE = place;
}
"""


def topk_refused(length: int, k: int, dtype: Dtype) -> str:
    """Return why lines of a length cannot be sorted here; an empty text if they can."""
    room = _room(dtype)
    if length <= room or k <= room // 2:
        return ""
    return f"{k} of {length} elements are more than a block sorts"


def topk_scratch(x: Tensor, k: int, axis: int) -> int:
    """Return the bytes of scratch memory that long lines need."""
    length = x.shape[axis]
    rows = x.size // max(1, length)
    counts = _counts(length, k, _room(x.dtype))
    return sum(counts[:2]) * rows * _item(x.dtype)[1]


def _room(dtype: Dtype) -> int:
    return ROOM if dtype.itemsize < 8 else ROOM // 2


def _item(dtype: Dtype) -> tuple[str, int]:
    """Return the C type of an item, and its bytes."""
    return ("rt_u64", 8) if dtype.itemsize < 8 else ("rt_long_item", 16)


def _counts(length: int, k: int, room: int) -> list[int]:
    """Return how many items are left of a line after each step but the last."""
    counts = []
    while length > room:
        length = -(-length // room) * k
        counts.append(length)
    return counts


def topk(
    x: Tensor,
    values: Tensor,
    places: Tensor,
    axis: int,
    *,
    largest: bool = True,
    in_order: bool = True,
    scratch: Tensor | None = None,
) -> list[Launch]:
    """Write the best elements along an axis and their int64 places, best first.

    k is the size of the results' axis; without ``in_order`` the results come in the
    order of their places. ``scratch`` is memory of `topk_scratch` bytes.
    """
    axis %= x.rank
    k, length = values.shape[axis], x.shape[axis]
    if values.size == 0:
        return []
    if refused := topk_refused(length, k, x.dtype):
        raise ValueError(refused)
    tensors = [x, replace(values, shape=x.shape), replace(places, shape=x.shape)]
    lines = arrange(x.shape, (axis,), tensors)
    room, (_, size) = _room(x.dtype), _item(x.dtype)
    counts = _counts(length, k, room)
    made, source, count = [], None, length
    for step, left in enumerate(counts):
        assert scratch is not None, "long lines need scratch memory"
        target = _part(scratch, step % 2 * counts[0] * lines.rows * size)
        made.append(_step(lines, tensors, largest, source, count, target, k, left // k))
        source, count = target, left
    made.append(_last(lines, tensors, largest, in_order, source, count, k))
    return made


def _part(scratch: Tensor, begin: int) -> Tensor:
    return replace(scratch, offset=scratch.offset + begin // scratch.dtype.itemsize)


def _sorting(
    lines: Lines,
    tensors: Sequence[Tensor],
    results: Sequence[int],
    largest: bool,
    source: Tensor | None,
    count: int,
) -> tuple[Walker, str]:
    """Return a walker, and the text that reads and sorts what a block is to sort."""
    dtype = tensors[0].dtype
    kind, _ = _item(dtype)
    room = min(_room(dtype), max(64, power_of_two(count)))
    threads = min(512, room // 2)
    walker = Walker(lines, tensors, results, Team(False, 1, threads, 1, 1, False))
    walker.head += [
        f"constexpr int N = {room};",
        f"__shared__ {kind} items[N];",
    ]
    if source is None:
        walker.head.append(f"typedef {element(dtype).computed} real;")
        walker.reads("before", SAME, [0], dtype.name)
        read = _READ_LINE.replace("INVERTED", "~" if largest else "")
    else:
        walker.pointer("from", source, True, kind)
        walker.scalar("i32", "count", count)
        read = _READ_ITEMS
    return walker, read + "rt_sort<N, T>(items, lane);\n"


def _step(
    lines: Lines,
    tensors: Sequence[Tensor],
    largest: bool,
    source: Tensor | None,
    count: int,
    target: Tensor,
    k: int,
    pieces: int,
) -> Launch:
    """Return the launch that keeps the best of each piece."""
    walker, body = _sorting(lines.of([0]), tensors[:1], (), largest, source, count)
    walker.pointer("to", target, False, _item(tensors[0].dtype)[0])
    walker.scalar("i32", "wanted", k)
    walker.scalar("i32", "pieces", pieces)
    loop = (
        "for (int piece = int(blockIdx.y); piece < pieces; piece += int(gridDim.y)) {",
        "const int begin = piece * N;",
    )
    body = "\n".join((*loop, body.strip("\n"), _WRITE_ITEMS.strip("\n"), "}"))
    launch = walker.launch("topk_pieces", body, chunks=min(pieces, MOST_AT_ONCE))
    return preceded(launch, _RANK)


def _last(
    lines: Lines,
    tensors: Sequence[Tensor],
    largest: bool,
    in_order: bool,
    source: Tensor | None,
    count: int,
    k: int,
) -> Launch:
    """Return the launch that sorts what is left, and writes the results."""
    walker, body = _sorting(lines, tensors, (1, 2), largest, source, count)
    walker.scalar("i32", "wanted", k)
    if not in_order:
        rank = "rt_u32" if tensors[0].dtype.itemsize < 8 else "rt_u64"
        body += _BY_PLACE.replace("RANK", rank)
    body = (
        "const int begin = 0;\n"
        + body
        + (
            _WRITE_LINE.replace("VALUE", walker.place(1, "i"))
            .replace("SOURCE", walker.place(0, "place"))
            .replace("PLACE", walker.place(2, "i"))
        )
    )
    return preceded(walker.launch("topk", body), _RANK)
