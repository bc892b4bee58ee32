"""What models make of their scores: probabilities, and the label of the best class.

Scores come class by class, [classes, pitch], so that a vector is some rows of one class.
For some rows at once::

    values = the scores, or of one of them both classes' (see ``completes``)
    label = the judged scores' best class, or whether one is above a threshold
    values = transform(values)
    out[row, class] = values; labels[row] = the class's number, by a table

The transforms are those of `ops._scores`, step by step, and ``ONE_CLASS``: 1 for what is
above 0, else -1. ``verdict`` says how a label comes about: ``none``, ``best`` of what is
judged, ``after`` (the best of what the transform made), or ``above``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

FIELDS: Final = (
    "scores", "pitch", "classes", "rows", "each", "out", "out_row", "labels", "table",
    "judged", "judges", "chosen", "threshold",
)  # fmt: skip
"""Arguments.

``scores`` [classes, pitch] and ``judged`` [judges, pitch] are of the given type and may be
read up to a whole vector of rows; ``each`` says how many rows are a chunk's, a multiple of
the lanes. ``table`` has an int64 per class. ``chosen`` is which score is completed, or
compared with the double ``threshold``.
"""

_POINTERS = ("scores", "out", "labels", "table", "judged")
_NEGLIGIBLE = 1e-7
"""What ``SOFTMAX_ZERO`` takes for a zero."""
_ERF_CONSTANT = 0.147
"""Winitzki's, in his approximation of the inverse error function."""
_ROWS = 512
"""Rows of a chunk."""


def spec(
    given: str,
    computed: str,
    result: str,
    transform: str = "NONE",
    verdict: str = "none",
    completes: str = "no",
) -> Spec:
    """Return a kernel for scores of a type, computed in one and written in another.

    ``completes`` is ``no``, ``negated`` (-s, s) or ``complement`` (1 - s, s).
    """
    return Spec.of(
        "scores",
        given=given,
        computed=computed,
        result=result,
        transform=transform,
        verdict=verdict,
        completes=completes,
    )


