"""A second array library: NumPy's arithmetic behind a type that NumPy cannot read.

It stands for CuPy. Its arrays refuse to become NumPy arrays unless asked by ``get``, and
its functions refuse NumPy arrays, but for scalars: a kernel that mixes both fails.
"""

from __future__ import annotations

import types
from typing import Any

import numpy as np


class ndarray:  # noqa: N801 - the name that CuPy gives it
    """An array of this library; ``held`` is NumPy's."""

    __array_ufunc__ = None
    __hash__ = None

    def __init__(self, held: np.ndarray) -> None:
        self.held = held

    def __array__(self, *args: Any, **named: Any) -> Any:
        raise TypeError("an array of the device is read as NumPy's without get()")

    def __array_function__(self, function: Any, *rest: Any) -> Any:
        raise TypeError(f"NumPy's {function.__name__} is given an array of the device")

    def get(self) -> np.ndarray:
        """Return a copy on the host."""
        return self.held.copy()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("held", "ctypes", "data"):
            raise AttributeError(name)
        found = getattr(self.held, name)
        return _function(found) if callable(found) else _wrapped(found)

    def __len__(self) -> int:
        return len(self.held)

    def __iter__(self) -> Any:
        return map(_wrapped, self.held)

    def __getitem__(self, index: Any) -> Any:
        return _wrapped(self.held[_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self.held[_index(index)] = _own(value)

    def __bool__(self) -> bool:
        return bool(self.held)

    def __int__(self) -> int:
        return int(self.held)

    def __float__(self) -> float:
        return float(self.held)

    def __index__(self) -> int:
        return self.held.__index__()


def _operator(name: str) -> Any:
    def run(self: ndarray, *others: Any) -> Any:
        result = getattr(self.held, name)(*map(_own, others))
        if result is self.held:
            return self
        return result if result is NotImplemented else _wrapped(result)

    return run


_BINARY = [
    "add",
    "sub",
    "mul",
    "truediv",
    "floordiv",
    "mod",
    "pow",
    "matmul",
    "and",
    "or",
    "xor",
    "lshift",
    "rshift",
]
for _name in [
    *(f"__{side}{name}__" for name in _BINARY for side in ("", "r", "i")),
    *(
        f"__{name}__"
        for name in ["eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "abs", "invert"]
    ),
]:
    setattr(ndarray, _name, _operator(_name))


def _wrapped(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return ndarray(np.asarray(value))
    if type(value) in (tuple, list):
        return type(value)(map(_wrapped, value))
    return value


def _own(value: Any) -> Any:
    """Return what NumPy computes with; refuse NumPy's own arrays but scalars."""
    if isinstance(value, ndarray):
        return value.held
    if isinstance(value, np.ndarray) and value.ndim and value.size:
        raise TypeError(f"a NumPy array of shape {value.shape} is given to the device")
    if type(value) in (tuple, list):
        return type(value)(map(_own, value))
    return value


def _index(index: Any) -> Any:
    return tuple(map(_own, index)) if isinstance(index, tuple) else _own(index)


def _function(function: Any, makes: bool = False) -> Any:
    def run(*args: Any, **named: Any) -> Any:
        own = (lambda value: value) if makes else _own
        args = [a.held if isinstance(a, ndarray) else own(a) for a in args]
        named = {
            key: v.held if isinstance(v, ndarray) else own(v)
            for key, v in named.items()
        }
        return _wrapped(function(*args, **named))

    return run


class _Namespace(types.ModuleType):
    """The library: NumPy's names, their functions over the device's arrays."""

    def __init__(self, name: str, source: Any) -> None:
        super().__init__(name)
        self._source = source
        self.ndarray = ndarray

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._source, name)
        if isinstance(found, types.ModuleType):
            return _Namespace(name, found)
        if isinstance(found, np.ufunc):
            return _ufunc(found)
        if isinstance(found, type) or not callable(found):
            return found
        return _function(found, makes=name in ("array", "asarray", "ascontiguousarray"))


def _ufunc(found: np.ufunc) -> Any:
    run = _function(found)
    for name in ("at", "reduce", "accumulate", "outer", "reduceat"):
        setattr(run, name, _function(getattr(found, name)))
    return run


cupy = _Namespace("cupy", np)


def to_device(value: Any) -> Any:
    """Return an array, or a list of them, of the device; text stays on the host."""
    if isinstance(value, list):
        return [to_device(item) for item in value]
    if isinstance(value, np.ndarray) and value.dtype.kind not in "OSU":
        return ndarray(value.copy())
    return value


def to_host(value: Any) -> Any:
    """Return the NumPy arrays behind a result."""
    if isinstance(value, list):
        return [to_host(item) for item in value]
    return value.held if isinstance(value, ndarray) else value
