"""What both attention kernels share: arguments, masks, and softmax of rows of scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.memory import mask_of, read, read_one, stored, write
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

FIELDS: Final = (
    "q", "q_batch", "q_head", "q_row",
    "k", "k_batch", "k_head", "k_row",
    "v", "v_batch", "v_head", "v_row",
    "out", "out_batch", "out_head", "out_row",
    "mask", "mask_batch", "mask_head", "mask_row", "mask_key",
    "lengths", "heads", "group", "rows", "keys", "width", "value_width",
    "scale", "softcap", "offset", "behind", "beyond",
    "block_rows", "blocks", "key_block", "tiles",
)  # fmt: skip
"""Arguments of attention; strides are in elements.

``lengths`` points to an i64 per batch index, how many keys count, or is null: all do.
``heads`` counts query heads, and ``group`` of them share a key head. ``width`` is that
of a query and a key, ``value_width`` that of a value. Where the kernel is banded, query
``row`` attends the keys from ``row + offset - behind`` to ``row + offset + beyond``; a
length is added to the offset. ``block_rows``, ``blocks`` and ``key_block`` are from
`attention.blocking`; ``tiles`` points to the addresses of `attention.tile_specs`.
"""

_POINTERS: Final = ("q", "k", "v", "out", "mask", "lengths", "tiles")
_SINGLES: Final = ("scale", "softcap")


Bias = Callable[[Val, Val | None], Val]
"""Reads a mask's entries at an index, in the lanes that a mask of lanes sets."""

STATE: Final = 4
"""Floats of a row's state."""


