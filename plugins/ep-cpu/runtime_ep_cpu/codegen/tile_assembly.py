"""The inner tile on x86: one piece of assembly with fixed registers.

LLVM's allocator spills and moves accumulators of the larger tiles, and takes long for their
loads and stores; here it sees none of them. Accumulators are the first vector registers,
then come those of the panel's row, then factors::

    accumulators = bias, or out where this is not the first block of K
    for round in rounds: multiply UNROLL rows of the panel; ask for a line ahead
    for row in the rest: multiply
    out = accumulators                           # within limits; columns beyond are masked

`write_row` is for one row and many panels, as a recurrent state has: a tile of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Val
from runtime_ep_cpu.codegen.memory import mask_of
from runtime_ep_cpu.codegen.target import Target

UNROLL: Final = 4
"""How many rows of the panel one round of the loop takes."""


class Shape(NamedTuple):
    """Rows of A, registers of a panel's row, their lanes, how far its rows are apart."""

    rows: int
    vectors: int
    lanes: int
    pitch: int

    @property
    def sums(self) -> int:
        """How many accumulators there are."""
        return self.rows * self.vectors


class Given(NamedTuple):
    """What a tile works on, see `microkernel.tile`; strides are in bytes.

    ``less`` and ``into`` are of a difference of panels; ``steps``, ``runs``, their number,
    and ``limits`` of a tile over runs.
    """

    a: Val
    a_row: Val
    b: Val
    k: Val
    ahead: Val
    first: Val
    bias: Val
    out: Val
    out_row: Val
    columns: Val
    less: Val | None = None
    into: Val | None = None
    steps: Val | None = None
    runs: Val | None = None
    limits: Val | None = None


def write(f: Function, target: Target, shape: Shape, given: Given) -> None:
    """Write the tile."""
    _Tile(f, target, shape, given).write()


class Panels(NamedTuple):
    """Panels that follow each other, forwards or backwards, and one row for all of them.

    ``b_step`` and ``bias_step`` lead from one panel's begin to the next one's, in bytes;
    results lie side by side in ``out``, in the order in which panels are taken.
    """

    a: Val
    b: Val
    b_step: Val
    k: Val
    bias: Val
    bias_step: Val
    out: Val
    number: Val


def write_row(f: Function, target: Target, vectors: int, given: Panels) -> None:
    """Write ``out = bias + a · b`` for one row and some panels, one at least.

    So short a product would wait for each of its calls, and what they fetch. Sums are made
    in the order of all tiles.
    """
    register = "%zmm" if target.lanes == 16 else "%ymm"
    line = 4 * target.lanes
    sums, factor = [f"{register}{v}" for v in range(vectors)], f"{register}{vectors}"

    def rows(count: int) -> list[str]:
        lines = []
        for row in range(count):
            lines.append(f"vbroadcastss {4 * row}({{a}}), {factor}")
            for v, total in enumerate(sums):
                place = f"{line * (row * vectors + v)}({{b}})"
                lines.append(f"vfmadd231ps {place}, {factor}, {total}")
        return [
            *lines,
            f"addq $${4 * count}, {{a}}",
            f"addq $${line * vectors * count}, {{b}}",
        ]

    moves = [(line * v, total) for v, total in enumerate(sums)]
    lines = ["0:", *(f"vmovups {place}({{bias}}), {total}" for place, total in moves)]
    lines += ["movq {row}, {a}", "addq {bias_step}, {bias}", "movq {k}, {left}"]
    lines += ["shrq $$2, {left}", "je 2f", "1:", *rows(UNROLL), "decq {left}", "jne 1b"]
    lines += ["2:", "movq {k}, {left}", "andq $$3, {left}", "je 4f", "3:", *rows(1)]
    lines += ["decq {left}", "jne 3b", "4:"]
    lines += [f"vmovups {total}, {place}({{out}})" for place, total in moves]
    lines += [f"addq $${line * vectors}, {{out}}", "addq {jump}, {b}"]
    lines += ["decq {count}", "jne 0b"]
    jump = given.b_step - given.k * (line * vectors)
    operands = {
        "row": given.a, "a": given.a, "b": given.b, "jump": jump, "k": given.k,
        "left": given.k, "bias": given.bias, "bias_step": given.bias_step,
        "out": given.out, "count": given.number,
    }  # fmt: skip
    lost = [name.removeprefix("%") for name in (*sums, factor)]
    _emit(f, lines, operands, lost)


def _emit(
    f: Function, lines: Sequence[str], operands: dict[str, Val], lost: Sequence[str]
) -> None:
    """Write assembly that may change its operands, and loses some registers."""
    count = len(operands)
    clobbers = [
        f"~{{{name}}}" for name in (*lost, "memory", "dirflag", "fpsr", "flags")
    ]
    constraints = ["=&r"] * count + [str(i) for i in range(count)] + clobbers
    names = {name: f"${i}" for i, name in enumerate(operands)}
    text = "\\0A".join(line.format(**names) for line in lines)
    result = "{" + ", ".join(value.type for value in operands.values()) + "}"
    listed = ", ".join(repr(value) for value in operands.values())
    f.emit(
        f'call {result} asm sideeffect "{text}", "{",".join(constraints)}"({listed})',
        result,
    )


