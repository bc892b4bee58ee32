"""Support vector machines: a kernel of each row and each vector, and decisions by pairs.

In double precision throughout, for as many rows at once as a vector has lanes; their
features lie column by column::

    support   for vector: value = kernel(rows, vector)
                  for sum the vector takes part in: sums += coefficient · value
              scores = the sums + rho, of a regressor
              scores = a decision for each pair of classes, votes = how many each class won
    support_row  the same for a single row, with the vectors of a class in the lanes
    coupled   probabilities of the classes from those of all pairs, by libsvm's iteration

The sums go through the vectors in their order, whatever the chunks and threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from runtime_ep_cpu.codegen import features
from runtime_ep_cpu.codegen.builder import Function, Module, Val, vector
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.vmath import VectorMath

FIELDS: Final = (
    *features.FIELDS, "vectors", "coefficients", "rho", "ends", "classes", "sums",
    "scores", "votes", "pitch", "each", "gamma", "offset", "degree",
)  # fmt: skip
"""Arguments, numbers being doubles.

``vectors`` [vectors, features] lie class by class; ``ends`` says behind which vector each
class ends. ``coefficients`` [vectors, sums] are a vector's in the sums of its class, of
which ``sums`` are one less than there are classes. ``scores`` [pairs, pitch] and ``votes``
[classes, pitch] are written by whole vectors. A regressor has one class and one sum.

For ``support_row`` vectors are `packed`: ``vectors`` [blocks, features, lanes] and
``coefficients`` [blocks, sums, lanes], and ``ends`` counts blocks.
"""

COUPLED_FIELDS: Final = (
    "decisions", "slopes", "offsets", "classes", "scores", "pitch", "rows", "each",
)  # fmt: skip
"""Arguments: decisions [pairs, pitch], what each is multiplied with and added to be a
logit, and where probabilities [classes, pitch] go."""

_POINTERS = (
    *features.POINTERS, "vectors", "coefficients", "rho", "ends", "scores", "votes",
    "decisions", "slopes", "offsets",
)  # fmt: skip
_NUMBERS = ("gamma", "offset", "degree")

POWERS: Final = 8
"""Up to which degree a polynomial is multiplied out."""
CERTAIN: Final = 1e-7
"""How far from 0 and 1 a pair's probability stays."""
ITERATIONS: Final = 100
"""Rounds of coupling at most, or as many as there are classes."""
PACKED: Final = 2
"""Blocks of packed vectors that are computed side by side."""
TOGETHER: Final = 4
"""Vectors whose kernels are computed side by side."""


def spec(
    given: str, kernel: str, degree: float, classifies: bool, single: bool = False
) -> Spec:
    """Return the kernel for features of a type; see `ops._support_vectors.KERNELS`.

    ``single`` is for one row.
    """
    whole = kernel == "POLY" and degree in range(1, POWERS + 1)
    return Spec.of(
        "support_row" if single else "support",
        given=given,
        kernel=kernel,
        power=int(degree) if whole else 0,
        classifies=classifies,
    )


def coupled_spec() -> Spec:
    """Return the kernel that couples probabilities."""
    return Spec.of("coupled")


def scratch(features_: int, classes: int, lanes: int) -> int:
    """Return the bytes that ``support`` needs."""
    return 8 * lanes * (features_ + classes * max(classes - 1, 1) + classes)


def coupled_scratch(classes: int, lanes: int) -> int:
    """Return the bytes that ``coupled`` needs."""
    return 8 * lanes * (2 * classes * classes + 2 * classes)


