"""Packs the weights of gates, so that those of the same hidden units lie side by side.

Weights of a direction are rows, one for each gate and hidden unit: ``[gates · hidden,
K]``. Packed, vectors of units of each gate take turns along the columns::

    column = [units 0 … lanes of gate 0 | of gate 1 | … | units lanes … of gate 0 | …]

and the columns lie in panels ``[panels, K, vectors · lanes]``, as products read them. A
tile of a panel then holds all gates of some units. A row of biases is packed as weights
with a K of 1 are.
"""

from __future__ import annotations

from typing import Final

from runtime_ep_cpu.codegen.builder import Function, Module, Val
from runtime_ep_cpu.codegen.library import family
from runtime_ep_cpu.codegen.memory import mask_of, read
from runtime_ep_cpu.codegen.target import Target
from runtime_ep_cpu.codegen.transpose import transposed

FIELDS: Final = (
    "source", "between", "packed", "k", "hidden", "first", "gates", "panels",
)  # fmt: skip
"""Arguments: weights of all directions, ``between`` one's begin and the next's, in
elements; rows of K lie side by side. ``gates`` gates from the ``first`` on are packed,
in ``panels`` panels for each direction, float32. Columns beyond the units are zeros."""


@family("gates")
def gates(
    module: Module, target: Target, name: str, *, vectors: int, element: str = "float"
) -> None:
    """Write the packing into panels of so many vectors; a chunk is a panel."""
    f = Function(module, name, [("ptr", "args"), ("i64", "chunk"), ("ptr", "scratch")])
    arguments, chunk, _ = f.parameters
    pointers = ("source", "packed")
    field = {
        word: f.field(arguments, i, "ptr" if word in pointers else "i64")
        for i, word in enumerate(FIELDS)
    }
    lanes, k = target.lanes, field["k"]
    direction, panel = chunk // field["panels"], chunk % field["panels"]
    source = field["source"].at(direction * field["between"], element)
    packed = field["packed"].at(chunk * k * (lanes * vectors), "float")
    with f.loop(0, vectors, runs=True) as loop:
        column = panel * vectors + loop.index
        unit = (column // field["gates"]) * lanes
        gate = field["first"] + column % field["gates"]
        row = gate * field["hidden"] + unit
        into = packed.at(loop.index * lanes, "float")
        rows = source.at(row * k, element)
        _vector(f, target, rows, field["hidden"] - unit, k, into, vectors, element)
    f.ret()


def _vector(
    f: Function,
    target: Target,
    rows: Val,
    units: Val,
    k: Val,
    into: Val,
    vectors: int,
    element: str,
) -> None:
    """Pack a vector of units of one gate, all of K; units beyond the last are zeros."""
    lanes = target.lanes
    with f.loop(0, k, lanes) as loop:
        mask = mask_of(f, target, k - loop.index, lanes)
        depth = f.minimum(k - loop.index, lanes)
        square = []
        for lane in range(lanes):
            place = rows.at(k * lane + loop.index, element)
            inside = f.splat(units > lane, lanes) & mask
            square.append(read(f, target, place, element, lanes, inside))
        here = into.at(loop.index * (lanes * vectors), "float")
        for lane, values in enumerate(transposed(f, square)):
            with f.when(depth > lane):
                f.store(values, here.at(lanes * vectors * lane, "float"))
