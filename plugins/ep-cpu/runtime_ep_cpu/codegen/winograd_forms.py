"""Winograd's convolution of 3 by 3 filters: its forms, and how they are computed.

``F(m, 3)`` makes a square of m by m results from n by n inputs, n = m + 2, with n²
multiplications instead of 9 m²::

    Y = Aᵀ [(G g Gᵀ) · (Bᵀ d B)] A          # · is element by element

(Winograd, Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms
for Convolutional Neural Networks, arXiv:1509.09308.) A form is interpolation through
points 0, ±p, … and infinity. Which ones is a matter of rounding alone: with 5/8 and 3/2
F(4, 3) errs four times less than with the usual 1 and 2 (Barabasz et al., Error Analysis
and Improving the Accuracy of Winograd Convolution for Deep Neural Networks,
arXiv:1803.10986), and their squares are exact in binary, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import NamedTuple

from runtime_ep_cpu.codegen.builder import Function, Val
from runtime_ep_cpu.codegen.microkernel import multiply_add
from runtime_ep_cpu.codegen.order import after
from runtime_ep_cpu.codegen.target import Target

FILTER = 3
"""Rows and columns of a filter."""

Row = Callable[[int], Val]
"""Gives a value of a row when it is needed, so that few are in registers."""


def rows_of(
    f: Function,
    target: Target,
    count: int,
    column: Callable[[int, Val], Sequence[Val]],
    place: Val,
) -> list[Row]:
    """Return so many rows of a square whose columns are made when first needed.

    ``column`` makes one by its number out of what is read from a ``place``, on which each
    waits for the one before.
    """
    made: dict[int, Sequence[Val]] = {}

    def value(row: int, k: int) -> Val:
        nonlocal place
        if k not in made:
            made[k] = column(k, place)
            place = after(f, target, place, *made[k])
        return made[k][row]

    return [partial(value, row) for row in range(count)]


class Form(NamedTuple):
    """F(m, 3), by its positive points; the order of places is 0, p, -p, …, infinity."""

    points: tuple[float, ...]

    @property
    def size(self) -> int:
        """Results of a tile along an axis: m."""
        return 2 * len(self.points)

    @property
    def span(self) -> int:
        """Inputs of a tile along an axis: n."""
        return self.size + FILTER - 1

    @property
    def places(self) -> int:
        """Products of a tile: n²."""
        return self.span**2

    @property
    def input_groups(self) -> tuple[tuple[int, ...], ...]:
        """Places that are computed together: pairs of points share their terms."""
        pairs = ((1 + 2 * i, 2 + 2 * i) for i in range(len(self.points)))
        return ((0,), (self.span - 1,), *pairs)

    @property
    def output_groups(self) -> tuple[tuple[int, ...], ...]:
        """Results that are computed together: even ones from sums, odd ones from
        differences."""
        return tuple(range(0, self.size, 2)), tuple(range(1, self.size, 2))

    def filter_row(self, place: int) -> tuple[float, ...]:
        """Return a row of G, in double precision."""
        if place == self.span - 1:
            return (0.0,) * (FILTER - 1) + (1.0,)
        points = [0.0, *(sign * p for p in self.points for sign in (1, -1))]
        point = points.pop(place)
        scale = prod(point - other for other in points)
        return tuple(point**power / scale for power in range(FILTER))

    def input_places(
        self, f: Function, target: Target, row: Row, group: Sequence[int]
    ) -> list[Val]:
        """Return some places of Bᵀ d for a row d of n values."""
        if group == (0,):
            return [self._polynomial(f, target, row, self.points, 0)]
        if group == (self.span - 1,):
            return [self._polynomial(f, target, row, self.points, 1)]
        point = self.points[group[0] // 2]
        others = [p for p in self.points if p != point]
        even = self._polynomial(f, target, row, others, 2)
        odd = self._polynomial(f, target, row, others, 1)
        if point == 1.0:
            return [even + odd, even - odd]
        plus, minus = (f.value(sign * point, even.type) for sign in (1, -1))
        return [multiply_add(f, target, factor, odd, even) for factor in (plus, minus)]

    @staticmethod
    def _polynomial(
        f: Function, target: Target, row: Row, points: Sequence[float], first: int
    ) -> Val:
        """Return Π (x² - p²) with values in the place of powers: 1, x², … from a first."""
        factors = [1.0]
        for point in points:
            shifted = [0.0, *factors]
            kept = [-point * point * factor for factor in factors]
            factors = [a + b for a, b in zip(shifted, [*kept, 0.0], strict=True)]
        total = row(first + 2 * (len(factors) - 1))
        for power in reversed(range(len(factors) - 1)):
            value = row(first + 2 * power)
            if factors[power] == -1.0:
                total = total - value
            else:
                factor = f.value(factors[power], value.type)
                total = multiply_add(f, target, factor, value, total)
        return total

    def output_places(
        self, f: Function, target: Target, row: Row, group: Sequence[int]
    ) -> list[Val]:
        """Return some results of Aᵀ m for a row m of n values."""
        odd = group[0] % 2
        terms = []
        for index in range(len(self.points)):
            plus, minus = row(1 + 2 * index), row(2 + 2 * index)
            terms.append(plus - minus if odd else plus + minus)
        found = []
        for power in group:
            total = None
            if power == 0:
                total = row(0)
            elif power == self.size - 1:
                total = row(self.span - 1)
            for point, term in zip(self.points, terms, strict=True):
                factor = f.value(point**power, term.type)
                if total is None:
                    total = term if point**power == 1.0 else factor * term
                elif point**power == 1.0:
                    total = total + term
                else:
                    total = multiply_add(f, target, factor, term, total)
            if total is None:
                raise ValueError("a form has points")
            found.append(total)
        return found


FORMS = {2: Form((1.0,)), 4: Form((0.625, 1.5))}
"""By the size of a tile.

The greatest error, relative to the greatest result, of random layers with 64 to 512
channels is 0.3e-6 to 1.2e-6 for 2 and 1.4e-6 to 4.4e-6 for 4; a sum from end to end has
0.5e-6 to 2.3e-6.
"""