class _Block:
    """What both kernels share: arguments and blocks of doubles, some rows a vector."""

    def __init__(
        self, module: Module, target: Target, name: str, words: Sequence[str]
    ) -> None:
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes = target, target.lanes
        self.type = vector("double", self.lanes)
        self.math = VectorMath(f, target)
        kinds = {**dict.fromkeys(_POINTERS, "ptr"), **dict.fromkeys(_NUMBERS, "double")}
        self.field = {
            word: f.field(f.parameters[0], i, kinds.get(word, "i64"))
            for i, word in enumerate(words)
        }

    def place(self, block: Val, number: Val | int) -> Val:
        """Return where a vector of a block lies."""
        return block.at(self.f.value(number, "i64") * self.lanes, "double")

    def read(self, block: Val, number: Val | int) -> Val:
        """Read a vector of a block."""
        return self.f.load(self.place(block, number), self.type)

    def write(self, value: Val, block: Val, number: Val | int) -> None:
        """Write a vector of a block."""
        self.f.store(value, self.place(block, number))

    def number(self, pointer: Val, place: Val | int) -> Val:
        """Read a double and spread it."""
        f = self.f
        return f.splat(f.load(pointer.at(place, "double"), "double"), self.lanes)

    def spread(self, word: str) -> Val:
        """Return an argument in every lane."""
        return self.f.splat(self.field[word], self.lanes)

    def line(self, word: str, number: Val, row: Val) -> Val:
        """Return where some rows of one line of a result or an operand lie."""
        return self.field[word].at(number * self.field["pitch"] + row, "double")


@family("support")
def support(
    module: Module,
    target: Target,
    name: str,
    *,
    given: str,
    kernel: str,
    power: int,
    classifies: bool,
) -> None:
    """Write the kernel of kernels and sums; see the module's text."""
    b = _Block(module, target, name, FIELDS)
    f, field, block = b.f, b.field, b.f.parameters[2]
    source = features.Source(field, given, "double")
    sums = b.place(block, field["columns"])
    first = f.parameters[1] * field["each"]
    end = f.minimum(first + field["each"], field["rows"])
    with f.loop(first, end, b.lanes, runs=True) as rows:
        features.load(f, source, block, rows.index, f.value(b.lanes, "i64"), b.lanes)
        with f.loop(0, field["classes"] * field["sums"], runs=True) as each:
            b.write(f.value(0.0, b.type), sums, each.index)
        with f.loop(
            0, field["classes"], carried=[f.value(0, "i64")], runs=True
        ) as classes:
            (start,) = classes.carried
            stop = f.field(field["ends"].at(classes.index, "i64"), 0)
            own = b.place(sums, classes.index * field["sums"])
            whole = start + ((stop - start) & -TOGETHER)
            for here, there, count in ((start, whole, TOGETHER), (whole, stop, 1)):
                with f.loop(here, there, count) as vectors:
                    _add(b, kernel, power, block, vectors.index, count, own)
            classes.next(stop)
        if classifies:
            _decide(b, sums, rows.index)
        else:
            total = b.read(sums, 0) + b.number(field["rho"], 0)
            f.store(total, field["scores"].at(rows.index, "double"))
    f.ret()


@family("support_row")
def support_row(
    module: Module,
    target: Target,
    name: str,
    *,
    given: str,
    kernel: str,
    power: int,
    classifies: bool,
) -> None:
    """Write the kernel for a single row; see the module's text."""
    b = _Block(module, target, name, FIELDS)
    f, field, block = b.f, b.field, b.f.parameters[2]
    source = features.Source(field, given, "double")
    sums = b.place(block, field["columns"])
    zero, one = f.value(0, "i64"), f.value(1, "i64")
    features.load(f, source, block, zero, one, 1)
    with f.loop(0, field["classes"] * field["sums"], runs=True) as each:
        b.write(f.value(0.0, b.type), sums, each.index)
    with f.loop(0, field["classes"], carried=[zero], runs=True) as classes:
        (start,) = classes.carried
        stop = f.field(field["ends"].at(classes.index, "i64"), 0)
        own = b.place(sums, classes.index * field["sums"])
        with f.loop(start, stop, PACKED) as blocks:
            _add_block(b, kernel, power, block, blocks.index, own)
        classes.next(stop)
    with f.loop(0, field["classes"] * field["sums"], runs=True) as each:
        total = f.reduce("fadd", b.read(sums, each.index))
        b.write(f.splat(total, b.lanes), sums, each.index)
    if classifies:
        _decide(b, sums, zero)
    else:
        total = b.read(sums, 0) + b.number(field["rho"], 0)
        f.store(total, field["scores"])
    f.ret()


