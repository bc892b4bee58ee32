"""Forests of decision trees: every row walks every tree, and the leaves' votes add up.

Trees are made of thresholds alone (see `native.forests`): at a node a row goes to one of
two neighbours in memory, the first if ``x[column] <= split``, the second if not, or if x
is no number. A leaf leads to itself, as the column it asks for is -∞ throughout, and holds
the number of its row of votes in the place of the split. Two kernels walk, each some
walks side by side, so that one waits for memory while others go on::

    forest       block of rows = chunk
                 x[column][row] = the block's columns, in scratch
                 for tree: for rows of the block, eight at once:
                     while one of them is at no leaf: step
                     scores[target][row] = aggregate(scores, votes of the leaf)
    forest_row   row = chunk
                 for trees, eight at once: walk as above, keep the leaf
                 for tree: scores[target] = aggregate(scores, votes of the leaf)

What eight walks share is the branch that ends them; steps themselves have none. Votes are
added in the order of the trees, in double precision, whatever the chunks and threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen import features
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target

WALKS: Final = 8
"""How many walks go side by side: their places and what all share fit 16 registers."""

FIELDS: Final = (
    *features.FIELDS, "roots", "trees", "nodes", "votes", "targets", "scores", "pitch",
    "each", "bases", "divisor",
)  # fmt: skip
"""Arguments of both kernels.

``roots`` points to the offset in bytes of each tree's root and its depth; for
``forest_row`` to as many offsets as there are walks, and their largest depth, per group
of trees. ``votes`` [leaves, targets] are of the kernel's type. ``scores`` [targets, pitch]
are doubles; ``each`` says how many rows are a chunk's, a multiple of the walks, ``bases``
what is added to each target in the end. ``divisor`` is a double: sums are divided by it.
"""

NEUTRAL: Final = {"sum": 0.0, "minimum": math.inf, "maximum": -math.inf}
"""What aggregating begins with; where nobody votes, it is 0 in the end."""

BLOCKS: Final = (32, 256)
"""How many rows a block may have, a power of two."""
_NEAR = 48 * 1024
"""Bytes of columns of a block that shall stay in the nearest caches."""
_SHARES = 8
"""Into how many chunks at least rows are divided, where there are enough."""


class Format(NamedTuple):
    """How a node lies in memory: its split's type, its size, and the most columns and
    the farthest children it can name."""

    element: str
    bytes: int
    columns: int
    reach: int


COMPACT: Final = Format("float", 8, 1 << 12, 1 << 19)
"""A float, then a word with the column in its lower 12 bits, the distance above."""
WIDE: Final = Format("double", 16, 1 << 31, 1 << 31)
"""A double, then a word each for the column and the distance."""
FORMATS: Final = {"float": COMPACT, "double": WIDE}


def spec(
    kind: str,
    given: str,
    element: str,
    votes: str,
    aggregate: str,
    targets: int,
    block: int,
) -> Spec:
    """Return a kernel: ``forest`` or ``forest_row``, for inputs ``given`` and splits of
    an element type, votes of one, an aggregate of `NEUTRAL`."""
    exact = targets if targets <= _UNROLLED else 0
    rows = block if kind == "forest" else 1
    return Spec.of(
        kind, given=given, element=element, votes=votes, aggregate=aggregate,
        targets=exact, block=rows,
    )  # fmt: skip


_UNROLLED = 4


def block_for(columns: int, element: str) -> int:
    """Return how many rows of so many columns a block takes."""
    size = 4 if element == "float" else 8
    fitting = [rows for rows in BLOCKS if rows * columns * size <= _NEAR]
    return max(fitting, default=BLOCKS[0])


def rows_per_chunk(rows: int, block: int) -> int:
    """Return how many rows a chunk takes, which depends on nothing but sizes."""
    shared = -(-rows // _SHARES)
    return min(block, -(-shared // WALKS) * WALKS)


@family("forest")
def forest(module: Module, target: Target, name: str, **parameters: object) -> None:
    """Write the walk of blocks of rows; see the module's text."""
    kernel = _Forest(module, target, name, **parameters)  # type: ignore[arg-type]
    f, field = kernel.f, kernel.field
    first = f.parameters[1] * field["each"]
    left = field["rows"] - first
    whole = (left + (WALKS - 1)) & -WALKS
    height = f.minimum(field["each"], whole)
    x = kernel.block
    features.load(f, kernel.features, x, first, height, kernel.rows)
    scores = field["scores"].at(first, "double")
    kernel.begin(scores, height)
    with f.loop(0, field["trees"], runs=True) as trees:
        entry = field["roots"].at(trees.index * 2, "i64")
        root = field["nodes"].at(f.field(entry, 0), "i8")
        depth = f.field(entry, 1)
        with f.loop(0, height, WALKS, runs=True) as rows:
            walks = [root] * WALKS
            places = [x.at(rows.index + i, kernel.element) for i in range(WALKS)]
            for i, leaf in enumerate(kernel.descend(walks, places, depth)):
                kernel.vote(f.load(leaf, "i32"), scores.at(rows.index + i, "double"))
    kernel.end(scores, height)
    f.ret()


