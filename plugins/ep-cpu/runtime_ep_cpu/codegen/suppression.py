"""NonMaxSuppression: of boxes that overlap, those with the best scores.

`suppress` does one class of one batch in a chunk::

    candidates = boxes whose score is above the threshold, sorted by score, then place
    for candidate in candidates, until there are enough:
        keep it unless it overlaps one that is kept        # vectors of kept boxes

`suppressed` then writes what was kept of all classes behind each other, and how much.
Corners, areas and their ratios are float32, computed in the order of the NumPy kernel.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen import sorting
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.memory import mask_of
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = (
    "picked", "counts", "boxes", "scores", "overlap", "least", "failed", "number",
    "classes", "limit",
)  # fmt: skip
"""Arguments of `suppress`: ``picked`` points to ``[batches · classes, limit]`` places,
``counts`` to how many; ``boxes`` and ``scores`` to ``[batches, number, 4]`` and
``[batches, classes, number]``; ``overlap`` and ``least`` to a float32 each. A word at
``failed`` is set where the former is not between 0 and 1."""

COLLECTED_FIELDS: Final = (
    "result", "count", "picked", "counts", "groups", "classes", "limit",
)  # fmt: skip
"""Arguments of `suppressed`; ``result`` points to rows of batch, class and box."""

COLLECT: Final = Spec.of("suppressed")


def spec(center: bool, bounded: bool) -> Spec:
    """Return the kernel for boxes by centre or corners, and with or without a least score."""
    return Spec.of("suppress", center=center, bounded=bounded)


def scratch(target: Target, number: int, limit: int) -> int:
    """Return how many bytes a thread needs for so many boxes, of which a limit is kept."""
    keys = 2 * (number + target.lanes) + sorting.HISTOGRAM
    return 8 * keys + 4 * 5 * _padded(target, limit)


def _padded(target: Target, count: int) -> int:
    return -(-count // target.lanes) * target.lanes


@family("suppress")
def suppress(
    module: Module, target: Target, name: str, *, center: bool, bounded: bool
) -> None:
    """Write the kernel of one class; see above."""
    _Class(module, target, name, center, bounded).whole()


class _Class:
    """The kernel of one class being written."""

    def __init__(
        self, module: Module, target: Target, name: str, center: bool, bounded: bool
    ) -> None:
        self.sort = sorting.sort(module, target)
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes, self.center = target, target.lanes, center
        arguments, self.chunk, scratch = f.parameters
        pointers = FIELDS[:7]
        self.field = field = {
            word: f.field(arguments, i, "ptr" if word in pointers else "i64")
            for i, word in enumerate(FIELDS)
        }
        self.number = field["number"]
        room = self.number + self.lanes
        self.keys, self.copy = scratch, scratch.at(room, "i64")
        self.histogram = self.copy.at(room, "i64")
        kept = self.histogram.at(sorting.HISTOGRAM, "i64")
        width = (field["limit"] + (self.lanes - 1)) & -self.lanes
        self.kept = [kept.at(width * i, "float") for i in range(5)]
        overlap = f.load(field["overlap"], "float")
        self.overlap = f.splat(overlap, self.lanes)
        self.fine = (overlap >= 0.0) & (overlap <= 1.0)
        self.least = f.load(field["least"], "float") if bounded else None
        self.slot = f.allocate("i64", 1)

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        with f.when(~self.fine):
            f.store(f.value(1, "i64"), field["failed"])
        batch = self.chunk // field["classes"]
        scores = field["scores"].at(self.chunk * self.number, "float")
        boxes = field["boxes"].at(batch * self.number * 4, "float")
        count = self._candidates(scores)
        order = f.call(self.sort, "ptr", self.keys, self.copy, count, self.histogram)
        picked = field["picked"].at(self.chunk * field["limit"], "i64")
        total = self._select(order, count, boxes, picked)
        f.store(total, field["counts"].at(self.chunk, "i64"))
        f.ret()

    def _candidates(self, scores: Val) -> Val:
        """Write the keys of boxes whose scores are high enough; return how many."""
        f, lanes = self.f, self.lanes
        if self.least is None:
            with f.loop(0, self.number) as loop:
                f.store(self._key(scores, loop.index), self.keys.at(loop.index, "i64"))
            return self.number
        least = f.splat(self.least, lanes)
        f.store(f.value(0, "i64"), self.slot)

        def look(index: Val, mask: Val | None) -> None:
            place, type = scores.at(index, "float"), vector("float", lanes)
            x = (
                f.load(place, type)
                if mask is None
                else f.load_masked(place, type, mask)
            )
            high = x > least if mask is None else (x > least) & mask
            bits = f.convert(f.bitcast(high, f"i{lanes}"), "i64", unsigned=True)
            with f.when(bits.differs(0)):
                stop = f.minimum(index + lanes, self.number)
                with f.loop(index, stop, runs=True) as each:
                    self._append(scores, each.index)

        sweep(f, self.target, f.value(0, "i64"), self.number, look)
        return f.load(self.slot, "i64")

    def _append(self, scores: Val, index: Val) -> None:
        """Add a box to the candidates, if its score is high enough."""
        f = self.f
        count = f.load(self.slot, "i64")
        f.store(self._key(scores, index), self.keys.at(count, "i64"))
        high = f.load(scores.at(index, "float"), "float") > self.least
        f.store(count + f.convert(high, "i64"), self.slot)

    def _key(self, scores: Val, index: Val) -> Val:
        """Return the key of a box: the best score first, NaN last."""
        f = self.f
        score = f.load(scores.at(index, "float"), "float")
        best = ~sorting.ordered(f, score)
        upper = f.select(score.compare("uno", score), f.value(-1, "i32"), best)
        return sorting.joined(f, upper, index)

    def _select(self, order: Val, count: Val, boxes: Val, picked: Val) -> Val:
        """Keep the best boxes one after another; return how many."""
        f, limit = self.f, self.field["limit"]
        with f.loop(0, count, carried=[f.value(0, "i64")]) as loop:
            (total,) = loop.carried
            box = sorting.place_of(f.load(order.at(loop.index, "i64"), "i64"))
            corners = self._corners(boxes.at(box * 4, "float"))

            def check(total: Val = total, corners: list[Val] = corners) -> list[Val]:
                return [self._is_clear(total, corners)]

            def full() -> list[Val]:
                return [f.value(False, "i1")]

            (clear,) = f.choose(total < limit, check, full)
            with f.when(clear):
                f.store(box, picked.at(total, "i64"))
                for value, place in zip(corners, self.kept, strict=True):
                    f.store(value, place.at(total, "float"))
            loop.next(total + f.convert(clear, "i64"))
        return loop.results[0]

    def _corners(self, box: Val) -> list[Val]:
        """Return the low and high corner of a box, and its area."""
        f = self.f
        a, b, c, d = (f.load(box.at(i, "float"), "float") for i in range(4))
        if self.center:
            c, d = c / 2.0, d / 2.0
            low, high = [a - c, b - d], [a + c, b + d]
        else:
            low = [self._lesser(a, c), self._lesser(b, d)]
            high = [self._greater(a, c), self._greater(b, d)]
        return [*low, *high, (high[0] - low[0]) * (high[1] - low[1])]

    def _lesser(self, a: Val, b: Val) -> Val:
        return self.f.select(a < b, a, b)

    def _greater(self, a: Val, b: Val) -> Val:
        return self.f.select(a > b, a, b)

    def _is_clear(self, total: Val, corners: list[Val]) -> Val:
        """Return whether a box overlaps none of those kept."""
        f, lanes = self.f, self.lanes
        type, bits = vector("float", lanes), f"i{lanes}"
        mine = [f.splat(value, lanes) for value in corners]
        zero = f.value(0.0, type)
        f.store(f.value(0, "i64"), self.slot)
        again, look, done = f.fresh("again"), f.fresh("look"), f.fresh("done")
        f.jump(again)
        f.label(again)
        index = f.load(self.slot, "i64")
        f.branch(index < total, look, done)
        f.label(look)
        mask = mask_of(f, self.target, total - index, lanes)
        theirs = [f.load(place.at(index, "float"), type) for place in self.kept]
        sides = [
            self._lesser(mine[2 + i], theirs[2 + i]) - self._greater(mine[i], theirs[i])
            for i in (0, 1)
        ]
        tall, wide = (self._greater(side, zero) for side in sides)
        common = tall * wide
        union = (theirs[4] + mine[4]) - common
        real = (common > 0.0) & (mine[4] > 0.0) & (theirs[4] > 0.0) & (union > 0.0)
        over = real & (common / union > self.overlap) & mask
        found = f.bitcast(over, bits).differs(0)
        f.store(index + lanes, self.slot)
        f.branch(found, done, again)
        f.label(done)
        return index >= total


@family("suppressed")
def suppressed(module: Module, target: Target, name: str) -> None:
    """Write the kernel that puts classes behind each other; see above."""
    parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    f = Function(module, name, parameters)
    pointers = COLLECTED_FIELDS[:4]
    field = {
        word: f.field(f.parameters[0], i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(COLLECTED_FIELDS)
    }
    with f.loop(0, field["groups"], carried=[f.value(0, "i64")]) as groups:
        count = f.load(field["counts"].at(groups.index, "i64"), "i64")
        picked = field["picked"].at(groups.index * field["limit"], "i64")
        batch, group = groups.index // field["classes"], groups.index % field["classes"]
        with f.loop(0, count) as loop:
            row = field["result"].at((groups.carried[0] + loop.index) * 3, "i64")
            box = f.load(picked.at(loop.index, "i64"), "i64")
            for i, value in enumerate((batch, group, box)):
                f.store(value, row.at(i, "i64"))
        groups.next(groups.carried[0] + count)
    f.store(groups.results[0], field["count"])
    f.ret()