def _add_block(
    b: _Block, kernel: str, power: int, row: Val, first: Val, sums: Val
) -> None:
    """Add what some blocks of packed vectors weigh to the sums of their class."""
    f, field = b.f, b.field
    width = field["columns"]
    lines = [b.place(field["vectors"], (first + i) * width) for i in range(PACKED)]
    starts = [f.value(0.0, b.type)] * PACKED
    with f.loop(0, width, carried=starts) as columns:
        x = b.number(row, columns.index)
        found = []
        for line, total in zip(lines, columns.carried, strict=True):
            y = b.read(line, columns.index)
            other = x - y if kernel == "RBF" else x
            found.append(b.math.fma(other, other if kernel == "RBF" else y, total))
        columns.next(*found)
    values = [_valued(b, kernel, power, total) for total in columns.results]
    with f.loop(0, field["sums"], runs=True) as each:
        total = b.read(sums, each.index)
        for i, value in enumerate(values):
            line = b.place(field["coefficients"], (first + i) * field["sums"])
            weight = b.read(line, each.index)
            filled = weight.equals(0.0)  # also of what only fills a block
            total = f.select(filled, total, b.math.fma(value, weight, total))
        b.write(total, sums, each.index)


def _add(
    b: _Block, kernel: str, power: int, block: Val, first: Val, count: int, sums: Val
) -> None:
    """Add what some vectors weigh to the sums of their class."""
    f, field = b.f, b.field
    width = field["columns"]
    starts = [f.value(0.0, b.type)] * count
    lines = [field["vectors"].at((first + i) * width, "double") for i in range(count)]
    with f.loop(0, width, carried=starts) as columns:
        x = b.read(block, columns.index)
        found = []
        for line, total in zip(lines, columns.carried, strict=True):
            y = b.number(line, columns.index)
            if kernel == "RBF":
                x_y = x - y
                found.append(b.math.fma(x_y, x_y, total))
            else:
                found.append(b.math.fma(x, y, total))
        columns.next(*found)
    values = [_valued(b, kernel, power, total) for total in columns.results]
    with f.loop(0, field["sums"], runs=True) as each:
        total = b.read(sums, each.index)
        for i, value in enumerate(values):
            line = field["coefficients"].at((first + i) * field["sums"], "double")
            total = b.math.fma(value, b.number(line, each.index), total)
        b.write(total, sums, each.index)


def _valued(b: _Block, kernel: str, power: int, product: Val) -> Val:
    """Return the kernel of a product, or for RBF of a squared distance."""
    math = b.math
    if kernel == "LINEAR":
        return product
    if kernel == "RBF":
        return math.exp(-(product * b.spread("gamma")))
    scaled = b.math.fma(product, b.spread("gamma"), b.spread("offset"))
    if kernel == "SIGMOID":
        return math.tanh(scaled)
    if not power:
        return math.pow(scaled, b.spread("degree"))
    found = scaled
    for _ in range(power - 1):
        found = found * scaled
    return found


def _decide(b: _Block, sums: Val, row: Val) -> None:
    """Write the decision of every pair of classes, and each class's votes."""
    f, field = b.f, b.field
    classes = field["classes"]
    votes = b.place(sums, classes * field["sums"])
    one = f.value(1.0, b.type)
    with f.loop(0, classes, runs=True) as each:
        b.write(f.value(0.0, b.type), votes, each.index)
    with f.loop(0, classes, carried=[f.value(0, "i64")], runs=True) as firsts:
        i = firsts.index
        with f.loop(i + 1, classes, carried=[firsts.carried[0]]) as seconds:
            j, (pair,) = seconds.index, seconds.carried
            decision = b.number(field["rho"], pair)
            decision = decision + b.read(sums, i * field["sums"] + (j - 1))
            decision = decision + b.read(sums, j * field["sums"] + i)
            f.store(decision, b.line("scores", pair, row))
            won = decision > 0.0
            none = f.value(0.0, b.type)
            b.write(b.read(votes, i) + f.select(won, one, none), votes, i)
            lost = decision <= 0.0
            b.write(b.read(votes, j) + f.select(lost, one, none), votes, j)
            seconds.next(pair + 1)
        firsts.next(seconds.results[0])
    with f.loop(0, classes, runs=True) as each:
        f.store(b.read(votes, each.index), b.line("votes", each.index, row))


