"""Compares outputs with what they should be, within tolerances that fit their type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

TOLERANCES = {
    "float64": 1e-6,
    "complex128": 1e-6,
    "float32": 1e-4,
    "complex64": 1e-4,
    "float16": 1e-2,
    "bfloat16": 4e-2,
    "float8_e4m3fn": 0.13,
    "float8_e4m3fnuz": 0.13,
    "float8_e5m2": 0.26,
    "float8_e5m2fnuz": 0.26,
}
"""Absolute and relative tolerance by element type; every other type must be equal."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far one output is from what it should be.

    ``outside`` is the fraction of elements beyond ``atol + rtol · |expected|``, and
    ``first_bad`` the index of the first with its two values.
    """

    name: str
    dtype: str
    ok: bool
    reason: str = ""
    atol: float = 0.0
    rtol: float = 0.0
    max_abs: float = 0.0
    max_rel: float = 0.0
    cosine: float = 1.0
    outside: float = 0.0
    first_bad: tuple[tuple[int, ...], str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """When two values count as equal; ``None`` leaves it to the element type."""

    atol: float | None = None
    rtol: float | None = None
    equal_nan: bool = False

    def of(self, dtype: str) -> tuple[float, float]:
        """Return the absolute and the relative tolerance for an element type."""
        default = TOLERANCES.get(dtype, 0.0)
        return (
            default if self.atol is None else self.atol,
            default if self.rtol is None else self.rtol,
        )


def agree(
    found: Mapping[str, Any], expected: Mapping[str, Any], tolerance: Tolerance
) -> list[Agreement]:
    """Compare every expected output, sequences and maps element by element."""
    results = []
    for name, want in expected.items():
        if name not in found:
            reason = "there is no such output"
            results.append(Agreement(name, "", False, reason))
        else:
            results += _values(name, found[name], want, tolerance)
    return results


def _values(name: str, found: Any, want: Any, tolerance: Tolerance) -> list[Agreement]:
    if want is None or found is None:
        same = want is None and found is None
        reason = "" if same else f"expected {_kind(want)}, found {_kind(found)}"
        return [Agreement(name, "none", same, reason)]
    if isinstance(want, dict) or isinstance(found, dict):
        pairs = _keyed(want, found)
    elif isinstance(want, (list, tuple)) or isinstance(found, (list, tuple)):
        pairs = _listed(want, found)
    else:
        return [_arrays(name, np.asarray(found), np.asarray(want), tolerance)]
    if pairs is None:
        reason = f"expected {_kind(want)}, found {_kind(found)}"
        return [Agreement(name, _kind(want), False, reason)]
    return [
        one
        for key, mine, theirs in pairs
        for one in _values(f"{name}[{key}]", mine, theirs, tolerance)
    ]


def _keyed(want: Any, found: Any) -> list[tuple[Any, Any, Any]] | None:
    if not isinstance(want, dict) or not isinstance(found, dict) or {*want} != {*found}:
        return None
    return [(repr(key), found[key], want[key]) for key in want]


def _listed(want: Any, found: Any) -> list[tuple[Any, Any, Any]] | None:
    lists = isinstance(want, (list, tuple)) and isinstance(found, (list, tuple))
    if not lists or len(want) != len(found):
        return None
    return list(zip(range(len(want)), found, want, strict=True))


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return f"a sequence of {len(value)}"
    if isinstance(value, dict):
        return f"a map of {len(value)}"
    return "nothing" if value is None else f"a {type(value).__name__}"


def _arrays(name: str, found: Any, want: Any, tolerance: Tolerance) -> Agreement:
    text = want.dtype.kind in "OUST"
    dtype = "string" if text else want.dtype.name
    if text != (found.dtype.kind in "OUST") or (not text and found.dtype != want.dtype):
        reason = f"expected {dtype}, found {found.dtype.name}"
        return Agreement(name, dtype, False, reason)
    if found.shape != want.shape:
        reason = f"expected shape {list(want.shape)}, found {list(found.shape)}"
        return Agreement(name, dtype, False, reason)
    if text:
        bad = np.asarray(found.astype(object) != want.astype(object), bool)
        return _judged(name, dtype, bad, found, want)
    return _numbers(name, found, want, tolerance)


def _numbers(name: str, found: Any, want: Any, tolerance: Tolerance) -> Agreement:
    atol, rtol = tolerance.of(want.dtype.name)
    exact = not atol and not rtol
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    a, b = found.astype(wide), want.astype(wide)
    with np.errstate(all="ignore"):
        gap = np.abs(a - b)
        close = np.isfinite(gap) & (gap <= atol + rtol * np.abs(b))
        same = (found == want) if exact else close | (a == b)
        if tolerance.equal_nan:
            same |= np.isnan(a) & np.isnan(b)
        finite = np.isfinite(gap)
        relative = gap[finite] / np.maximum(
            np.abs(b[finite]), np.finfo(np.float64).tiny
        )
        relative = relative[gap[finite] > 0]
        cosine = _cosine(a, b)
    measures = {
        "max_abs": _largest(gap[finite], bool((~same & ~finite).any())),
        "max_rel": _largest(relative, bool((~same & ~finite).any())),
        "cosine": cosine,
    }
    return _judged(name, want.dtype.name, ~same, found, want, (atol, rtol), **measures)


def _largest(values: Any, unbounded: bool) -> float:
    return float("inf") if unbounded else float(values.max(initial=0.0))


def _cosine(a: Any, b: Any) -> float:
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    if not norms:
        return 1.0 if np.array_equal(a, b) else 0.0
    return float(np.real(np.vdot(a, b))) / norms


def _judged(
    name: str,
    dtype: str,
    bad: Any,
    found: Any,
    want: Any,
    limits: tuple[float, float] = (0.0, 0.0),
    **measures: float,
) -> Agreement:
    """Return the verdict, with the first element that is not as expected."""
    first, reason = None, ""
    if bad.any():
        index = tuple(int(i) for i in np.argwhere(bad)[0])
        first = (index, str(found[index]), str(want[index]))
        reason = f"{int(bad.sum()):,} of {bad.size:,} elements differ"
    outside = float(bad.mean()) if bad.size else 0.0
    return Agreement(
        name,
        dtype,
        not reason,
        reason,
        *limits,
        outside=outside,
        first_bad=first,
        **measures,
    )


def table(results: list[Agreement]) -> list[list[str]]:
    """Return a row for each output, as `COLUMNS` titles them."""
    return [
        [
            one.name,
            one.dtype,
            "ok" if one.ok else "differs",
            f"{one.max_abs:.3g}",
            f"{one.max_rel:.3g}",
            f"{one.cosine:.6f}",
            f"{one.outside:.2%}",
            _first(one),
        ]
        for one in results
    ]


COLUMNS = (
    "Output",
    "Type",
    "",
    "Max abs#",
    "Max rel#",
    "Cosine#",
    "Outside#",
    "First bad",
)


def _first(one: Agreement) -> str:
    if one.first_bad is None:
        return one.reason
    index, found, want = one.first_bad
    return f"{list(index)}: {found}, expected {want}"