_OUT, _OUT_ROW, _WHOLE, _LIMITS, _MASKS = (8 * i for i in range(5))
"""Offsets in the frame, by which the assembly is given what it needs but for a moment.

What accumulators wait for is in registers from the beginning.
"""
_GROUP = 3
"""How many rows of A one pointer reaches."""


class _Tile:
    """A tile being written."""

    def __init__(self, f: Function, target: Target, shape: Shape, given: Given) -> None:
        self.f, self.target, self.shape, self.given = f, target, shape, given
        self.masked = target.name == "avx512"
        self.register = "%zmm" if shape.lanes == 16 else "%ymm"
        self.panel = range(shape.sums, shape.sums + shape.vectors)
        self.spare = range(shape.sums + shape.vectors, target.registers)
        self.bases = [f"a{row}" for row in range(0, shape.rows, _GROUP)]

    def write(self) -> None:
        """Write everything."""
        f, given = self.f, self.given
        pointers = {
            name: given.a.at(given.a_row * row, "i8")
            for name, row in zip(
                self.bases, range(0, self.shape.rows, _GROUP), strict=True
            )
        }
        pointers |= {"b": given.b, "ahead": given.ahead, "row": given.a_row}
        if given.less is not None and given.into is not None:
            pointers |= {"less": given.less, "into": given.into}
        if given.steps is not None and given.runs is not None:
            pointers |= {"steps": given.steps, "count": given.runs, "k": given.k}
            loop = self._runs()
        else:
            rounds = f.emit(f"lshr i64 {given.k.name}, 2", "i64")
            pointers |= {"rounds": rounds, "left": given.k & (UNROLL - 1)}
            loop = self._rows()
        pointers |= {"frame": self._frame(), "place": given.bias, "step": given.first}
        lines = [*self._begin(), *loop, *self._limited(), *self._end()]
        _emit(f, lines, pointers, self._lost())

    def _lost(self) -> list[str]:
        """Return the registers that others may hold something in.

        Vectors beyond sixteen are no caller's anywhere, and LLVM keeps nothing in them here.
        """
        widest = "zmm" if self.target.lanes == 16 else "ymm"
        masks = self.shape.vectors if self.masked else 0
        return [f"{widest}{i}" for i in range(16)] + [f"k{1 + v}" for v in range(masks)]

    def _frame(self) -> Val:
        """Store what is needed for a moment; return where."""
        f, given, shape = self.f, self.given, self.shape
        width = shape.lanes * shape.vectors
        masks = 1 if self.masked else 4 * shape.vectors
        frame = f.allocate("i64", _MASKS // 8 + masks, 16)
        whole = f.convert(given.columns >= width, "i64", unsigned=True)
        words = [given.out, given.out_row, whole]
        if given.limits is not None:
            words.append(given.limits)
        for place, word in enumerate(words):
            f.store(word, frame.at(place, "i64"), 8)
        into = frame.at(_MASKS // 8, "i64")
        if self.masked:
            every = f.value(-1 if width == 64 else (1 << width) - 1, "i64")
            spare = f.maximum(width - given.columns, 0)
            f.store(f.emit(f"lshr i64 {every.name}, {spare.name}", "i64"), into, 8)
            return frame
        for v in range(shape.vectors):
            mask = mask_of(f, self.target, given.columns - shape.lanes * v, shape.lanes)
            wide = f.emit(f"sext {mask!r} to <{shape.lanes} x i32>", "<8 x i32>")
            f.store(wide, into.at(4 * v, "i64"), 8)
        return frame

    def _begin(self) -> list[str]:
        """Load the accumulators: each row the bias, or what it had."""
        vectors = self.shape.vectors
        lines = ["testq {step}, {step}", "je 9f"]
        for index in range(self.shape.sums):
            value = f"{self.register}{index}"
            if index < vectors:
                lines.append(
                    f"vmovups {4 * self.shape.lanes * index}({{place}}), {value}"
                )
            else:
                lines.append(f"vmovaps {self.register}{index % vectors}, {value}")
        partial = self._moved("vmovups {memory}, {value}", self._load, ("5", "6"))
        return [*lines, "jmp 6f", "9:", *partial]

    def _end(self) -> list[str]:
        """Store the accumulators."""
        return self._moved("vmovups {value}, {memory}", self._store, ("7", "8"))

    @property
    def _load(self) -> str:
        if self.masked:
            return "vmovups {memory}, {value} {{{{{mask}}}}} {{{{z}}}}"
        return "vmaskmovps {memory}, {mask}, {value}"

    @property
    def _store(self) -> str:
        if self.masked:
            return "vmovups {value}, {memory} {{{{{mask}}}}}"
        return "vmaskmovps {value}, {mask}, {memory}"

    def _moved(self, plain: str, masked: str, labels: tuple[str, str]) -> list[str]:
        """Move accumulators to or from memory, all of them or what masks leave."""
        first, last = labels
        lines = [
            f"movq {_OUT}({{frame}}), {{place}}",
            f"movq {_OUT_ROW}({{frame}}), {{step}}",
            f"cmpq $$0, {_WHOLE}({{frame}})",
            f"je {first}f",
        ]
        lines += [*self._each(plain), f"jmp {last}f", f"{first}:"]
        return [*lines, *self._masks(), *self._each(masked), f"{last}:"]

    def _each(self, form: str) -> list[str]:
        lines = []
        for row in range(self.shape.rows):
            for v in range(self.shape.vectors):
                value = f"{self.register}{row * self.shape.vectors + v}"
                memory = f"{4 * self.shape.lanes * v}({{place}})"
                lines.append(
                    form.format(memory=memory, value=value, mask=self._mask(v))
                )
            lines.append("addq {step}, {place}")
        return lines

    def _mask(self, v: int) -> str:
        return f"%k{v + 1}" if self.masked else f"{self.register}{self.panel[v]}"

    def _masks(self) -> list[str]:
        vectors = range(self.shape.vectors)
        if not self.masked:
            return [
                f"vmovups {_MASKS + 32 * v}({{frame}}), {self._mask(v)}"
                for v in vectors
            ]
        rest = [
            f"kshiftrq $${self.shape.lanes * v}, %k1, {self._mask(v)}"
            for v in vectors[1:]
        ]
        return [f"kmovq {_MASKS}({{frame}}), %k1", *rest]

    def _rows(self) -> list[str]:
        """Go through K."""
        lines = ["testq {rounds}, {rounds}", "je 2f", "1:", *self._round(UNROLL)]
        lines += ["prefetcht1 ({ahead})", "addq $$64, {ahead}", "decq {rounds}"]
        lines += ["jne 1b", "2:", "testq {left}, {left}", "je 4f", "3:"]
        return [*lines, *self._round(1), "decq {left}", "jne 3b", "4:"]

    def _runs(self) -> list[str]:
        """Go through runs; the place of each is a step from where the last one ended."""
        lines = ["0:", "movq ({steps}), {place}"]
        lines += [f"addq {{place}}, {{{name}}}" for name in self.bases]
        lines += ["addq $$8, {steps}", "movq {k}, {place}", "shrq $$2, {place}"]
        lines += ["je 2f", "1:", *self._round(UNROLL)]
        lines += ["prefetcht1 ({ahead})", "addq $$64, {ahead}", "decq {place}"]
        lines += ["jne 1b", "2:", "movq {k}, {place}", "andq $$3, {place}", "je 4f"]
        lines += ["3:", *self._round(1), "decq {place}", "jne 3b", "4:"]
        return [*lines, "decq {count}", "jne 0b"]

    def _round(self, unroll: int) -> list[str]:
        """Return the instructions for some rows of the panel, and the step to the next."""
        shape, register = self.shape, self.register
        differs = self.given.less is not None
        lines = []
        turn = 0
        for step in range(unroll):
            for v in range(shape.vectors):
                offset = 4 * (step * shape.pitch + shape.lanes * v)
                one = f"{register}{self.panel[v]}"
                lines.append(f"vmovups {offset}({{b}}), {one}")
                if differs:
                    lines.append(f"vsubps {offset}({{less}}), {one}, {one}")
                    lines.append(f"vmovups {one}, {offset}({{into}})")
            for row in range(shape.rows):
                base = f"{{{self.bases[row // _GROUP]}}}"
                places = (f"({base})", f"({base},{{row}})", f"({base},{{row}},2)")
                factor = f"{register}{self.spare[turn % len(self.spare)]}"
                turn += 1
                lines.append(f"vbroadcastss {4 * step}{places[row % _GROUP]}, {factor}")
                for v in range(shape.vectors):
                    total = f"{register}{row * shape.vectors + v}"
                    one = f"{register}{self.panel[v]}"
                    lines.append(f"vfmadd231ps {one}, {factor}, {total}")
        lines += [f"addq $${4 * unroll}, {{{name}}}" for name in self.bases]
        panels = ("b", "less", "into") if differs else ("b",)
        ahead = 4 * shape.pitch * unroll
        return [*lines, *(f"addq $${ahead}, {{{name}}}" for name in panels)]

    def _limited(self) -> list[str]:
        """Keep sums within limits; NaN stays NaN."""
        if self.given.limits is None:
            return []
        low, high = (f"{self.register}{self.panel[0] + i}" for i in range(2))
        lines = [f"movq {_LIMITS}({{frame}}), {{place}}"]
        lines += [f"vbroadcastss ({{place}}), {low}"]
        lines += [f"vbroadcastss 4({{place}}), {high}"]
        for index in range(self.shape.sums):
            total = f"{self.register}{index}"
            lines += [f"vmaxps {total}, {low}, {total}"]
            lines += [f"vminps {total}, {high}, {total}"]
        return lines