def rows_per_chunk(rows: int, lanes: int) -> int:
    """Return how many rows a chunk takes, which depends on nothing but sizes."""
    shared = -(-rows // 8)
    return min(_ROWS, -(-shared // lanes) * lanes)


def scratch(classes: int, lanes: int) -> int:
    """Return the bytes of scratch the kernel needs."""
    return 8 * lanes * (max(classes, 2) + 1)


@family("scores")
def scores(
    module: Module,
    target: Target,
    name: str,
    *,
    given: str,
    computed: str,
    result: str,
    transform: str,
    verdict: str,
    completes: str,
) -> None:
    """Write the kernel; see the module's text."""
    kernel = _Scores(module, target, name, given, computed, completes)
    f, field = kernel.f, kernel.field
    first = f.parameters[1] * field["each"]
    end = f.minimum(first + field["each"], field["rows"])
    with f.loop(first, end, target.lanes, runs=True) as rows:
        kernel.bring(rows.index)
        label = kernel.verdict(rows.index, verdict)
        kernel.transform(transform)
        if verdict == "after":
            label = kernel.best(kernel.value, kernel.count)
        kernel.write(rows.index, end, result, label)
    f.ret()


class _Scores:
    """The state of one kernel being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        given: str,
        computed: str,
        completes: str,
    ) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.given, self.computed, self.completes = given, computed, completes
        self.lanes = target.lanes
        self.type = vector(computed, self.lanes)
        self.math = VectorMath(f, target)
        self.field = {
            word: f.field(
                f.parameters[0],
                i,
                "ptr"
                if word in _POINTERS
                else "double"
                if word == "threshold"
                else "i64",
            )
            for i, word in enumerate(FIELDS)
        }
        self.values = f.parameters[2]
        both = f.value(2, "i64")
        self.count = self.field["classes"] if completes == "no" else both

    def score(self, place: str, number: Val, row: Val) -> Val:
        """Read one class's scores of some rows."""
        f = self.f
        line = self.field[place].at(number * self.field["pitch"] + row, self.given)
        return f.convert(f.load(line, vector(self.given, self.lanes)), self.computed)

    def place(self, number: Val | int) -> Val:
        """Return where one class's values lie."""
        return self.values.at(self.f.value(number, "i64") * self.lanes, self.computed)

    def value(self, number: Val) -> Val:
        """Read one class's values."""
        return self.f.load(self.place(number), self.type)

    def bring(self, row: Val) -> None:
        """Read the scores, or make both classes' of one."""
        f = self.f
        if self.completes == "no":
            self._each(lambda number: self.score("scores", number, row))
            return
        score = self.score("scores", self.field["chosen"], row)
        other = -score if self.completes == "negated" else 1.0 - score
        f.store(other, self.place(0))
        f.store(score, self.place(1))

    def _each(self, made: Callable[[Val], Val]) -> None:
        with self.f.loop(0, self.count, runs=True) as classes:
            self.f.store(made(classes.index), self.place(classes.index))

    def verdict(self, row: Val, kind: str) -> Val | None:
        """Return each row's class, as far as it is known before the transform."""
        f, field = self.f, self.field
        if kind == "best":
            judges = field["judges"]
            return self.best(lambda number: self.score("judged", number, row), judges)
        if kind == "above":
            score = self.score("judged", field["chosen"], row)
            threshold = f.convert(field["threshold"], self.computed)
            above = score > f.splat(threshold, self.lanes)
            return f.convert(above, "i32", unsigned=True)
        return None

    def best(self, read: Callable[[Val], Val], count: Val) -> Val:
        """Return the first of the largest; what is no number is larger than any."""
        f = self.f
        zero = f.value(0, "i64")
        carried = [read(zero), f.value(0, vector("i32", self.lanes))]
        with f.loop(1, count, carried=carried) as classes:
            largest, place = classes.carried
            value = read(classes.index)
            odd = value.compare("uno", value) & largest.compare("ord", largest)
            better = (value > largest) | odd
            number = f.splat(f.convert(classes.index, "i32"), self.lanes)
            classes.next(
                f.select(better, value, largest), f.select(better, number, place)
            )
        return classes.results[1]

    def _folded(self, fold: Callable[[Val, Val], Val], start: float) -> Val:
        f = self.f
        with f.loop(0, self.count, carried=[f.value(start, self.type)]) as classes:
            classes.next(fold(classes.carried[0], self.value(classes.index)))
        return classes.results[0]

    def transform(self, kind: str) -> None:
        """Transform the values where they lie."""
        if kind == "NONE":
            return
        alone = {
            "LOGISTIC": self._logistic,
            "PROBIT": self._probit,
            "ONE_CLASS": self._inside,
        }
        if kind in alone:
            self._each(lambda number: alone[kind](self.value(number)))
            return
        f = self.f
        largest = self._folded(
            lambda one, other: f.select(other > one, other, one), -math.inf
        )
        keeps = kind == "SOFTMAX_ZERO"
        lowest = self.math.exp(-largest) if keeps else largest

        def raised(number: Val) -> Val:
            value = self.value(number)
            power = self.math.exp(value - largest)
            if not keeps:
                return power
            small = self.math.abs(value) <= _NEGLIGIBLE
            return f.select(small, value * lowest, power)

        self._each(raised)
        total = self._folded(lambda one, other: one + other, 0.0)
        none = total.equals(0.0)
        half = f.value(0.5, self.type)

        def share(number: Val) -> Val:
            found = self.value(number) / total
            return f.select(none, half, found) if keeps else found

        self._each(share)

    def _logistic(self, score: Val) -> Val:
        f = self.f
        small = self.math.exp(-self.math.abs(score))
        one = f.value(1.0, self.type)
        below = f.select(score < 0.0, small, one)
        found = below / (small + 1.0)
        return f.select(score.compare("uno", score), score, found)

    def _inside(self, score: Val) -> Val:
        f = self.f
        one = f.value(1.0, self.type)
        return f.select(score > 0.0, one, f.value(-1.0, self.type))

    def _probit(self, score: Val) -> Val:
        math_ = self.math
        x = score * 2.0 - 1.0
        log = math_.log((1.0 - x) * (x + 1.0))
        half = log / 2.0 + 2.0 / (math.pi * _ERF_CONSTANT)
        root = math_.sqrt(math_.sqrt(half * half - log / _ERF_CONSTANT) - half)
        return math_.sign(x) * math.sqrt(2.0) * root

    def write(self, row: Val, end: Val, result: str, label: Val | None) -> None:
        """Write the values, and the labels by their table, row by row."""
        f, field = self.f, self.field
        numbers = self.place(self.count)
        if label is not None:
            f.store(label, numbers)
        height = f.minimum(end - row, self.lanes)
        with f.loop(0, height, runs=True) as rows:
            place = row + rows.index
            out = field["out"].at(place * field["out_row"], result)
            with f.loop(0, self.count, runs=True) as classes:
                value = f.load(self.place(classes.index).at(rows.index, self.computed),
                               self.computed)  # fmt: skip
                f.store(f.convert(value, result), out.at(classes.index, result))
            if label is not None:
                number = f.load(numbers.at(rows.index, "i32"), "i32")
                found = f.field(field["table"].at(f.convert(number, "i64"), "i64"), 0)
                f.store(found, field["labels"].at(place, "i64"))
