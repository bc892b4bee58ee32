"""Writes LLVM IR as text: modules, functions, loops, and values with operators.

Text is several times faster to make than an object per instruction, and what is written
is what is read in a dump. A `Val` is one SSA value or constant; arithmetic between
values of one type, or with Python numbers, is written as ordinary expressions::

    kernel = Function(module, "double", [("ptr", "x"), ("i64", "n")])
    x, n = kernel.parameters
    with kernel.loop(0, n, 16) as loop:
        place = x.at(loop.index, "float")
        kernel.store(kernel.load(place, "<16 x float>") * 2.0, place)
    kernel.ret()
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, NamedTuple

FLAGS = ""
"""Fast-math flags of float arithmetic: none, so that fusing nodes changes no result."""


class Kind(NamedTuple):
    """A type taken apart: element, number of elements (0 for a scalar)."""

    element: str
    lanes: int

    @property
    def is_float(self) -> bool:
        """Whether elements are floats."""
        return self.element in ("half", "bfloat", "float", "double")

    @property
    def bits(self) -> int:
        """Size of one element."""
        widths = {"half": 16, "bfloat": 16, "float": 32, "double": 64, "ptr": 64}
        return widths.get(self.element) or int(self.element[1:])

    @property
    def suffix(self) -> str:
        """How intrinsics' names spell the type, e.g. ``v16f32``."""
        letter = {"half": "f", "float": "f", "double": "f", "bfloat": "bf"}
        name = "p0" if self.element == "ptr" else f"i{self.bits}"
        if self.element in letter:
            name = f"{letter[self.element]}{self.bits}"
        return f"v{self.lanes}{name}" if self.lanes else name


@cache
def kind(type: str) -> Kind:
    """Take a type's text apart."""
    if not type.startswith("<"):
        return Kind(type, 0)
    lanes, _, element = type[1:-1].partition(" x ")
    return Kind(element, int(lanes))


@cache
def vector(element: str, lanes: int) -> str:
    """Return the text of a vector type; no lanes give the element itself."""
    return f"<{lanes} x {element}>" if lanes else element


@cache
def with_element(type: str, element: str) -> str:
    """Return a type of as many lanes and another element."""
    return vector(element, kind(type).lanes)


def literal(value: float | int | bool, type: str) -> str:
    """Return a Python number as a constant of a type, the same in every lane."""
    return _literal(value, type, value == 0 and str(value).startswith("-"))


@cache
def _literal(value: float | int | bool, type: str, minus_zero: bool) -> str:
    """Return a constant; both zeros are equal as keys, hence the third argument."""
    element, lanes = kind(type)
    if element == "i1":
        text = "true" if value else "false"
    elif element in ("float", "double"):
        single = struct.unpack("f", struct.pack("f", _single(float(value))))[0]
        number = float(value) if element == "double" else single
        text = f"0x{struct.unpack('<Q', struct.pack('<d', number))[0]:016X}"
    elif element == "half":
        text = f"0xH{struct.unpack('<H', struct.pack('<e', value))[0]:04X}"
    elif element == "bfloat":
        bits = struct.unpack("<I", struct.pack("<f", _single(float(value))))[0]
        text = f"0xR{(bits + 0x7FFF + (bits >> 16 & 1)) >> 16:04X}"
    elif element == "ptr":
        text = "null"
    else:
        text = str(int(value))
    return f"splat ({element} {text})" if lanes else text


def _single(value: float) -> float:
    """Return infinity in the place of what float32 cannot hold."""
    largest = 3.4028235677973366e38
    if abs(value) >= largest:
        return float("inf") if value > 0 else float("-inf")
    return value


def _is(value: Any, number: int) -> bool:
    """Whether a value is that very integer, for which no instruction is needed."""
    return isinstance(value, int) and value == number


class Module:
    """Functions that are compiled together, and what they refer to."""

    def __init__(self) -> None:
        self.functions: list[Function] = []
        self._text: dict[str, str] = {}
        self._declared: dict[str, str] = {}

    def declare(self, name: str, returns: str, parameters: Sequence[str]) -> None:
        """Make sure that a function of the outside is declared."""
        self._declared[name] = f"declare {returns} @{name}({', '.join(parameters)})"

    def add_text(self, name: str, text: str) -> None:
        """Add IR written by hand, once per name."""
        self._text.setdefault(name, text)

    def has(self, name: str) -> bool:
        """Whether a function of this name is defined already."""
        return any(function.name == name for function in self.functions)

    def text(self) -> str:
        """Return the whole module."""
        defined = {function.name for function in self.functions}
        outside = [t for n, t in self._declared.items() if n not in defined]
        return "\n".join(
            [*self._text.values(), *outside, *(f.text() for f in self.functions)]
        )