@family("coupled")
def coupled(module: Module, target: Target, name: str) -> None:
    """Write the coupling of pairs' probabilities (Wu, Lin and Weng, 2004, second method).

    Rows that have come to rest stay as they are while others go on.
    """
    b = _Block(module, target, name, COUPLED_FIELDS)
    f, field = b.f, b.field
    classes = field["classes"]
    pairs = f.parameters[2]
    matrix = b.place(pairs, classes * classes)
    chances = b.place(matrix, classes * classes)
    products = b.place(chances, classes)
    first = f.parameters[1] * field["each"]
    end = f.minimum(first + field["each"], field["rows"])
    rounds = f.maximum(classes, ITERATIONS)
    with f.loop(first, end, b.lanes, runs=True) as rows:
        _likelihoods(b, pairs, rows.index)
        _system(b, pairs, matrix, chances)
        before, body, done = f.block, f.fresh("round"), f.fresh("done")
        sweep, again = f.fresh("sweep"), f.fresh("again")
        f.jump(body)
        f.label(body)
        count = f.emit(f"phi i64 [0, %{before}], [%{again}, %{again}_end]", "i64")
        moving = _distances(b, matrix, chances, products)
        word = f"i{b.lanes}"
        any_ = f.bitcast(moving, word).differs(0)
        f.branch(any_ & (count < rounds), sweep, done)
        f.label(sweep)
        _swept(b, matrix, chances, products, moving)
        f.jump(f"{again}_end")
        f.label(f"{again}_end")
        f.line(f"%{again} = add i64 {count.name}, 1")
        f.jump(body)
        f.label(done)
        with f.loop(0, classes, runs=True) as each:
            f.store(
                b.read(chances, each.index), b.line("scores", each.index, rows.index)
            )
    f.ret()


def _likelihoods(b: _Block, pairs: Val, row: Val) -> None:
    """Write each pair's probabilities, both ways, away from 0 and 1.

    On AVX-512, whose registers hold all constants of exp, they are register by register.
    """
    f, field = b.f, b.field
    some = b.lanes // 2 if b.target.name == "avx512" else b.lanes
    classes = field["classes"]
    with f.loop(0, classes, carried=[f.value(0, "i64")], runs=True) as firsts:
        i = firsts.index
        with f.loop(i + 1, classes, carried=[firsts.carried[0]]) as seconds:
            j, (pair,) = seconds.index, seconds.carried
            decisions = b.line("decisions", pair, row)
            one, other = (b.place(pairs, n) for n in (i * classes + j, j * classes + i))
            factors = [
                f.splat(f.load(field[word].at(pair, "double"), "double"), some)
                for word in ("slopes", "offsets")
            ]
            lanes = range(0, b.lanes, some)
            loaded = [
                f.load(decisions.at(lane, "double"), vector("double", some))
                for lane in lanes
            ]
            chances = [_likelihood(b, decision, *factors) for decision in loaded]
            for lane, chance in zip(lanes, chances, strict=True):
                f.store(chance, one.at(lane, "double"))
                f.store(1.0 - chance, other.at(lane, "double"))
            seconds.next(pair + 1)
        firsts.next(seconds.results[0])