@family("forest_row")
def forest_row(module: Module, target: Target, name: str, **parameters: object) -> None:
    """Write the walk of a single row; see the module's text."""
    kernel = _Forest(module, target, name, **parameters)  # type: ignore[arg-type]
    f, field = kernel.f, kernel.field
    row = f.parameters[1]
    x = kernel.block
    features.load(f, kernel.features, x, row, f.value(1, "i64"), 1)
    leaves = x.at(field["columns"], kernel.element)
    scores = field["scores"].at(row, "double")
    kernel.begin(scores, f.value(1, "i64"))
    entries = WALKS + 1
    with f.loop(0, field["trees"], WALKS, runs=True) as trees:
        entry = field["roots"].at((trees.index // WALKS) * entries, "i64")
        walks = [field["nodes"].at(f.field(entry, i), "i8") for i in range(WALKS)]
        depth = f.field(entry, WALKS)
        for i, leaf in enumerate(kernel.descend(walks, [x] * WALKS, depth)):
            f.store(f.load(leaf, "i32"), leaves.at(trees.index + i, "i32"))
    kernel.vote_in_turn(leaves, scores)
    kernel.end(scores, f.value(1, "i64"))
    f.ret()


class _Forest:
    """What both kernels share: arguments, steps and votes."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        given: str,
        element: str,
        votes: str,
        aggregate: str,
        targets: int,
        block: int,
    ) -> None:
        self.element, self.rows = element, block
        self._votes, self._aggregate, self._targets = votes, aggregate, targets
        self._lanes = target.lanes
        self._format = FORMATS[element]
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        pointers = (*features.POINTERS, "roots", "nodes", "votes", "scores", "bases")
        self.field = {
            word: f.field(
                f.parameters[0],
                i,
                "ptr" if word in pointers else "double" if word == "divisor" else "i64",
            )
            for i, word in enumerate(FIELDS)
        }
        self.features = features.Source(self.field, given, element)
        self.block = f.parameters[2]

    def descend(
        self, walks: Sequence[Val], places: Sequence[Val], depth: Val
    ) -> list[Val]:
        """Step down from nodes until all are leaves; ``places`` are where the rows'
        first columns lie. Returns the leaves."""
        f = self.f
        before, body, end = f.block, f.fresh("walk"), f.fresh("leaves")
        f.jump(body)
        f.label(body)
        following = [f.fresh("next") for _ in walks]
        count = f.fresh("count")
        index = f.emit(f"phi i64 [0, %{before}], [%{count}, %{body}]", "i64")
        here = [
            f.emit(f"phi ptr [{walk.name}, %{before}], [%{word}, %{body}]", "ptr")
            for walk, word in zip(walks, following, strict=True)
        ]
        inner = f.value(0, "i64")
        for node, place, word in zip(here, places, following, strict=True):
            distance, step = self._step(node, place)
            inner = distance | inner
            size = self._format.bytes
            text = f"getelementptr inbounds [{size} x i8], ptr {node.name}, i64 {step.name}"
            f.line(f"%{word} = {text}")
        f.line(f"%{count} = add i64 {index.name}, 1")
        deeper = Val(f, "i64", f"%{count}") < depth
        f.branch(inner.differs(0) & deeper, body, end)
        f.label(end)
        return [Val(f, "ptr", f"%{word}") for word in following]

    def _step(self, node: Val, place: Val) -> tuple[Val, Val]:
        """Return the distance to a node's children, 0 for a leaf, and to the one chosen."""
        f = self.f
        if self._format is COMPACT:
            word = f.convert(f.load(node.at(1, "i32"), "i32"), "i64")
            column = word & (COMPACT.columns - 1)
            distance = word >> 12
        else:
            column = f.convert(f.load(node.at(2, "i32"), "i32"), "i64", unsigned=True)
            distance = f.convert(f.load(node.at(3, "i32"), "i32"), "i64")
        x = f.load(place.at(column * self.rows, self.element), self.element)
        right = x.compare("ugt", f.load(node, self.element))
        return distance, distance + f.convert(right, "i64", unsigned=True)

    def vote_in_turn(self, leaves: Val, scores: Val) -> None:
        """Add the votes of every tree's leaf to one row's scores; few stay in registers."""
        f, field = self.f, self.field
        places = [scores.at(field["pitch"] * i, "double") for i in range(self._targets)]
        sums = [f.load(place, "double") for place in places]
        with f.loop(0, field["trees"], carried=sums, runs=True) as trees:
            leaf = f.load(leaves.at(trees.index, "i32"), "i32")
            if not self._targets:
                self.vote(leaf, scores)
            votes = self._row_of(leaf)
            trees.next(
                *(
                    self._combined(total, self._weight(votes, target))
                    for target, total in enumerate(trees.carried)
                )
            )
        for place, total in zip(places, trees.results, strict=True):
            f.store(total, place)

    def _row_of(self, leaf: Val) -> Val:
        number = self.f.convert(leaf, "i64")
        width = self._targets or self.field["targets"]
        return self.field["votes"].at(number * width, self._votes)

    def _weight(self, votes: Val, target: int | Val) -> Val:
        f = self.f
        return f.convert(f.load(votes.at(target, self._votes), self._votes), "double")

    def vote(self, leaf: Val, scores: Val) -> None:
        """Add a leaf's votes to a row's scores."""
        f, field = self.f, self.field
        votes = self._row_of(leaf)

        def one(target: int | Val, place: Val) -> None:
            weight = self._weight(votes, target)
            f.store(self._combined(f.load(place, "double"), weight), place)

        if self._targets:
            for target in range(self._targets):
                one(target, scores.at(field["pitch"] * target, "double"))
            return
        with f.loop(0, field["targets"], runs=True) as targets:
            one(targets.index, scores.at(targets.index * field["pitch"], "double"))

    def _combined(self, total: Val, weight: Val) -> Val:
        if self._aggregate == "sum":
            return total + weight
        less = weight < total if self._aggregate == "minimum" else weight > total
        return self.f.select(less, weight, total)

    def begin(self, scores: Val, height: Val) -> None:
        """Begin every score with what is neutral."""
        neutral = NEUTRAL[self._aggregate]
        self._each(
            scores, height, lambda value, target: self.f.value(neutral, value.type)
        )

    def end(self, scores: Val, height: Val) -> None:
        """Divide, let scores nobody voted for be 0, and add the bases."""
        f, field = self.f, self.field

        def finish(value: Val, target: Val) -> Val:
            type = value.type

            def spread(one: Val) -> Val:
                return one if type == "double" else f.splat(one, self._lanes)

            if self._aggregate == "sum":
                value = value / spread(field["divisor"])
            else:
                unvoted = value.equals(NEUTRAL[self._aggregate])
                value = f.select(unvoted, f.value(0.0, value.type), value)
            return value + spread(f.load(field["bases"].at(target, "double"), "double"))

        self._each(scores, height, finish)

    def _each(
        self, scores: Val, height: Val, change: Callable[[Val, Val], Val]
    ) -> None:
        """Change the scores of a block's rows, some at once where there are some."""
        f, field = self.f, self.field
        with f.loop(0, field["targets"], runs=True) as targets:
            line = scores.at(targets.index * field["pitch"], "double")
            whole = height & -self._lanes
            widths = [(f.value(0, "i64"), whole, self._lanes), (whole, height, 1)]
            for start, stop, width in widths if self.rows > 1 else widths[1:]:
                type = vector("double", width if width > 1 else 0)
                start = f.value(0, "i64") if self.rows == 1 else start
                with f.loop(start, stop, width) as rows:
                    place = line.at(rows.index, "double")
                    f.store(change(f.load(place, type), targets.index), place)
