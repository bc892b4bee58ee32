"""TopK: the best of each row, by keys that are all different.

::

    keys = the first elements of a row, sorted; the k best stay
    for elements in the rest by lanes:
        append those better than the worst that stayed    # few, once there are k
        where there is no room for more: sort, and the k best stay
    sort; write values and places of the k best

Of equal elements the first wins, and NaN is above all: so the upper half of a key is an
element's bits put in order, the lower its place (module `sorting`).
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen import memory, sorting
from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.rows import sweep
from runtime_ep_cpu.codegen.target import Target

ELEMENTS: Final = ("float", "half", "bfloat", "i32")

FIELDS: Final = (
    "values", "places", "x", "rows", "block", "length", "k", "room",
)  # fmt: skip
"""Arguments: three addresses, ``values`` and ``places`` of ``[rows, k]``, ``x`` of
``[rows, length]``; the rows of a chunk; and how many keys there is room for, at least as
many as a vector has lanes more than ``k``, or the whole row."""

_FEW: Final = 32
_SPARE: Final = 512
"""Keys that there is room for beside those that stay, where these are more than few."""


def spec(element: str, largest: bool, by_value: bool) -> Spec:
    """Return the kernel for rows of a type; results are in order of values or of places."""
    return Spec.of("top_k", element=element, largest=largest, by_value=by_value)


def room(length: int, k: int) -> int:
    """Return how many keys there shall be room for."""
    return min(length, k + _FEW if k <= _FEW else 2 * k + _SPARE)


def scratch(target: Target, keys: int) -> int:
    """Return how many bytes a thread needs."""
    return 8 * (2 * (keys + target.lanes) + sorting.HISTOGRAM)


@family("top_k")
def top_k(
    module: Module,
    target: Target,
    name: str,
    *,
    element: str,
    largest: bool,
    by_value: bool,
) -> None:
    """Write the kernel; see above."""
    _Kernel(module, target, name, element, largest, by_value).whole()


class _Kernel:
    """The kernel being written."""

    def __init__(
        self,
        module: Module,
        target: Target,
        name: str,
        element: str,
        largest: bool,
        by_value: bool,
    ) -> None:
        self.sort = sorting.sort(module, target)
        parameters = [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
        self.f = f = Function(module, name, parameters)
        self.target, self.lanes = target, target.lanes
        self.element, self.held = element, memory.stored(element)
        self.largest, self.by_value = largest, by_value
        arguments, self.chunk, scratch = f.parameters
        self.field = {
            word: f.field(arguments, i, "ptr" if i < 3 else "i64")
            for i, word in enumerate(FIELDS)
        }
        self.length, self.k = self.field["length"], self.field["k"]
        self.room = self.field["room"]
        size = self.room + self.lanes
        self.keys, self.copy = scratch, scratch.at(size, "i64")
        self.histogram = self.copy.at(size, "i64")
        self.count = f.allocate("i64", 1)
        self.bound = f.allocate("i32", 1)

    def whole(self) -> None:
        """Write everything."""
        f, field = self.f, self.field
        first = self.chunk * field["block"]
        last = f.minimum(first + field["block"], field["rows"])
        with f.loop(first, last, runs=True) as rows:
            x = field["x"].at(rows.index * self.length, self.held)
            with f.loop(0, self.room, runs=True) as loop:
                key = self._key(x, loop.index)
                f.store(key, self.keys.at(loop.index, "i64"))
            f.store(self.room, self.count)
            with f.when(self.room < self.length):
                self._keep()
                self._rest(x)
            order = self._sorted()
            self._write(x, order, rows.index * self.k)
        f.ret()

    def _upper(self, x: Val) -> Val:
        bits = sorting.ordered(self.f, x)
        return ~bits if self.largest else bits

    def _key(self, x: Val, index: Val) -> Val:
        place = x.at(index, self.held)
        value = memory.read_one(self.f, self.target, place, self.element)
        return sorting.joined(self.f, self._upper(value), index)

    def _sorted(self) -> Val:
        """Sort what there is; return where it is then."""
        count = self.f.load(self.count, "i64")
        return self.f.call(
            self.sort, "ptr", self.keys, self.copy, count, self.histogram
        )

    def _keep(self) -> None:
        """Let the k best stay, and note the worst of them."""
        f = self.f
        order = self._sorted()
        with f.loop(0, self.k, runs=True) as loop:
            key = f.load(order.at(loop.index, "i64"), "i64")
            f.store(key, self.keys.at(loop.index, "i64"))
        last = f.load(self.keys.at(self.k - 1, "i64"), "i64")
        upper = f.emit(f"lshr i64 {last.name}, 32", "i64")
        f.store(f.convert(upper, "i32"), self.bound)
        f.store(self.k, self.count)

    def _rest(self, x: Val) -> None:
        """Go through what there was no room for."""
        f, lanes = self.f, self.lanes

        def look(index: Val, mask: Val | None) -> None:
            place = x.at(index, self.held)
            values = memory.read(f, self.target, place, self.element, lanes, mask)
            bound = f.splat(f.load(self.bound, "i32"), lanes)
            better = self._upper(values).compare("ult", bound)
            better = better if mask is None else better & mask
            bits = f.convert(f.bitcast(better, f"i{lanes}"), "i64", unsigned=True)
            with f.when(bits.differs(0)):
                self._append(x, index)

        sweep(f, self.target, self.room, self.length, look)

    def _append(self, x: Val, first: Val) -> None:
        """Add those of a vector that are better; make room for the next."""
        f = self.f
        bound = f.load(self.bound, "i32")
        stop = f.minimum(first + self.lanes, self.length)
        with f.loop(first, stop, runs=True) as loop:
            key = self._key(x, loop.index)
            count = f.load(self.count, "i64")
            f.store(key, self.keys.at(count, "i64"))
            upper = f.convert(f.emit(f"lshr i64 {key.name}, 32", "i64"), "i32")
            better = upper.compare("ult", bound)
            f.store(count + f.convert(better, "i64"), self.count)
        full = f.load(self.count, "i64") > self.room - self.lanes
        with f.when(full):
            self._keep()

    def _write(self, x: Val, order: Val, start: Val) -> None:
        """Write the values and the places of the k best."""
        f, field = self.f, self.field
        if not self.by_value:
            order = self._by_place(order)
        values = field["values"].at(start, self.held)
        places = field["places"].at(start, "i64")
        with f.loop(0, self.k, runs=True) as loop:
            key = f.load(order.at(loop.index, "i64"), "i64")
            if self.by_value:
                place = sorting.place_of(key)
            else:
                place = f.emit(f"lshr i64 {key.name}, 32", "i64")
            carried = f"i{8 * memory.size(self.element)}"
            value = f.load(x.at(place, self.held), carried)
            f.store(value, values.at(loop.index, self.held))
            f.store(place, places.at(loop.index, "i64"))

    def _by_place(self, order: Val) -> Val:
        """Sort the k best by their places, which become the upper halves."""
        f = self.f
        with f.loop(0, self.k, runs=True) as loop:
            key = f.load(order.at(loop.index, "i64"), "i64")
            f.store(key << 32, self.keys.at(loop.index, "i64"))
        return f.call(self.sort, "ptr", self.keys, self.copy, self.k, self.histogram)
