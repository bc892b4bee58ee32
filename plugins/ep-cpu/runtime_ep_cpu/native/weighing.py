"""Whether a packed matrix has rows and columns of similar norms, as Strassen's form asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.native.layout import Layout, of_array
from runtime_ep_cpu.native.planner import Argument, Planner

FARTHEST = 10.0
"""How many times the norm of one row the norm of another is in an even matrix, at most."""

Numbers = np.ndarray[Any, Any]


class Weighable:
    """A constant to be packed of which it may be asked whether it is even."""

    __slots__ = ()

    weighed: bool
    """Whether that is asked."""

    def weigh(self, planner: Planner, panels: Layout) -> Callable[[], bool]:
        """Add what weighs its panels to a plan; return what then tells if it is even."""
        raise NotImplementedError


def weigh(
    planner: Planner,
    spec: Spec,
    panels: Layout,
    sizes: tuple[int, int, int],
    columns: Callable[[Numbers], Numbers],
) -> Callable[[], bool]:
    """Add the sums of a matrix's squares to a plan; return what then tells if it is even.

    ``spec`` is a kernel of `strassen_rows.strassen_scales`; ``sizes`` are K, the number of
    panels and their width. ``columns`` takes those that there are from all that panels have.
    """
    k, count, width = sizes
    sums = np.empty(count * (k + width), np.float32)
    of_rows = of_array(sums)
    of_columns = of_rows.with_dims((count * width,), (1,), count * k)
    fields: list[Argument] = [panels, k, of_rows, of_columns]
    work = float(k) * count * width
    planner.step(spec, fields, count, [panels], [of_rows, of_columns], work=work)

    def is_even() -> bool:
        rows = sums[: count * k].reshape(count, k).sum(axis=0)
        return _is_even(rows) and _is_even(columns(sums[count * k :]))

    return is_even


def _is_even(squares: Numbers) -> bool:
    """Whether norms are similar, none of them is zero and all are finite."""
    least, most = float(squares.min()), float(squares.max())
    return least > 0 and most < np.inf and most <= least * FARTHEST**2
