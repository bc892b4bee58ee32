"""Sequences as Python lists, optionals as a value or ``None``."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from runtime.kernels import KernelTable

from runtime_ep_cpu.limits import check_size
from runtime_ep_cpu.namespace import namespace_of
from runtime_ep_cpu.ops._axes import axis_of, ints, scalar

table = KernelTable()


@table("SequenceConstruct", since=11, traits=("moves",))
def sequence_construct(*inputs):
    """SequenceConstruct: the inputs in order."""
    return list(inputs)


@table("SequenceEmpty", since=11, traits=("moves",))
def sequence_empty(*, dtype=None):
    """SequenceEmpty: the element type is known to the graph only."""
    return []


@table("SequenceLength", since=11, traits=("moves",))
def sequence_length(sequence, /):
    """SequenceLength: the number of elements."""
    return np.array(len(sequence), np.int64)


@table("SequenceAt", since=11, traits=("moves",))
def sequence_at(sequence, position, /):
    """SequenceAt: one element; a negative position counts from the back."""
    return sequence[_place(sequence, position, len(sequence))]


@table("SequenceInsert", since=11, traits=("moves",))
def sequence_insert(sequence, tensor, position=None, /):
    """SequenceInsert: before a position, by default at the end."""
    length = len(sequence)
    place = length if position is None else _place(sequence, position, length + 1)
    return [*sequence[:place], tensor, *sequence[place:]]


@table("SequenceErase", since=11, traits=("moves",))
def sequence_erase(sequence, position=None, /):
    """SequenceErase: all but one element, by default the last."""
    position = np.array(-1) if position is None else position
    place = _place(sequence, position, len(sequence))
    return [*sequence[:place], *sequence[place + 1 :]]


def _place(sequence: list[Any], position: Any, places: int) -> int:
    """Return a position counted from the front; there are this many legal ones."""
    place, length = int(scalar(position, "position")), len(sequence)
    if not -length <= place < places:
        raise IndexError(f"position {place} is outside a sequence of {length}")
    return place + length if place < 0 else place


@table("SplitToSequence", since=11, traits=("moves",))
def split_to_sequence(x, split=None, /, *, axis=0, keepdims=1):
    """SplitToSequence: single slices, parts of one length, or parts of given lengths.

    Without ``split``, keepdims=0 drops the axis; with it keepdims means nothing.
    """
    axis = axis_of(axis, x.ndim)
    before = (slice(None),) * axis
    whole = x.shape[axis]
    if split is None and not keepdims:
        check_size((whole,), "V100")
        return [x[(*before, index, ...)] for index in range(whole)]
    if split is None or split.ndim == 0:
        part = 1 if split is None else int(scalar(split, "split"))
        if part < 1:
            raise ValueError(f"parts of {part} elements are not possible")
        check_size((-(-whole // part),), "V100")  # so much an array object takes
        cuts = [*range(0, whole, part), whole]
    else:
        lengths = ints(split)
        if min(lengths, default=0) < 0 or sum(lengths) != whole:
            raise ValueError(f"the lengths {lengths} do not add up to {whole}")
        cuts = [0, *np.cumsum(lengths, dtype=np.int64).tolist()]
    return [x[(*before, slice(*ends))] for ends in pairwise(cuts)]


@table("ConcatFromSequence", since=11, traits=("moves",))
def concat_from_sequence(sequence, /, *, axis, new_axis=0):
    """ConcatFromSequence: join along an axis, or stack along a new one."""
    if not sequence:
        raise ValueError("an empty sequence cannot be concatenated")
    xp = namespace_of(*sequence)
    rank = sequence[0].ndim
    if new_axis:
        return xp.stack(sequence, axis=axis_of(axis, rank + 1))
    return xp.concatenate(sequence, axis=axis_of(axis, rank))


@table("Optional", since=15, traits=("moves",))
def optional(element=None, /, *, type=None):
    """Optional: the element, or nothing."""
    return element


@table("OptionalHasElement", since=15, traits=("moves",))
def optional_has_element_15(element, /):
    """OptionalHasElement before opset 18: the input must be given."""
    return np.array(element is not None)


@table("OptionalHasElement", since=18, traits=("moves",))
def optional_has_element(element=None, /):
    """OptionalHasElement: an absent input, too, has no element."""
    return np.array(element is not None)


@table("OptionalGetElement", since=15, traits=("moves",))
def optional_get_element(element, /):
    """OptionalGetElement: the element; tensors and sequences from opset 18."""
    if element is None:
        raise ValueError("the optional is empty: there is no element to get")
    return element
