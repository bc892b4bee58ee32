"""What is known of values: shapes in symbols, and the integers shapes are made of."""

from __future__ import annotations

from functools import lru_cache

from runtime.graph import Tensor, Value
from runtime.passes.dims import Element, canonical
from runtime.valuetypes import Shape, TensorType

Content = tuple[Element | None, ...]
"""The elements of a small integer tensor of rank 0 or 1, ``None`` where unknown."""

LARGEST = 64
"""Elements up to which the contents of an integer tensor are followed."""

INTEGERS = frozenset((6, 7, 9))
"""int32, int64 and bool: the element types whose contents are followed."""


_ANONYMOUS = frozenset(("?", "*", "-1", "none", "unk", "unknown", "dynamic", "any"))
"""Symbols that some exporters write for every dim they do not know."""


class Facts:
    """Shapes and contents by value; declared types count until more is known.

    Symbols mean the same size wherever they stand, which holds within one run of the
    main graph; the inputs of bodies, which may change from one iteration to the next,
    have no known symbols.
    """

    __slots__ = ("_contents", "_shapes")

    def __init__(self) -> None:
        self._shapes: dict[Value, Shape | None] = {}
        self._contents: dict[Value, Content | None] = {}

    def shape(self, value: Value | None) -> Shape | None:
        """Return a value's shape in canonical dims, or ``None``."""
        if value is None:
            return None
        try:
            return self._shapes[value]
        except KeyError:
            pass
        found = self._shapes[value] = _declared(value)
        return found

    def learn(self, value: Value, shape: Shape | None) -> None:
        """Note an inferred shape; the declared one fills in what it leaves open."""
        if shape is None:
            shape = _declared(value)
        elif None in shape:
            declared = _declared(value)
            if declared is not None and len(declared) == len(shape):
                shape = tuple(
                    b if a is None else a for a, b in zip(shape, declared, strict=True)
                )
        self._shapes[value] = shape

    def forget_symbols(self, value: Value) -> None:
        """Keep only the numbers in a value's shape: its symbols are another scope's."""
        shape = self.shape(value)
        if shape is not None:
            self._shapes[value] = tuple(
                dim if isinstance(dim, int) else None for dim in shape
            )

    def rank(self, value: Value | None) -> int | None:
        """Return a value's number of dims, or ``None``."""
        shape = self.shape(value)
        return None if shape is None else len(shape)

    def content(self, value: Value | None) -> Content | None:
        """Return the elements of a small integer tensor of rank 0 or 1, or ``None``."""
        if value is None:
            return None
        try:
            return self._contents[value]
        except KeyError:
            pass
        found = self._contents[value] = _constant(value)
        return found

    def set_content(self, value: Value, content: Content) -> None:
        """Note what a value holds."""
        self._contents[value] = content

    def integers(self, value: Value | None) -> tuple[int, ...] | None:
        """Return the content of a value all of whose elements are numbers."""
        content = self.content(value)
        if content is None or not all(isinstance(item, int) for item in content):
            return None
        return content  # type: ignore[return-value]


def _declared(value: Value) -> Shape | None:
    kind = value.type
    if not isinstance(kind, TensorType) or kind.shape is None:
        return None
    return _canonical(kind.shape)


@lru_cache(4096)
def _canonical(shape: Shape) -> Shape:
    return tuple(
        None if str(dim).lower() in _ANONYMOUS else canonical(dim) for dim in shape
    )


def _constant(value: Value) -> Content | None:
    const = value.const
    if not isinstance(const, Tensor) or value.overridable:
        return None
    if const.dtype not in INTEGERS or len(const.shape) > 1 or const.size > LARGEST:
        return None
    return tuple(int(item) for item in const.numpy().reshape(-1))
