"""Attention of few queries, for decoding: keys and values are read once, in place.

One chunk is some query heads that share a key head; all their rows are worked on
together, up to four at a time, or two where registers are few::

    batch, key head, part = chunk
    queries = scale * q[heads of the part]          # float32
    for key block that the rows reach:
        for four rows, four keys: scores = dot products, summed across lanes at the end
        for row: weights, sums and state to the new largest score
        for four rows, four vectors of columns: sums += weights · v
    out = sums / total
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from runtime_ep_cpu.codegen.attention_blocks import Blocking, key_blocks
from runtime_ep_cpu.codegen.attention_scores import STATE, Scores
from runtime_ep_cpu.codegen.builder import Module, Val, kind
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import mask_of, read, stored
from runtime_ep_cpu.codegen.target import Target

_KEYS = 4
"""Keys whose dot products are made together."""
_COLUMNS = 4
"""Vectors of a value that are summed together."""
_ROWS = 32
"""Rows of a chunk, at most, where a head has no more."""
_SHARES = 4
"""Into how many chunks attention is divided at least, where it has heads."""


def blocking(
    target: Target, batch: int, heads: int, groups: int, rows: int, keys: int
) -> Blocking:
    """Divide attention of few rows; ``groups`` counts key heads.

    Heads that share keys stay together as far as there are chunks enough.
    """
    group = heads // groups
    wanted = min(group, -(-_SHARES // (batch * groups)))
    together = max(1, min(-(-group // wanted), _ROWS // rows))
    blocks = -(-group // together)
    keys = key_blocks(target, keys)
    return Blocking(together * rows, blocks, keys, batch * groups * blocks)


def scratch(target: Target, by: Blocking, width: int, value_width: int) -> int:
    """Return the bytes of scratch a chunk needs."""
    lanes = target.lanes
    width, value_width = (-(-n // lanes) * lanes for n in (width, value_width))
    return 4 * (by.rows * (width + value_width + by.keys + STATE) + lanes)


@family("attention_rows")
def attention_rows(
    module: Module,
    target: Target,
    name: str,
    *,
    elements: tuple[str, str, str, str] = ("float",) * 4,
    mask: str | None = None,
    banded: bool = False,
    softcap: bool = False,
) -> None:
    """Write attention of few rows; arguments and parameters are those of `attention`.

    ``tiles`` is not used. ``block_rows`` counts the rows of all heads of a chunk,
    ``blocks`` the chunks of a key head.
    """
    _Rows(module, target, name, elements, mask, banded, softcap).whole()


class _Rows(Scores):
    """Attention of few rows, being written."""

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        groups = field["heads"] // field["group"]
        part, rest = self.chunk % field["blocks"], self.chunk // field["blocks"]
        self.batch, shared = rest // groups, rest % groups
        self.begin(self.batch)
        first = part * (field["block_rows"] // field["rows"])
        self.first_head = shared * field["group"] + first
        left = (field["group"] - first) * field["rows"]
        self.rows = rows = f.minimum(left, field["block_rows"])
        k = self.tensor("k", self.of_k, self.batch, shared)
        v = self.tensor("v", self.of_v, self.batch, shared)
        keys = field["key_block"]
        self.depth = self.padded(field["width"])
        self.value_depth = self.padded(field["value_width"])
        self.queries = self.scratch
        self.sums = self.queries.at(rows * self.depth, "float")
        self.scores = self.sums.at(rows * self.value_depth, "float")
        self.states = self.scores.at(rows * keys, "float")
        self.begin_rows(self.sums, self.states, rows)
        with f.loop(0, rows, runs=True) as loop:
            source = self._place("q", self.of_q, loop.index)
            self.copy_query(source, self.queries.at(loop.index * self.depth, "float"))
        start, stop = self.reach(f.value(0, "i64"), field["rows"] - 1)
        with f.loop(start, stop, keys) as blocks:
            key = blocks.index
            count = f.minimum(stop - key, keys)
            source = k.at(key * field["k_row"], self.of_k)
            self._by_heights(lambda row, h: self._score(source, count, row, h))
            self._weigh_all(key, count)
            values = v.at(key * field["v_row"], self.of_v)
            self._by_heights(lambda row, h: self._add_values(values, count, row, h))
        with f.loop(0, rows, runs=True) as loop:
            self.finish(
                self.sums.at(loop.index * self.value_depth, "float"),
                self.states.at(loop.index * STATE, "float"),
                self._place("out", self.of_out, loop.index),
            )
        f.ret()

    def _place(self, word: str, element: str, row: Val) -> Val:
        """Return where a row of q, mask or out begins."""
        rows = self.field["rows"]
        head = self.first_head + row // rows
        start = self.tensor(word, element, self.batch, head)
        return start.at((row % rows) * self.field[f"{word}_row"], stored(element))

    def _by_heights(self, body: Callable[[Val, int], None]) -> None:
        """Write a body for all rows: as many at a time as there are registers for."""
        f, rows = self.f, self.rows
        tall, *lower = (4, 2, 1) if self.target.registers > 16 else (2, 1)
        with f.loop(0, rows & -tall, tall) as loop:
            body(loop.index, tall)
        for height in lower:
            with f.when((rows & height).differs(0)):
                body(rows & -(2 * height), height)

    def _score(self, k: Val, count: Val, row: Val, height: int) -> None:
        """Write the scores of some rows."""
        f, field = self.f, self.field
        queries = self.queries.at(row * self.depth, "float")
        scores = self.scores.at(row * field["key_block"], "float")
        with f.loop(0, count, _KEYS, runs=True) as loop:
            last = count - loop.index - 1
            base = k.at(loop.index * field["k_row"], self.of_k)
            keys = [
                base.at(f.minimum(last, i) * field["k_row"], self.of_k)
                for i in range(_KEYS)
            ]
            totals = self._dot_products(queries, keys, height)
            for i in range(height):
                sums = self._across_four(totals[i * _KEYS : (i + 1) * _KEYS])
                f.store(sums, scores.at(field["key_block"] * i + loop.index, "float"))

    def _dot_products(
        self, queries: Val, keys: Sequence[Val], height: int
    ) -> list[Val]:
        """Return, for each row and key, products summed by lane."""
        f, width = self.f, self.field["width"]
        totals = [f.value(0.0, self.vector)] * (height * _KEYS)
        whole = width & -self.lanes

        def more(index: Val, before: Sequence[Val], mask: Val | None) -> list[Val]:
            k = [
                read(
                    f,
                    self.target,
                    place.at(index, self.of_k),
                    self.of_k,
                    self.lanes,
                    mask,
                )
                for place in keys
            ]
            after = []
            for i in range(height):
                place = queries.at(self.depth * i + index, "float")
                q = f.load(place, self.vector)
                after += [
                    self.math.fma(q, one, total)
                    for one, total in zip(k, before[i * _KEYS :], strict=False)
                ]
            return after

        with f.loop(0, whole, self.lanes, carried=totals) as loop:
            loop.next(*more(loop.index, loop.carried, None))
        sums = loop.results
        return f.choose(
            whole < width, lambda: more(whole, sums, self.tail), lambda: list(sums)
        )

    def _across_four(self, totals: Sequence[Val]) -> Val:
        """Return the lanes of four vectors summed, as four lanes."""
        f = self.f
        a, b, c, d = (self._folded(total) for total in totals)
        low = f.shuffle(a, b, [0, 1, 4, 5]) + f.shuffle(a, b, [2, 3, 6, 7])
        high = f.shuffle(c, d, [0, 1, 4, 5]) + f.shuffle(c, d, [2, 3, 6, 7])
        return f.shuffle(low, high, [0, 2, 4, 6]) + f.shuffle(low, high, [1, 3, 5, 7])

    def _folded(self, x: Val) -> Val:
        f = self.f
        while (lanes := kind(x.type).lanes) > 4:
            half = lanes // 2
            x = f.shuffle(x, x, range(half)) + f.shuffle(x, x, range(half, lanes))
        return x

    def _weigh_all(self, key: Val, count: Val) -> None:
        """Turn scores into weights."""
        f, field = self.f, self.field
        rows = self.rows
        with f.loop(0, rows, runs=True) as loop:
            row = loop.index
            mask = field["mask"]
            if self.mask:
                mask = self._place("mask", self.mask, row)
                mask = mask.at(key * field["mask_key"], stored(self.mask))
            self.adapt(
                self.scores.at(row * field["key_block"], "float"), count, key,
                row % field["rows"], mask, self.states.at(row * STATE, "float"),
                self.sums.at(row * self.value_depth, "float"),
            )  # fmt: skip
        with f.loop(0, rows, runs=True) as loop:
            scores = self.scores.at(loop.index * field["key_block"], "float")
            self.weigh(scores, count, self.states.at(loop.index * STATE, "float"))

    def _add_values(self, v: Val, count: Val, row: Val, height: int) -> None:
        """Add weighted values to the sums of some rows."""
        f, lanes, width = self.f, self.lanes, self.field["value_width"]
        wide = _COLUMNS * lanes
        whole = width & -wide
        with f.loop(0, whole, wide) as loop:
            self._add_columns(v, count, row, height, loop.index, _COLUMNS, None)
        with f.loop(whole, width, lanes) as loop:
            mask = mask_of(f, self.target, width - loop.index, lanes)
            self._add_columns(v, count, row, height, loop.index, 1, mask)

    def _add_columns(
        self,
        v: Val,
        count: Val,
        row: Val,
        height: int,
        column: Val,
        vectors: int,
        mask: Val | None,
    ) -> None:
        f, field = self.f, self.field
        places = [
            self.sums.at(
                (row + i) * self.value_depth + column + j * self.lanes, "float"
            )
            for i in range(height)
            for j in range(vectors)
        ]
        weights = self.scores.at(row * field["key_block"], "float")
        before = [f.load(place, self.vector) for place in places]
        with f.loop(0, count, carried=before, runs=True) as loop:
            source = v.at(loop.index * field["v_row"] + column, self.of_v)
            values = [
                read(f, self.target, source.at(j * self.lanes, self.of_v), self.of_v,
                     self.lanes, mask)
                for j in range(vectors)
            ]  # fmt: skip
            after = []
            for i in range(height):
                place = weights.at(field["key_block"] * i + loop.index, "float")
                weight = f.splat(f.load(place, "float"), self.lanes)
                for j, value in enumerate(values):
                    after.append(
                        self.math.fma(weight, value, loop.carried[i * vectors + j])
                    )
            loop.next(*after)
        for place, total in zip(places, loop.results, strict=True):
            f.store(total, place)