class Val:
    """A value in a function: its LLVM type and its name or constant text."""

    __slots__ = ("function", "name", "type")

    def __init__(self, function: Function, type: str, name: str) -> None:
        self.function = function
        self.type = type
        self.name = name

    def __repr__(self) -> str:
        return f"{self.type} {self.name}"

    def _binary(self, other: Any, of_floats: str, of_ints: str, flip: bool) -> Val:
        f: Function = self.function
        other = f.value(other, self.type)
        if self.type != other.type:
            raise TypeError(f"{self!r} and {other!r} are of different types")
        a, b = (other, self) if flip else (self, other)
        floats = kind(self.type).is_float
        operation = f"{of_floats} {FLAGS}" if floats else of_ints + " "
        return f.emit(f"{operation}{self.type} {a.name}, {b.name}", self.type)

    def __add__(self, other: Any) -> Val:
        if _is(other, 0):
            return self
        return self._binary(other, "fadd", "add", False)

    def __radd__(self, other: Any) -> Val:
        return self.__add__(other)

    def __sub__(self, other: Any) -> Val:
        return self._binary(other, "fsub", "sub", False)

    def __rsub__(self, other: Any) -> Val:
        return self._binary(other, "fsub", "sub", True)

    def __mul__(self, other: Any) -> Val:
        if _is(other, 1):
            return self
        return self._binary(other, "fmul", "mul", False)

    def __rmul__(self, other: Any) -> Val:
        return self.__mul__(other)

    def __truediv__(self, other: Any) -> Val:
        return self._binary(other, "fdiv", "sdiv", False)

    def __rtruediv__(self, other: Any) -> Val:
        return self._binary(other, "fdiv", "sdiv", True)

    def __floordiv__(self, other: Any) -> Val:
        return self._binary(other, "fdiv", "udiv", False)

    def __mod__(self, other: Any) -> Val:
        return self._binary(other, "frem", "urem", False)

    def __and__(self, other: Any) -> Val:
        return self._binary(other, "", "and", False)

    def __or__(self, other: Any) -> Val:
        return self._binary(other, "", "or", False)

    def __xor__(self, other: Any) -> Val:
        return self._binary(other, "", "xor", False)

    def __lshift__(self, other: Any) -> Val:
        return self._binary(other, "", "shl", False)

    def __rshift__(self, other: Any) -> Val:
        return self._binary(other, "", "ashr", False)

    def __neg__(self) -> Val:
        if kind(self.type).is_float:
            return self.function.emit(f"fneg {self.type} {self.name}", self.type)
        return 0 - self

    def __invert__(self) -> Val:
        return self ^ (True if kind(self.type).element == "i1" else -1)

    def compare(self, predicate: str, other: Any) -> Val:
        """Return i1 per lane; the predicate is LLVM's, e.g. ``olt`` or ``slt``."""
        f = self.function
        other = f.value(other, self.type)
        word = "fcmp" if kind(self.type).is_float else "icmp"
        return f.emit(
            f"{word} {predicate} {self.type} {self.name}, {other.name}",
            with_element(self.type, "i1"),
        )

    def _ordered(self, other: Any, predicate: str) -> Val:
        prefix = "o" if kind(self.type).is_float else "s"
        return self.compare(prefix + predicate, other)

    def __lt__(self, other: Any) -> Val:
        return self._ordered(other, "lt")

    def __le__(self, other: Any) -> Val:
        return self._ordered(other, "le")

    def __gt__(self, other: Any) -> Val:
        return self._ordered(other, "gt")

    def __ge__(self, other: Any) -> Val:
        return self._ordered(other, "ge")

    def equals(self, other: Any) -> Val:
        """Return i1 per lane; NaN equals nothing."""
        floats = kind(self.type).is_float
        return self.compare("oeq" if floats else "eq", other)

    def differs(self, other: Any) -> Val:
        """Return i1 per lane; NaN differs from everything."""
        floats = kind(self.type).is_float
        return self.compare("une" if floats else "ne", other)

    def at(self, index: Any, element: str) -> Val:
        """Return the address of an element behind this pointer."""
        if _is(index, 0):
            return self
        f = self.function
        index = f.value(index, "i64")
        text = f"getelementptr inbounds {element}, ptr {self.name}, i64 {index.name}"
        return f.emit(text, "ptr")


