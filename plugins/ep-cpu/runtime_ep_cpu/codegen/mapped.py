"""Numbers looked up among sorted keys, element by element::

    place = the last key that is not above x, by halving
    out[i] = values[place] if keys[place] is x, else the default

Keys are int64 or float64, whatever is looked up among them is made one. Values are moved
as 4 or 8 bytes. NaN finds the value kept for it.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module
from runtime_ep_cpu.codegen.library import Spec, family
from runtime_ep_cpu.codegen.target import Target

FIELDS: Final = ("x", "out", "count", "each", "keys", "values", "entries")
"""Arguments. ``values`` has as many elements as there are keys, at least one; then come the
default and the value of NaN."""


def spec(given: str, keys: str, size: int) -> Spec:
    """Return the kernel for elements of a type among keys ``i64`` or ``double``."""
    return Spec.of("mapped", given=given, keys=keys, size=size)


@family("mapped")
def mapped(
    module: Module, target: Target, name: str, *, given: str, keys: str, size: int
) -> None:
    """Write the kernel; see the module's text."""
    f = Function(
        module, name, [("ptr", "arguments"), ("i64", "chunk"), ("ptr", "scratch")]
    )
    pointers = ("x", "out", "keys", "values")
    field = {
        word: f.field(f.parameters[0], i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(FIELDS)
    }
    value, one = f"i{8 * size}", f.value(1, "i64")
    first = f.parameters[1] * field["each"]
    end = f.minimum(first + field["each"], field["count"])
    with f.loop(first, end, runs=True) as elements:
        given_x = f.load(field["x"].at(elements.index, given), given)
        x = f.convert(given_x, keys)
        # The base stays at or before the place; the length halves, rounded up.
        before, body, done = f.block, f.fresh("halve"), f.fresh("found")
        base_name, left_name = f.fresh("base"), f.fresh("left")
        more = field["entries"].compare("sgt", 1)
        f.branch(more, body, done)
        f.label(body)
        zero = f.value(0, "i64")
        entries = field["entries"]
        base = f.emit(f"phi i64 [0, %{before}], [%{base_name}, %{body}]", "i64")
        left = f.emit(
            f"phi i64 [{entries.name}, %{before}], [%{left_name}, %{body}]", "i64"
        )
        half = left // 2
        key = f.load(field["keys"].at(base + half, keys), keys)
        beyond = f.select(x >= key, half, zero)
        f.line(f"%{base_name} = add i64 {base.name}, {beyond.name}")
        f.line(f"%{left_name} = sub i64 {left.name}, {half.name}")
        again = f.emit(f"icmp sgt i64 %{left_name}, 1", "i1")
        f.branch(again, body, done)
        f.label(done)
        place = f.emit(f"phi i64 [0, %{before}], [%{base_name}, %{body}]", "i64")
        found = f.load(field["keys"].at(place, keys), keys)
        chosen = f.select(x.equals(found), place, entries)
        if keys == "double":
            odd = x.compare("uno", x)
            chosen = f.select(odd, entries + one, chosen)
        f.store(f.load(field["values"].at(chosen, value), value),
                field["out"].at(elements.index, value))  # fmt: skip
    f.ret()
