"""Attention in blocks of queries and keys, for prompts and encoders.

One chunk is a block of queries of one head. Scores of a few queries and a block of keys
stay in the first cache, keys and values, packed for `microkernel` tiles, in the second::

    batch, head, block = chunk                      # blocks vary fastest
    queries = scale * q[block]                      # float32
    for key block that these rows reach:
        pack k turned, pack v                       # float32 panels
        for some rows of the block:
            scores = queries · k'                   # tiles
            for row: weights, sums and state to the new largest score
            sums += weights · v                     # tiles
    out = sums / total

A row that may attend no key yields zeros. The order of sums depends on the sizes alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from runtime_ep_cpu.codegen.attention_scores import STATE, Scores
from runtime_ep_cpu.codegen.builder import Module, Val
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import read, stored
from runtime_ep_cpu.codegen.microkernel import shapes
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.transpose import transposed

_ROWS = 24
"""Queries whose scores are held at a time."""
_KEYS = 256
"""Keys of a block, at most."""
_BLOCK = 256
"""Queries of a chunk, at most."""
_SHARES = 12
"""Into how many chunks attention is divided at least, where it has rows."""


class Blocking(NamedTuple):
    """How attention is divided: queries of a chunk, chunks of a head, keys of a block."""

    rows: int
    blocks: int
    keys: int
    chunks: int


def widest(target: Target) -> int:
    """Return the most vectors of a tile such that tiles of fewer exist too."""
    width = 1
    while width + 1 in shapes(target):
        width += 1
    return width


def tile_specs(target: Target) -> list[Spec]:
    """Return the tiles an attention kernel calls, in the order of its table."""
    width = widest(target)
    return [
        Spec.of("tile", rows=rows, vectors=vectors)
        for vectors in range(1, width + 1)
        for rows in range(1, shapes(target)[width] + 1)
    ]


def blocking(
    target: Target, batch: int, heads: int, groups: int, rows: int, keys: int
) -> Blocking:
    """Divide attention; a pure function of the sizes. ``groups`` counts key heads."""
    wanted = max(
        -(-rows // _BLOCK), min(-(-_SHARES // (batch * heads)), rows // _ROWS), 1
    )
    block = -(-rows // wanted)
    blocks = -(-rows // block)
    return Blocking(block, blocks, key_blocks(target, keys), batch * heads * blocks)


def key_blocks(target: Target, keys: int) -> int:
    """Return the keys of a block: whole vectors, blocks alike."""
    parts = max(1, -(-keys // _KEYS))
    return max(1, -(-keys // (parts * target.lanes))) * target.lanes


def scratch(target: Target, by: Blocking, width: int, value_width: int) -> int:
    """Return the bytes of scratch a chunk needs."""
    lanes = target.lanes
    width, value_width = (-(-n // lanes) * lanes for n in (width, value_width))
    floats = widest(target) * lanes + by.keys * (width + value_width)
    floats += by.rows * (value_width + STATE) + _ROWS * (by.keys + width)
    return 4 * (floats + lanes)


@family("attention")
def attention(
    module: Module,
    target: Target,
    name: str,
    *,
    elements: tuple[str, str, str, str] = ("float",) * 4,
    mask: str | None = None,
    banded: bool = False,
    softcap: bool = False,
) -> None:
    """Write attention; ``elements`` are those of q, k, v and the result.

    ``mask`` is the mask's element: floats are added, where ``i1`` is not set a score
    is minus infinity. ``banded`` bounds the distance of keys, ``softcap`` the scores.
    """
    _Blocks(module, target, name, elements, mask, banded, softcap).whole()


class _Blocks(Scores):
    """Attention by blocks, being written."""

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        self.widest = widest(self.target)
        self.most = shapes(self.target)[self.widest]
        block = self.chunk % field["blocks"]
        image = self.chunk // field["blocks"]
        batch, head = image // field["heads"], image % field["heads"]
        self.begin(batch)
        shared = head // field["group"]
        k = self.tensor("k", self.of_k, batch, shared)
        v = self.tensor("v", self.of_v, batch, shared)
        self.top = block * field["block_rows"]
        rows = f.minimum(field["rows"] - self.top, field["block_rows"])
        self._divide_scratch()
        mask = field["mask"]
        if self.mask:
            mask = self.tensor("mask", self.mask, batch, head)
        q = self.tensor("q", self.of_q, batch, head).at(
            self.top * field["q_row"], self.of_q
        )
        out = self.tensor("out", self.of_out, batch, head).at(
            self.top * field["out_row"], self.of_out
        )
        self.fill(self.zeros, f.value(self.widest * self.lanes, "i64"), 0.0)
        self._all_keys(rows, (k, v), (q, mask, out))
        f.ret()

    def _all_keys(
        self, rows: Val, shared: tuple[Val, Val], places: tuple[Val, Val, Val]
    ) -> None:
        """Go over the blocks of keys that the rows reach."""
        f, key_block = self.f, self.field["key_block"]
        k, v = shared
        start, stop = self.reach(self.top, self.top + rows - 1)
        stop = f.maximum(stop, start + 1)  # a round even for rows without keys
        # with one block of keys, rows one after the other use the same sums
        many = f.convert((stop - start) > key_block, "i64", unsigned=True)
        self.sum_row = self.value_depth * many
        with f.loop(start, stop, key_block, runs=True) as blocks:
            key = blocks.index
            count = f.maximum(f.minimum(f.minimum(stop, self.keys) - key, key_block), 0)
            with f.when(count > 0):
                self._pack_keys(k, key, count)
                self._pack_values(v, key, count)
            ends = key.equals(start), (key + key_block) >= stop
            with f.loop(0, rows, _ROWS, runs=True) as some:
                height = f.minimum(rows - some.index, _ROWS)
                self._few((some.index, height), (key, count), places, ends)

    def _divide_scratch(self) -> None:
        field = self.field
        self.depth = self.padded(field["width"])
        self.value_depth = self.padded(field["value_width"])
        keys, rows = field["key_block"], field["block_rows"]
        self.zeros = self.scratch
        self.packed_k = self.zeros.at(self.widest * self.lanes, "float")
        self.packed_v = self.packed_k.at(keys * self.depth, "float")
        self.scores = self.packed_v.at(keys * self.value_depth, "float")
        self.queries = self.scores.at(keys * _ROWS, "float")
        self.sums = self.queries.at(self.depth * _ROWS, "float")
        self.states = self.sums.at(rows * self.value_depth, "float")

    def _sum(self, row: Val) -> Val:
        return self.sums.at(row * self.sum_row, "float")

    def _few(
        self,
        some: tuple[Val, Val],
        block: tuple[Val, Val],
        places: tuple[Val, Val, Val],
        ends: tuple[Val, Val],
    ) -> None:
        """Work on some rows and a block of keys, the first, the last or between."""
        f, field = self.f, self.field
        (row, rows), (key, count), (q, mask, out) = some, block, places
        sums = self._sum(row)
        states = self.states.at(row * STATE, "float")
        with f.when(ends[0]):
            self.begin_rows(sums, states, rows)
        packed = count
        if self.banded:
            last = self.top + row + rows - 1
            count = f.minimum(count, self.reach(last, last)[1] - key)
        with f.when(count > 0):
            self._score((row, rows), (packed, count), q)
            self._weigh_all((row, rows), (key, count), mask, (sums, states))
            with self._panels(field["value_width"]) as (panel, width):
                self._product(
                    rows, width, self.scores, field["key_block"],
                    self.packed_v.at(panel * field["key_block"], "float"), count,
                    sums.at(panel, "float"), self.value_depth, 0,
                )  # fmt: skip
        with f.when(ends[1]), f.loop(0, rows, runs=True) as loop:
            place = out.at((row + loop.index) * field["out_row"], self.of_out)
            total = sums.at(loop.index * self.value_depth, "float")
            self.finish(total, states.at(loop.index * STATE, "float"), place)

    def _score(self, some: tuple[Val, Val], counts: tuple[Val, Val], q: Val) -> None:
        """Write the scores of some rows, for keys that are packed and wanted."""
        f, field = self.f, self.field
        (row, rows), (packed, wanted) = some, counts
        with f.loop(0, rows, runs=True) as loop:
            source = q.at((row + loop.index) * field["q_row"], self.of_q)
            self.copy_query(source, self.queries.at(loop.index * self.depth, "float"))
        with self._panels(packed) as (panel, width), f.when(panel < wanted):
            self._product(
                rows, width, self.queries, self.depth,
                self.packed_k.at(panel * self.depth, "float"), field["width"],
                self.scores.at(panel, "float"), field["key_block"], 1,
            )  # fmt: skip

    def _weigh_all(
        self,
        some: tuple[Val, Val],
        block: tuple[Val, Val],
        mask: Val,
        places: tuple[Val, Val],
    ) -> None:
        """Turn the scores of some rows into weights."""
        f, field = self.f, self.field
        (row, rows), (key, count), (sums, states) = some, block, places
        with f.loop(0, rows, runs=True) as loop:
            here = self.top + row + loop.index
            at = mask
            if self.mask:
                shift = here * field["mask_row"] + key * field["mask_key"]
                at = mask.at(shift, stored(self.mask))
            scores = self.scores.at(loop.index * field["key_block"], "float")
            state = states.at(loop.index * STATE, "float")
            total = sums.at(loop.index * self.value_depth, "float")
            self.adapt(scores, count, key, here, at, state, total)
        with f.loop(0, rows, runs=True) as loop:
            scores = self.scores.at(loop.index * field["key_block"], "float")
            self.weigh(scores, count, states.at(loop.index * STATE, "float"))

    @contextmanager
    def _panels(self, columns: Val) -> Iterator[tuple[Val, Val]]:
        """Write a loop over panels, each some vectors from a column on."""
        f = self.f
        vectors = self.padded(columns) // self.lanes
        panels = (vectors + (self.widest - 1)) // self.widest
        least, extra = vectors // panels, vectors % panels
        with f.loop(0, panels, carried=[f.value(0, "i64")], runs=True) as loop:
            (before,) = loop.carried
            width = least + f.convert(loop.index < extra, "i64", unsigned=True)
            yield before * self.lanes, width
            loop.next(before + width)

    def _product(
        self,
        rows: Val,
        width: Val,
        a: Val,
        a_row: Val,
        b: Val,
        depth: Val,
        c: Val,
        c_row: Val,
        first: int,
    ) -> None:
        """Call tiles for a panel, for all rows."""
        f = self.f
        table = self.field["tiles"].at((width - 1) * self.most, "i64")
        count = (rows + (self.most - 1)) // self.most
        least, extra = rows // count, rows % count
        with f.loop(0, count, carried=[f.value(0, "i64")], runs=True) as loop:
            (row,) = loop.carried
            height = least + f.convert(loop.index < extra, "i64", unsigned=True)
            tile = f.field(table.at(height - 1, "i64"), 0, "ptr")
            f.call_pointer(
                tile, "void", a.at(row * a_row, "float"), a_row * 4, b,
                c.at(row * c_row, "float"), c_row, depth, f.value(first, "i64"),
                self.zeros, width * self.lanes, b,
            )  # fmt: skip
            loop.next(row + height)

    def _pack_keys(self, k: Val, key: Val, count: Val) -> None:
        """Write keys turned into panels ``[width, vectors]``; what is behind repeats."""
        f, lanes, width = self.f, self.lanes, self.field["width"]
        row = self.field["k_row"]
        with self._panels(count) as (column, vectors):
            panel = self.packed_k.at(column * self.depth, "float")
            with f.loop(0, vectors, runs=True) as loop:
                first = column + loop.index * lanes
                source = k.at((key + first) * row, self.of_k)
                last = f.minimum(count - first, lanes) - 1
                rows = [
                    source.at(f.minimum(last, lane) * row, self.of_k)
                    for lane in range(lanes)
                ]
                into = panel.at(loop.index * lanes, "float")
                wide = vectors * lanes

                def body(
                    index: Val,
                    mask: Val | None,
                    rows: list[Val] = rows,
                    into: Val = into,
                    wide: Val = wide,
                ) -> None:
                    values = [
                        read(f, self.target, place.at(index, self.of_k), self.of_k,
                             lanes, mask)
                        for place in rows
                    ]  # fmt: skip
                    here = into.at(index * wide, "float")
                    for lane, value in enumerate(transposed(f, values)):
                        f.store(value, here.at(wide * lane, "float"))

                self.along(width, self.tail, body)

    def _pack_values(self, v: Val, key: Val, count: Val) -> None:
        """Write values into panels ``[keys, vectors]``."""
        f, lanes, width = self.f, self.lanes, self.field["value_width"]
        row, key_block = self.field["v_row"], self.field["key_block"]
        with self._panels(width) as (column, vectors):
            panel = self.packed_v.at(column * key_block, "float")
            wide = vectors * lanes
            left = f.minimum(width - column, wide)
            with f.loop(0, count, runs=True) as loop:
                source = v.at((key + loop.index) * row + column, self.of_v)
                into = panel.at(loop.index * wide, "float")

                def body(
                    index: Val, mask: Val | None, source: Val = source, into: Val = into
                ) -> None:
                    place = source.at(index, self.of_v)
                    value = read(f, self.target, place, self.of_v, lanes, mask)
                    f.store(value, into.at(index, "float"))

                self.along(left, self.value_tail, body)
