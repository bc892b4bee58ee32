"""Windows that slide over images: where a thread's one begins, and a loop over its taps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import NamedTuple, Protocol

from runtime_ep_cuda.codegen.draft import Draft
from runtime_ep_cuda.codegen.places import Walk
from runtime_ep_cuda.tensor import Tensor

MOST_UNROLLED = 32
"""Windows of more taps are not written out tap by tap."""


class Window(Protocol):
    """What slides, along each axis of the image; the result's shape tells how far."""

    @property
    def kernel(self) -> tuple[int, ...]: ...
    @property
    def strides(self) -> tuple[int, ...]: ...
    @property
    def dilations(self) -> tuple[int, ...]: ...
    @property
    def pads_begin(self) -> tuple[int, ...]: ...
    @property
    def pads_end(self) -> tuple[int, ...]: ...


class Slide(NamedTuple):
    """A window as numbers, one for each axis of the image."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads_begin: tuple[int, ...]
    pads_end: tuple[int, ...]

    @classmethod
    def of(
        cls,
        kernel: Sequence[int],
        strides: Sequence[int] = (),
        dilations: Sequence[int] = (),
        pads: Sequence[int] = (),
    ) -> Slide:
        """Return a window by ONNX's attributes, those that are absent at their default."""
        rank = len(kernel)
        ones, zeros = (1,) * rank, (0,) * (2 * rank)
        around = tuple(pads) or zeros
        return cls(
            tuple(kernel), tuple(strides) or ones, tuple(dilations) or ones,
            around[:rank], around[rank:],
        )  # fmt: skip


def is_short(window: Window) -> bool:
    """Whether a window's taps are written out."""
    return prod(window.kernel) <= MOST_UNROLLED


def without_image(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Return x as it is walked by a result of some shape: not along the image."""
    strides = (*x.strides[:2], *(0,) * (x.rank - 2))
    return Tensor(x.buffer, x.dtype, tuple(shape), strides, x.offset)


def begin(walk: Walk, x: Tensor, window: Window) -> None:
    """Append where a thread's window begins: ``w0``, ``w1``, … of each image axis."""
    draft = walk.draft
    for n, (step, pad) in enumerate(
        zip(window.strides, window.pads_begin, strict=True)
    ):
        draft.offset(f"n{n}", x.shape[n + 2])
        draft.offset(f"xs{n}", x.strides[n + 2])
        text = f"{walk.at(n + 2)} * {draft.offset(f'by{n}', step)}"
        draft.line(f"const offset w{n} = {text} - {draft.offset(f'pad{n}', pad)};")


def open_taps(draft: Draft, window: Window) -> None:
    """Append loops over the taps: ``j0``, … is the tap's place, ``inside`` whether it is.

    The place may be in the padding. `close_taps` ends the loops.
    """
    short = is_short(window)
    for n, (count, apart) in enumerate(
        zip(window.kernel, window.dilations, strict=True)
    ):
        limit = str(count) if short else draft.number("i32", f"taps{n}", count)
        further = draft.offset(f"apart{n}", apart)
        draft.line(
            *(["#pragma unroll"] if short else []),
            f"for (int t{n} = 0; t{n} < {limit}; ++t{n}) {{",
            f"const offset j{n} = w{n} + t{n} * {further};",
        )
    tests = (f"j{n} >= 0 && j{n} < n{n}" for n in range(len(window.kernel)))
    draft.line(f"const bool inside = {' && '.join(tests)};")


def close_taps(draft: Draft, window: Window) -> None:
    """Append the ends of the loops of `open_taps`."""
    draft.line(*("}" for _ in window.kernel))


def image_offset(window: Window) -> str:
    """Return the offset of a tap within the image."""
    return " + ".join(f"j{n} * xs{n}" for n in range(len(window.kernel)))


def label(window: Window) -> str:
    """Return what a kernel's name says of a window."""
    if is_short(window):
        return "x".join(map(str, window.kernel))
    return f"{len(window.kernel)}d"
