"""Kernels and launches: what the generator makes, and what a plan calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from runtime_ep_cuda.tensor import Tensor

MOST_THREADS = 1024
"""Threads a block may have on every GPU there is."""

GRID = (2**31 - 1, 65535, 65535)
"""Blocks a grid may have along each axis on every GPU there is."""

ARGUMENTS = {
    "pointer": "Q", "i32": "i", "u32": "I", "i64": "q", "u64": "Q", "f32": "f", "f64": "d",
}  # fmt: skip
"""What a kernel's parameters may be, and how `struct` packs each."""


RANGES = {"i32": (-(2**31), 2**31 - 1), "u32": (0, 2**32 - 1)}
"""What numbers go into the parameters that larger ones could be meant for."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """One ``extern "C" __global__`` function.

    ``name`` is its coordinates, e.g. ``softmax_rows_f16_f32_256``: one name, one text.
    ``text`` is the function alone; `codegen.prelude` comes before it. ``parameters`` are
    words of `ARGUMENTS`, in order. ``threads`` is the block size it is compiled for;
    ``spills`` tells that registers may be spilled, which a kernel claims not to do.
    """

    name: str
    text: str
    parameters: tuple[str, ...]
    threads: int = 256
    spills: bool = False


@dataclass(frozen=True, slots=True)
class Launch:
    """One call of a kernel.

    Arguments of kind ``pointer`` are tensors, whose address is looked up when the plan
    has placed them; the others are Python numbers. ``shared`` is dynamic shared memory
    in bytes.
    """

    kernel: Kernel
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    arguments: tuple[Any, ...]
    shared: int = 0

    @property
    def is_possible(self) -> bool:
        """Whether GPUs launch so many blocks, and numbers fit into the parameters."""
        if any(not 1 <= n <= most for n, most in zip(self.grid, GRID, strict=True)):
            return False
        given = zip(self.kernel.parameters, self.arguments, strict=True)
        return all(
            RANGES[kind][0] <= number <= RANGES[kind][1]
            for kind, number in given
            if kind in RANGES
        )

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """The tensors read and written, in the order of the parameters."""
        return tuple(a for a in self.arguments if isinstance(a, Tensor))
