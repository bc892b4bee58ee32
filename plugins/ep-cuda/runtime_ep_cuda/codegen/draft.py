"""Kernels in the making: parameters with the arguments of one launch, and the text."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

from runtime_ep_cuda.codegen.elements import element
from runtime_ep_cuda.codegen.indices import magic
from runtime_ep_cuda.codegen.kernel import Kernel, Launch
from runtime_ep_cuda.tensor import Tensor

C_TYPES = {
    "i32": "int", "u32": "rt_u32", "i64": "rt_i64", "u64": "rt_u64", "f32": "float",
    "f64": "double",
}  # fmt: skip


class Draft:
    """Collects a kernel's parameters and lines; `launch` makes both of them.

    ``narrow`` tells that 32 bits hold indices: then they are of type ``rt_u32`` and
    offsets ``int``, otherwise both are ``rt_i64``. They are called ``index`` and
    ``offset`` in the text.
    """

    def __init__(self, narrow: bool = True) -> None:
        self.narrow = narrow
        self.lines: list[str] = []
        self._declared: list[str] = []
        self._kinds: list[str] = []
        self._arguments: list[Any] = []

    def reads(self, name: str, tensor: Tensor) -> str:
        """Add a tensor that is only read."""
        memory = element(tensor.dtype).memory
        return self._add(
            "pointer", f"const {memory}* __restrict__ {name}", name, tensor
        )

    def writes(self, name: str, tensor: Tensor) -> str:
        """Add a tensor that is written, and perhaps read."""
        memory = element(tensor.dtype).memory
        return self._add("pointer", f"{memory}* __restrict__ {name}", name, tensor)

    def number(self, kind: str, name: str, value: float) -> str:
        """Add a number; ``kind`` is a word of `kernel.ARGUMENTS`."""
        return self._add(kind, f"const {C_TYPES[kind]} {name}", name, value)

    def index(self, name: str, value: int) -> str:
        """Add a count: what an index can be."""
        return self.number("u32" if self.narrow else "i64", name, value)

    def offset(self, name: str, value: int) -> str:
        """Add a stride: what a count is multiplied with."""
        return self.number("i32" if self.narrow else "i64", name, value)

    def _add(self, kind: str, declared: str, name: str, value: Any) -> str:
        self._declared.append(declared)
        self._kinds.append(kind)
        self._arguments.append(value)
        return name

    def line(self, *lines: str) -> None:
        """Append lines to the text."""
        self.lines.extend(lines)

    def split(self, index: str, shape: Sequence[int], prefix: str) -> list[str]:
        """Take an index apart; return the names of the coordinates, outermost first.

        Lengths are parameters, called after the prefix.
        """
        names = [f"{prefix}{axis}" for axis in range(len(shape))]
        for axis in range(len(shape) - 1, 0, -1):
            rest = f"{prefix}r{axis}"
            self.divided(rest, index, f"{prefix}n{axis}", shape[axis])
            text = f"{index} - {rest} * {prefix}n{axis}"
            self.line(f"const offset {names[axis]} = offset({text});")
            index = rest
        self.line(f"const offset {names[0]} = offset({index});")
        return names

    def divided(self, name: str, index: str, divisor: str, value: int) -> None:
        """Append ``name = index / divisor``, the divisor a parameter of that name."""
        self.index(divisor, value)
        if not self.narrow:
            self.line(f"const index {name} = {index} / {divisor};")
            return
        multiplier, shift = magic(value)
        self.number("u32", f"{divisor}m", multiplier)
        self.number("u32", f"{divisor}s", shift)
        self.line(f"const index {name} = rt_over({index}, {divisor}m, {divisor}s);")

    def placed(
        self, name: str, coordinates: Sequence[str], strides: Sequence[int]
    ) -> None:
        """Append the offset ``name`` of coordinates; strides are parameters."""
        terms = [
            f"{coordinate} * {self.offset(f'{name}s{axis}', step)}"
            for axis, (coordinate, step) in enumerate(
                zip(coordinates, strides, strict=True)
            )
        ]
        self.line(f"const offset {name} = {' + '.join(terms) or '0'};")

    def thread(self, name: str, count: int, threads: int) -> None:
        """Append the thread's number ``name``; threads beyond ``count`` leave."""
        self.index("count", count)
        self.line(
            f"const index {name} = index(blockIdx.x) * {threads} + threadIdx.x;",
            f"if ({name} >= count) return;",
        )

    def launch(
        self,
        name: str,
        grid: int | tuple[int, int, int],
        threads: int = 256,
        shared: int = 0,
        spills: bool = False,
        resident: int = 0,
    ) -> Launch:
        """Return the launch; the kernel's name ends with a digest of its text.

        ``resident`` is how many blocks a multiprocessor shall have at once, by which
        registers are shared out; without it the assembler guesses, and may spill some.
        """
        index, offset = ("rt_u32", "int") if self.narrow else ("rt_i64", "rt_i64")
        body = _indented(
            (f"typedef {index} index; typedef {offset} offset;", *self.lines)
        )
        head = f"({', '.join(self._declared)})"
        bounds = f"{threads}, {resident}" if resident else str(threads)
        digest = hashlib.sha256(f"{bounds}{head}{body}".encode()).hexdigest()[:12]
        full = f"{name}{'' if self.narrow else '_wide'}_{digest}"
        text = (
            f'extern "C" __global__ void __launch_bounds__({bounds})\n'
            f"{full}{head} {{\n{body}\n}}\n"
        )
        kernel = Kernel(full, text, tuple(self._kinds), threads, spills)
        whole = (grid, 1, 1) if isinstance(grid, int) else grid
        return Launch(kernel, whole, (threads, 1, 1), tuple(self._arguments), shared)


def _indented(lines: Iterable[str]) -> str:
    """Return lines as text, indented by their braces."""
    depth, found = 1, []
    for line in lines:
        text = line.strip()
        inside = depth - (len(text) - len(text.lstrip("}")))
        found.append(text if text.startswith("#") else "  " * inside + text)
        depth += text.count("{") - text.count("}")
    return "\n".join(found)