class Tail(Val):
    """A mask of the first ``count`` lanes, of which ``whole`` tells whether it has all.

    Memory is accessed plainly where it has: few processors have masks as cheap as that.
    """

    __slots__ = ("count", "whole")

    def __init__(self, mask: Val, count: Val, whole: Val) -> None:
        super().__init__(mask.function, mask.type, mask.name)
        self.count = count
        self.whole = whole


class Loop:
    """A counted loop being written; ``results`` are the carried values at its end."""

    def __init__(self, index: Val, carried: Sequence[Val]) -> None:
        self.index = index
        self.carried = list(carried)
        self.results: list[Val] = []
        self._next: list[Val] | None = None

    def next(self, *values: Val) -> None:
        """Say what the carried values are in the next round."""
        self._next = list(values)


class Function:
    """A function being written, instruction by instruction."""

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[tuple[str, str]],
        returns: str = "void",
        internal: bool = False,
        noinline: bool = False,
    ) -> None:
        self.module = module
        self.name = name
        self.returns = returns
        self.internal = internal
        self.noinline = noinline
        self.parameters = [Val(self, type, f"%{word}") for type, word in parameters]
        self._lines: list[str] = []
        self._count = 0
        self.block = "entry"
        module.functions.append(self)

    def text(self) -> str:
        """Return the function's text."""
        listed = ", ".join(
            f"{p.type}{' noundef' if p.type == 'ptr' else ''} {p.name}"
            for p in self.parameters
        )
        linkage = "internal " if self.internal else ""
        marks = "nounwind noinline" if self.noinline else "nounwind"
        body = "\n".join(self._lines)
        return (
            f"define {linkage}{self.returns} @{self.name}({listed}) {marks} "
            f'"prefer-vector-width"="512" {{\nentry:\n{body}\n}}\n'
        )

    # instructions

    def fresh(self, word: str = "v") -> str:
        """Return a name nobody uses."""
        self._count += 1
        return f"{word}{self._count}"

    def line(self, text: str) -> None:
        """Write an instruction without a result."""
        self._lines.append(f"  {text}")

    def emit(self, text: str, type: str) -> Val:
        """Write an instruction and return its result."""
        name = f"%{self.fresh()}"
        self._lines.append(f"  {name} = {text}")
        return Val(self, type, name)

    def value(self, number: Any, type: str) -> Val:
        """Return a value as it is, and a Python number as a constant of a type."""
        if isinstance(number, Val):
            return number
        return Val(self, type, literal(number, type))

    def call(self, name: str, returns: str, *arguments: Val) -> Val:
        """Call a function of the module or of the outside, declaring it."""
        self.module.declare(name, returns, [a.type for a in arguments])
        listed = ", ".join(f"{a.type} {a.name}" for a in arguments)
        text = f"call {returns} @{name}({listed})"
        if returns == "void":
            self.line(text)
            return Val(self, "void", "")
        return self.emit(text, returns)

    def call_pointer(self, pointer: Val, returns: str, *arguments: Val) -> Val:
        """Call a function by its address."""
        listed = ", ".join(f"{a.type} {a.name}" for a in arguments)
        text = f"call {returns} {pointer.name}({listed})"
        if returns == "void":
            self.line(text)
            return Val(self, "void", "")
        return self.emit(text, returns)

    def intrinsic(self, name: str, *arguments: Val) -> Val:
        """Call an intrinsic of the arguments' type, e.g. ``llvm.fma``."""
        type = arguments[0].type
        return self.call(f"{name}.{kind(type).suffix}", type, *arguments)

    def fma(self, a: Val, b: Val, c: Val) -> Val:
        """Return ``a * b + c``, rounded once."""
        return self.intrinsic("llvm.fma", a, b, c)

    def select(self, condition: Val, yes: Val, no: Val) -> Val:
        """Return one of two values, lane by lane where the condition is a vector."""
        return self.emit(
            f"select {condition.type} {condition.name}, {yes!r}, {no!r}", yes.type
        )

    def convert(self, value: Val, element: str, unsigned: bool = False) -> Val:
        """Return a value with another element type, as C converts."""
        here, there = kind(value.type), kind(with_element(value.type, element))
        if here.element == element:
            return value
        target = with_element(value.type, element)
        if here.is_float and there.is_float:
            word = "fpext" if there.bits > here.bits else "fptrunc"
        elif here.is_float:
            word = "fptoui" if unsigned else "fptosi"
        elif there.is_float:
            word = "uitofp" if unsigned or here.element == "i1" else "sitofp"
        elif there.bits < here.bits:
            word = "trunc"
        else:
            word = "zext" if unsigned or here.element == "i1" else "sext"
        return self.emit(f"{word} {value!r} to {target}", target)

    def bitcast(self, value: Val, type: str) -> Val:
        """Return the same bits as another type."""
        return self.emit(f"bitcast {value!r} to {type}", type)

    def splat(self, value: Val, lanes: int) -> Val:
        """Return a vector with a scalar in each lane."""
        type = vector(value.type, lanes)
        one = self.emit(f"insertelement {type} poison, {value!r}, i64 0", type)
        zeros = f"<{lanes} x i32> zeroinitializer"
        return self.emit(f"shufflevector {one!r}, {type} poison, {zeros}", type)

    def shuffle(self, a: Val, b: Val, lanes: Sequence[int]) -> Val:
        """Return chosen lanes of two vectors laid side by side."""
        mask = ", ".join(f"i32 {lane}" for lane in lanes)
        type = vector(kind(a.type).element, len(lanes))
        return self.emit(
            f"shufflevector {a!r}, {b!r}, <{len(lanes)} x i32> <{mask}>", type
        )

    def extract(self, value: Val, lane: int | Val) -> Val:
        """Return one lane."""
        place = self.value(lane, "i64")
        return self.emit(
            f"extractelement {value!r}, i64 {place.name}", kind(value.type).element
        )

    def reduce(self, operation: str, value: Val) -> Val:
        """Return the lanes taken together: ``fadd``, ``fmul``, ``fmax``, ``add``, …"""
        element = kind(value.type).element
        name = f"llvm.vector.reduce.{operation}.{kind(value.type).suffix}"
        if operation not in ("fadd", "fmul"):
            return self.call(name, element, value)
        start = self.value(0.0 if operation == "fadd" else 1.0, element)
        self.module.declare(name, element, [element, value.type])
        return self.emit(
            f"call reassoc {element} @{name}({start!r}, {value!r})", element
        )

    # memory

    def load(self, pointer: Val, type: str, align: int = 0) -> Val:
        """Read from memory, by default aligned as one element."""
        align = align or max(1, kind(type).bits // 8)
        return self.emit(f"load {type}, ptr {pointer.name}, align {align}", type)

    def store(self, value: Val, pointer: Val, align: int = 0) -> None:
        """Write to memory, by default aligned as one element."""
        align = align or max(1, kind(value.type).bits // 8)
        self.line(f"store {value!r}, ptr {pointer.name}, align {align}")

    def load_masked(self, pointer: Val, type: str, mask: Val) -> Val:
        """Read the lanes whose mask is set; the others are zero and not touched."""
        if isinstance(mask, Tail):
            count = mask.count
            (found,) = self.choose(
                mask.whole,
                lambda: [self.load(pointer, type)],
                lambda: [self.load_masked(pointer, type, self._below(count, type))],
            )
            return found
        align = max(1, kind(type).bits // 8)
        name = f"llvm.masked.load.{kind(type).suffix}.p0"
        self.module.declare(name, type, ["ptr", mask.type, type])
        zero = f"{type} zeroinitializer"
        return self.emit(
            f"call {type} @{name}(ptr align {align} {pointer.name}, {mask!r}, {zero})",
            type,
        )

    def store_masked(self, value: Val, pointer: Val, mask: Val) -> None:
        """Write the lanes whose mask is set."""
        if isinstance(mask, Tail):

            def plain() -> list[Val]:
                self.store(value, pointer)
                return []

            def masked() -> list[Val]:
                below = self._below(mask.count, value.type)
                self.store_masked(value, pointer, below)
                return []

            self.choose(mask.whole, plain, masked)
            return
        align = max(1, kind(value.type).bits // 8)
        name = f"llvm.masked.store.{kind(value.type).suffix}.p0"
        self.module.declare(name, "void", [value.type, "ptr", mask.type])
        self.line(
            f"call void @{name}({value!r}, ptr align {align} {pointer.name}, {mask!r})"
        )

    def tail(self, count: Val, lanes: int) -> Tail:
        """Return a mask of the first ``count`` lanes; more than there are sets all."""
        mask = self._below(count, vector("i64", lanes))
        return Tail(mask, count, count >= lanes)

    def _below(self, count: Val, type: str) -> Val:
        """Return which lanes of a type have numbers below a count."""
        lanes = kind(type).lanes
        places = ", ".join(f"i64 {lane}" for lane in range(lanes))
        counts = self.splat(count, lanes)
        numbers = vector("i64", lanes)
        return self.emit(
            f"icmp slt {numbers} <{places}>, {counts.name}", f"<{lanes} x i1>"
        )

    def field(self, block: Val, index: int, type: str = "i64") -> Val:
        """Read one 8-byte slot of an argument block."""
        return self.load(block.at(index, "i64"), type, 8)

    def allocate(self, element: str, count: int, align: int = 64) -> Val:
        """Return memory on the stack; call it before any loop."""
        return self.emit(f"alloca {element}, i64 {count}, align {align}", "ptr")

    def prefetch(self, pointer: Val, locality: int = 3, write: bool = False) -> None:
        """Ask for a cache line; locality 3 is the nearest cache, 2 the second."""
        self.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        kinds = f"i32 {int(write)}, i32 {locality}, i32 1"
        self.line(f"call void @llvm.prefetch.p0(ptr {pointer.name}, {kinds})")

    # integers

    def minimum(self, a: Val, b: Any) -> Val:
        """Return the smaller of two signed integers."""
        return self.intrinsic("llvm.smin", a, self.value(b, a.type))

    def maximum(self, a: Val, b: Any) -> Val:
        """Return the larger of two signed integers."""
        return self.intrinsic("llvm.smax", a, self.value(b, a.type))

    # control

    def jump(self, label: str) -> None:
        """End a block by going to another."""
        self.line(f"br label %{label}")

    def branch(self, condition: Val, yes: str, no: str) -> None:
        """End a block by going one way or the other."""
        self.line(f"br i1 {condition.name}, label %{yes}, label %{no}")

    def label(self, name: str) -> None:
        """Begin a block."""
        self._lines.append(f"{name}:")
        self.block = name

    def phi(self, choices: Sequence[tuple[Val, str]]) -> Val:
        """Return the value that belongs to the block control came from."""
        type = choices[0][0].type
        listed = ", ".join(f"[{value.name}, %{block}]" for value, block in choices)
        return self.emit(f"phi {type} {listed}", type)

    @contextmanager
    def loop(
        self,
        start: Any,
        stop: Any,
        step: Any = 1,
        carried: Sequence[Val] = (),
        runs: bool = False,
    ) -> Iterator[Loop]:
        """Write ``for index in range(start, stop, step)`` with values carried along.

        ``runs`` promises that there is at least one round. Values carried need
        `Loop.next` in the body; they come out as `Loop.results`.
        """
        start, stop = self.value(start, "i64"), self.value(stop, "i64")
        body, end = self.fresh("body"), self.fresh("end")
        before = self.block
        if runs:
            self.jump(body)
        else:
            self.branch(start < stop, body, end)
        self.label(body)
        place = len(self._lines)
        index = Val(self, "i64", f"%{self.fresh()}")
        inside = [Val(self, v.type, f"%{self.fresh()}") for v in carried]
        loop = Loop(index, inside)
        yield loop
        following = index + self.value(step, "i64")
        last = self.block
        more = following < stop
        self.branch(more, body, end)
        values = loop._next or []
        if len(values) != len(inside):
            raise ValueError(f"{len(inside)} values are carried, {len(values)} go on")
        entering = [
            (start, following, index),
            *zip(carried, values, inside, strict=True),
        ]
        self._lines[place:place] = [
            f"  {here.name} = phi {here.type} [{first.name}, %{before}], "
            f"[{later.name}, %{last}]"
            for first, later, here in entering
        ]
        self.label(end)
        for first, later in zip(carried, values, strict=True):
            choices = [(later, last)] if runs else [(later, last), (first, before)]
            loop.results.append(self.phi(choices))

    @contextmanager
    def when(self, condition: Val) -> Iterator[None]:
        """Write a block that runs only where a condition holds."""
        yes, end = self.fresh("then"), self.fresh("end")
        self.branch(condition, yes, end)
        self.label(yes)
        yield
        self.jump(end)
        self.label(end)

    def choose(self, condition: Val, yes: Any, no: Any) -> list[Val]:
        """Run one of two writers, each a function returning a list of values."""
        first, second, end = self.fresh("then"), self.fresh("else"), self.fresh("end")
        self.branch(condition, first, second)
        found = []
        for label, write in ((first, yes), (second, no)):
            self.label(label)
            values = write()
            found.append((values, self.block))
            self.jump(end)
        self.label(end)
        (ones, here), (others, there) = found
        return [
            self.phi([(one, here), (other, there)])
            for one, other in zip(ones, others, strict=True)
        ]

    def ret(self, value: Val | None = None) -> None:
        """Return."""
        self.line("ret void" if value is None else f"ret {value!r}")