class Scores:
    """The state of an attention kernel being written.

    A row's *state* is its largest score, the sum of its weights so far, and the base
    that weights are relative to: the largest score, or 0 while that is minus infinity.
    """

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        elements: tuple[str, str, str, str],
        mask: str | None,
        banded: bool,
        softcap: bool,
    ) -> None:
        self.target = target
        self.lanes = target.lanes
        self.vector = vector("float", target.lanes)
        self.of_q, self.of_k, self.of_v, self.of_out = elements
        self.mask = mask
        self.banded = banded
        self.softcap = softcap
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        f = self.f = Function(module, name, parameters)
        arguments, self.chunk, self.scratch = f.parameters
        self.field = {}
        for i, word in enumerate(FIELDS):
            type = "ptr" if word in _POINTERS else "i64"
            self.field[word] = (
                f.load(arguments.at(i, "i64"), "float")
                if word in _SINGLES
                else f.field(arguments, i, type)
            )
        self.math = VectorMath(f, target)

    # places

    def padded(self, count: Val) -> Val:
        """Return a count rounded up to whole vectors."""
        return (count + (self.lanes - 1)) & -self.lanes

    def tensor(self, word: str, element: str, batch: Val, head: Val) -> Val:
        """Return where a head of an operand begins."""
        field = self.field
        shift = batch * field[f"{word}_batch"] + head * field[f"{word}_head"]
        return field[word].at(shift, stored(element))

    def begin(self, batch: Val) -> None:
        """Learn how many keys a batch index has, and where its queries stand."""
        f, field = self.f, self.field

        def own() -> list[Val]:
            length = f.field(field["lengths"].at(batch, "i64"), 0)
            return [f.minimum(length, field["keys"]), field["offset"] + length]

        self.tails()
        given = field["lengths"].compare("ne", 0)
        self.keys, self.offset = f.choose(
            given, own, lambda: [field["keys"], field["offset"]]
        )

    def reach(self, first: Val, last: Val) -> tuple[Val, Val]:
        """Return the keys that some rows may attend: where they start and stop."""
        f, field = self.f, self.field
        if not self.banded:
            return f.value(0, "i64"), self.keys
        start = f.maximum(first + self.offset - field["behind"], 0)
        stop = f.minimum(last + self.offset + field["beyond"] + 1, self.keys)
        return start, stop

    def tails(self) -> None:
        """Make the masks of the last lanes of queries and keys, and of values."""
        f, last = self.f, self.lanes - 1
        self.tail, self.value_tail = (
            mask_of(f, self.target, self.field[word] & last, self.lanes)
            for word in ("width", "value_width")
        )

    def along(
        self, count: Val, tail: Val, body: Callable[[Val, Val | None], None]
    ) -> None:
        """Write a body for whole vectors, without a mask, and for the rest, with one."""
        f = self.f
        whole = count & -self.lanes
        with f.loop(0, whole, self.lanes) as loop:
            body(loop.index, None)
        with f.when(whole < count):
            body(whole, tail)

    # rows

    def copy_query(self, source: Val, into: Val) -> None:
        """Write one query, multiplied by the scale, as float32."""
        f = self.f
        scale = f.splat(self.field["scale"], self.lanes)

        def body(index: Val, mask: Val | None) -> None:
            place = source.at(index, self.of_q)
            x = read(f, self.target, place, self.of_q, self.lanes, mask)
            f.store(x * scale, into.at(index, "float"))

        self.along(self.field["width"], self.tail, body)

    def fill(self, place: Val, count: Val, value: float) -> None:
        """Fill whole vectors."""
        f = self.f
        with f.loop(0, count, self.lanes) as loop:
            f.store(f.value(value, self.vector), place.at(loop.index, "float"))

    def begin_rows(self, sums: Val, states: Val, count: Val) -> None:
        """Make sums zero and the states those of rows without any key."""
        f = self.f
        self.fill(sums, count * self.padded(self.field["value_width"]), 0.0)
        with f.loop(0, count) as loop:
            state = states.at(loop.index * STATE, "float")
            f.store(f.value(-math.inf, "float"), state)
            f.store(f.value(0.0, "float"), state.at(1, "float"))

    def adapt(
        self,
        scores: Val,
        count: Val,
        key: Val,
        row: Val,
        mask: Val,
        state: Val,
        sums: Val,
    ) -> None:
        """Mask a row's scores of ``count`` keys and bring its state and sums to them.

        ``key`` is the first key, ``mask`` the place of its mask.
        """
        f = self.f
        largest = self._largest(scores, count, key, row, mask)
        before = f.load(state, "float")
        now = f.select(before > largest, before, largest)
        base = f.select(now.equals(-math.inf), f.value(0.0, "float"), now)
        f.store(now, state)
        f.store(base, state.at(2, "float"))
        with f.when(before > -math.inf):
            self._rescale(before - base, state, sums)

    def weigh(self, scores: Val, count: Val, state: Val) -> None:
        """Turn a row's scores into weights, in place, and add them to its total."""
        f = self.f
        base = f.splat(f.load(state.at(2, "float"), "float"), self.lanes)
        with f.loop(
            0,
            self.padded(count),
            self.lanes,
            carried=[f.value(0.0, self.vector)],
            runs=True,
        ) as loop:
            place = scores.at(loop.index, "float")
            e = self.math.weight(f.load(place, self.vector) - base)
            f.store(e, place)
            loop.next(loop.carried[0] + e)
        place = state.at(1, "float")
        f.store(f.load(place, "float") + f.reduce("fadd", loop.results[0]), place)

    def _largest(self, scores: Val, count: Val, key: Val, row: Val, mask: Val) -> Val:
        """Cap and mask a row of scores; return the largest. A NaN may be passed over.

        Lanes behind the last key become minus infinity.
        """
        f = self.f
        edges = self._edges(key, row) if self.banded else ()
        if not self.mask:
            return self._across(self._swept(scores, count, edges, None)[0])

        def near(index: Val, inside: Val | None) -> Val:
            element = self.mask or "float"
            place = mask.at(index, stored(element))
            return read(f, self.target, place, element, self.lanes, inside)

        def far(index: Val, inside: Val | None) -> Val:
            return self._gathered(mask, index, count)

        found = f.choose(
            self.field["mask_key"].equals(1),
            lambda: self._swept(scores, count, edges, near),
            lambda: self._swept(scores, count, edges, far),
        )
        return self._across(found[0])

    def _swept(
        self, scores: Val, count: Val, edges: tuple[Val, ...], bias: Bias | None
    ) -> list[Val]:
        """Go over a row; return the largest of each lane."""
        f = self.f
        lowest = f.value(-math.inf, self.vector)

        def body(index: Val, inside: Val | None, most: Val) -> Val:
            place = scores.at(index, "float")
            x = f.load(place, self.vector)
            if self.softcap:
                cap = f.splat(self.field["softcap"], self.lanes)
                x = self.math.tanh(x / cap) * cap
            if bias:
                x = self._biased(x, bias(index, inside))
            if self.banded:
                x = f.select(self._allowed(index, edges), x, lowest)
            if inside is not None:
                x = f.select(inside, x, lowest)
            if inside is not None or bias or self.softcap or self.banded:
                f.store(x, place)
            return f.select(most > x, most, x)

        whole = count & -self.lanes
        with f.loop(0, whole, self.lanes, carried=[lowest]) as loop:
            loop.next(body(loop.index, None, loop.carried[0]))
        most = loop.results[0]
        rest = mask_of(f, self.target, count - whole, self.lanes)
        return f.choose(
            whole < count, lambda: [body(whole, rest, most)], lambda: [most]
        )

    def _across(self, x: Val) -> Val:
        """Return the largest lane."""
        f = self.f
        half = self.lanes // 2
        while half:
            lanes = [(lane + half) % self.lanes for lane in range(self.lanes)]
            other = f.shuffle(x, x, lanes)
            x = f.select(x > other, x, other)
            half //= 2
        return f.extract(x, 0)

    def _biased(self, x: Val, bias: Val) -> Val:
        """Return scores with a mask's entries added, or chosen by them."""
        lowest = self.f.value(-math.inf, self.vector)
        if self.mask == "i1":
            return self.f.select(bias, x, lowest)
        return self.f.select(bias.equals(-math.inf), lowest, x + bias)

    def _gathered(self, mask: Val, index: Val, count: Val) -> Val:
        """Read a mask's entries one by one, at any distance; the last one repeats."""
        f, element = self.f, self.mask or "float"
        type = vector("i1" if element == "i1" else "float", self.lanes)
        found = Val(f, type, "poison")
        for lane in range(self.lanes):
            at = f.minimum(index + lane, count - 1) * self.field["mask_key"]
            one = read_one(f, self.target, mask.at(at, stored(element)), element)
            found = f.emit(f"insertelement {found!r}, {one!r}, i64 {lane}", type)
        return found

    def _edges(self, key: Val, row: Val) -> tuple[Val, Val]:
        """Return the first and the last allowed key, from ``key`` on, in every lane."""
        f, field = self.f, self.field
        position = row + self.offset - key
        big = 1 << 30
        low = f.maximum(f.minimum(position - field["behind"], big), -big)
        high = f.maximum(f.minimum(position + field["beyond"], big), -big)
        return (
            f.splat(f.convert(low, "i32"), self.lanes),
            f.splat(f.convert(high, "i32"), self.lanes),
        )

    def _allowed(self, index: Val, edges: tuple[Val, ...]) -> Val:
        f, lanes = self.f, self.lanes
        places = ", ".join(f"i32 {lane}" for lane in range(lanes))
        order = Val(f, vector("i32", lanes), f"<{places}>")
        here = f.splat(f.convert(index, "i32"), lanes) + order
        low, high = edges
        return (here >= low) & (here <= high)

    def _rescale(self, difference: Val, state: Val, sums: Val) -> None:
        """Bring sums to a larger base."""
        f = self.f
        factor = self.math.weight(f.splat(difference, self.lanes))
        place = state.at(1, "float")
        f.store(f.load(place, "float") * f.extract(factor, 0), place)
        with f.loop(0, self.field["value_width"], self.lanes, runs=True) as loop:
            here = sums.at(loop.index, "float")
            f.store(f.load(here, self.vector) * factor, here)

    def finish(self, sums: Val, state: Val, out: Val) -> None:
        """Write one result: its sums over the sum of weights; zeros without any key."""
        f, target, width = self.f, self.target, self.field["value_width"]
        total = f.load(state.at(1, "float"), "float")
        total = f.select(total.equals(0), f.value(1.0, "float"), total)
        inverse = f.splat(1.0 / total, self.lanes)

        def body(index: Val, mask: Val | None) -> None:
            y = f.load(sums.at(index, "float"), self.vector) * inverse
            write(f, target, y, out.at(index, self.of_out), self.of_out, mask)

        self.along(width, self.value_tail, body)