def _likelihood(b: _Block, decisions: Val, slope: Val, offset: Val) -> Val:
    """Return a pair's probabilities from decisions for some rows."""
    f, math = b.f, b.math
    logit = -(decisions * slope + offset)
    small = math.exp(-math.abs(logit))
    one = f.value(1.0, small.type)
    chance = f.select(logit < 0.0, small, one) / (small + 1.0)
    return math.minimum(math.maximum(chance, CERTAIN), 1 - CERTAIN)


def _system(b: _Block, pairs: Val, matrix: Val, chances: Val) -> None:
    """Write the matrix whose null space the probabilities are, and where they begin."""
    f, classes = b.f, b.field["classes"]
    count = f.convert(classes, "double")
    start = f.splat(1.0 / count, b.lanes)
    with f.loop(0, classes, runs=True) as rows:
        i = rows.index
        b.write(start, chances, i)
        with f.loop(0, classes, carried=[f.value(0.0, b.type)], runs=True) as columns:
            j = columns.index
            here, there = b.read(pairs, i * classes + j), b.read(pairs, j * classes + i)
            own = i.equals(j)
            square = b.math.fma(there, there, columns.carried[0])
            b.write(-(here * there), matrix, i * classes + j)
            columns.next(_choice(f, own, columns.carried[0], square))
        b.write(columns.results[0], matrix, i * classes + i)


def _choice(f: Function, condition: Val, yes: Val, no: Val) -> Val:
    """Return one of two vectors by a single condition."""
    return f.emit(f"select i1 {condition.name}, {yes!r}, {no!r}", yes.type)


def _mean(b: _Block, chances: Val, products: Val) -> Val:
    f = b.f
    with f.loop(
        0, b.field["classes"], carried=[f.value(0.0, b.type)], runs=True
    ) as each:
        term = b.read(chances, each.index)
        each.next(b.math.fma(term, b.read(products, each.index), each.carried[0]))
    return each.results[0]


def _distances(b: _Block, matrix: Val, chances: Val, products: Val) -> Val:
    """Write the matrix's products with the chances; return which rows still move."""
    f, math, classes = b.f, b.math, b.field["classes"]
    with f.loop(0, classes, runs=True) as rows:
        i = rows.index
        with f.loop(0, classes, carried=[f.value(0.0, b.type)], runs=True) as columns:
            here = b.read(matrix, i * classes + columns.index)
            chance = b.read(chances, columns.index)
            columns.next(b.math.fma(here, chance, columns.carried[0]))
        b.write(columns.results[0], products, i)
    mean = _mean(b, chances, products)
    with f.loop(0, classes, carried=[f.value(0.0, b.type)], runs=True) as each:
        off = math.abs(b.read(products, each.index) - mean)
        each.next(math.maximum(each.carried[0], off))
    limit = 0.005 / f.convert(classes, "double")
    return each.results[0] >= f.splat(limit, b.lanes)


def _swept(b: _Block, matrix: Val, chances: Val, products: Val, moving: Val) -> None:
    """Improve one class's chance after another, of the rows that move."""
    f, classes = b.f, b.field["classes"]
    mean = _mean(b, chances, products)
    with f.loop(0, classes, carried=[mean], runs=True) as each:
        t = each.index
        own = b.read(matrix, t * classes + t)
        product = b.read(products, t)
        step = (each.carried[0] - product) / own
        whole = step + 1.0
        mean = each.carried[0] + step * (step * own + product * 2.0)
        mean = mean / (whole * whole)
        b.write(b.read(chances, t) + _only(f, moving, step), chances, t)
        scale = f.select(moving, whole, f.value(1.0, b.type))

        def scaled(change: Callable[[Val], Val], block: Val) -> None:
            with f.loop(0, classes, runs=True) as inner:
                value = b.read(block, inner.index) + change(inner.index)
                b.write(value / scale, block, inner.index)

        scaled(lambda _: f.value(0.0, b.type), chances)
        scaled(lambda i: step * b.read(matrix, t * classes + i), products)
        each.next(mean)


def _only(f: Function, moving: Val, step: Val) -> Val:
    return f.select(moving, step, f.value(0.0, step.type))
