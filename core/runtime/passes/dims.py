"""Arithmetic on dims: integers, symbols and expressions such as ``2*seq + 1``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

Element = int | str
"""An integer known exactly, or the canonical spelling of an expression over symbols."""

Dims = tuple[Element | None, ...]
"""A shape, or the elements of an integer tensor that shapes are made of."""

END = 2**31 - 1
"""Ends of slices from here on mean "to the last element"."""

_Poly = dict[tuple[str, ...], int]
_LIMIT = 8
_TOKEN = re.compile(r"\s*(\d+|[A-Za-z_][\w.]*|//|[-+*(),])")
_HYPHEN = re.compile(r"\w-|\d[A-Za-z_]")
_NAME = re.compile(r"[A-Za-z_][\w.]*")


def canonical(dim: Element | None) -> Element | None:
    """Return the one spelling of a dim under which equal expressions are equal."""
    return dim if dim is None or isinstance(dim, int) else _canonical(dim)


@lru_cache(4096)
def _canonical(dim: str) -> Element:
    return _format(_parse(dim))


@lru_cache(8192)
def add(a: Element | None, b: Element | None) -> Element | None:
    """Return ``a + b``; ``None`` stands for an unknown number here and below."""
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a + b
    return _bounded(_sum(_terms(a), _terms(b)))


@lru_cache(8192)
def subtract(a: Element | None, b: Element | None) -> Element | None:
    """Return ``a - b``."""
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a - b
    return _bounded(_sum(_terms(a), {key: -n for key, n in _terms(b).items()}))


@lru_cache(8192)
def multiply(a: Element | None, b: Element | None) -> Element | None:
    """Return ``a * b``."""
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    result: _Poly = {}
    for left, n in _terms(a).items():
        for right, m in _terms(b).items():
            key = tuple(sorted(left + right))
            result[key] = result.get(key, 0) + n * m
    return _bounded(result)


@lru_cache(8192)
def divide(a: Element | None, b: Element | None) -> Element | None:
    """Return ``a / b``, rounded down where ``b`` is a number, else where exact."""
    if a is None or b is None or b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    exact = _quotient(_terms(a), _terms(b))
    if exact is not None and multiply(_bounded(exact), b) == canonical(a):
        return _bounded(exact)
    if not isinstance(b, int) or b < 0 or isinstance(a, int):
        return None
    return f"{a}//{b}" if _NAME.fullmatch(a) else f"({a})//{b}"


def _quotient(above: _Poly, below: _Poly) -> _Poly | None:
    """Divide every term by the only one below, or else the leading terms."""
    (parts, m) = _leading(below)
    terms = above if len(below) == 1 else dict([_leading(above)])
    result: _Poly = {}
    for key, count in terms.items():
        rest = _without(key, parts)
        if rest is None or count % m:
            return None
        result[rest] = count // m
    return result


def product(dims: Dims) -> Element | None:
    """Return the product of all dims."""
    total: Element | None = 1
    for dim in dims:
        total = multiply(total, dim)
    return total


@lru_cache(8192)
def minimum(a: Element | None, b: Element | None) -> Element | None:
    """Return the smaller of two sizes, as ``Min(a, b)`` where that is open."""
    if a is None or b is None:
        return None
    if at_most(a, b):
        return a
    if at_most(b, a):
        return b
    low, high = sorted((a, b), key=lambda dim: (isinstance(dim, str), str(dim)))
    return f"Min({low}, {high})"


def at_most(a: Element | None, b: Element | None) -> bool:
    """Whether ``a <= b`` whatever sizes the symbols stand for."""
    return not_negative(subtract(b, a))


def not_negative(a: Element | None) -> bool:
    """Whether an expression cannot be negative, since no symbol is."""
    if isinstance(a, str):
        return all(count > 0 for count in _terms(a).values())
    return a is not None and a >= 0


def bounded_by(a: Element | None, b: Element | None) -> bool:
    """Whether ``a`` is a minimum of ``b`` and something else, not itself 1."""
    if not isinstance(a, str) or b is None or not a.startswith("Min("):
        return False
    if not _is_atom(a):
        return False
    parts = [_format(part) for part in _Parser(_TOKEN.findall(a)).arguments()]
    return b in parts and 1 not in parts


def broadcast(shapes: Sequence[Dims | None]) -> Dims | None:
    """Return the shape that shapes broadcast to, ``None`` where a rank is unknown."""
    first = shapes[0]
    if shapes.count(first) == len(shapes):
        return first
    known = [shape for shape in shapes if shape is not None]
    if len(known) < len(shapes):
        return None
    rank = max(map(len, known))
    padded = [(1,) * (rank - len(shape)) + shape for shape in known]
    result = padded[0]
    for other in padded[1:]:
        result = tuple(joined(a, b) for a, b in zip(result, other, strict=True))
    return result


def joined(a: Element | None, b: Element | None) -> Element | None:
    """Return the dim that two dims broadcast to."""
    if a == b or b == 1:
        return a
    if a == 1:
        return b
    if isinstance(a, int) or bounded_by(b, a):
        return a
    if isinstance(b, int) or bounded_by(a, b):
        return b
    return None


def agreed(column: Iterable[Element | None]) -> Element | None:
    """Return the most certain of dims that must be equal."""
    best: Element | None = None
    for dim in column:
        if isinstance(dim, int):
            return dim
        best = best or dim
    return best


def sliced(
    size: Element | None, start: Element | None, end: Element | None, step: int
) -> Element | None:
    """Return how many elements a slice of a dim has, in symbols."""
    if isinstance(start, int) and isinstance(end, int) and isinstance(size, int):
        return len(range(size)[start:end:step]) if step else None
    if step != 1 or size is None or start is None or end is None:
        return None
    if isinstance(end, int):
        end = size if end >= END else add(size, end) if end < 0 else end
    if isinstance(start, int) and start < 0:
        return minimum(-start, size) if end == size else None
    length = subtract(end, start)
    if not not_negative(length) or not not_negative(start):
        return None
    return minimum(length, subtract(size, start))


def _bounded(terms: _Poly) -> Element | None:
    terms = {key: count for key, count in terms.items() if count}
    return _format(terms) if len(terms) <= _LIMIT else None


def _terms(dim: Element) -> _Poly:
    if isinstance(dim, int):
        return {(): dim} if dim else {}
    return _parse(dim)


def _spelled(dim: Element | None) -> _Poly:
    """Return the terms of a result of this module, whose own words are symbols."""
    if dim is None:
        raise ValueError("an expression too long to follow")
    return {(dim,): 1} if isinstance(dim, str) and _is_atom(dim) else _terms(dim)


def _is_atom(text: str) -> bool:
    """Whether a spelling is one name, one whole quotient, or one minimum."""
    head, found, divisor = text.rpartition("//")
    if found and divisor.isdigit():
        inner = head
    else:
        inner = text.removeprefix("Min")
    if _NAME.fullmatch(inner):
        return True
    depth = 0
    for place, letter in enumerate(inner):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return letter == ")" and place == len(inner) - 1
    return False


def _sum(a: _Poly, b: _Poly) -> _Poly:
    result = dict(a)
    for key, count in b.items():
        result[key] = result.get(key, 0) + count
    return result


def _leading(terms: _Poly) -> tuple[tuple[str, ...], int]:
    return max(terms.items(), key=lambda item: (len(item[0]), item[0]), default=((), 0))


def _without(
    factors: tuple[str, ...], parts: tuple[str, ...]
) -> tuple[str, ...] | None:
    rest = list(factors)
    for part in parts:
        if part not in rest:
            return None
        rest.remove(part)
    return tuple(rest)


def _format(terms: _Poly) -> Element:
    if not any(terms):
        return terms.get((), 0)
    if len(terms) == 1:
        ((key, count),) = terms.items()
        if count == 1 and len(key) == 1:
            return key[0]
    order = sorted(terms, key=lambda key: (terms[key] < 0, not key, key))
    text = ""
    for key in order:
        count = abs(terms[key])
        words = ([str(count)] if count != 1 or not key else []) + list(key)
        sign = ("-" if not text else " - ") if terms[key] < 0 else " + " if text else ""
        text += sign + "*".join(words)
    return text


@lru_cache(4096)
def _parse(text: str) -> _Poly:
    """Read an expression; whatever is none is a symbol as a whole."""
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text.replace(" ", "") or _HYPHEN.search(text):
        return {(text,): 1}
    try:
        return _Parser(tokens).all()
    except (IndexError, ValueError):
        return {(text,): 1}


class _Parser:
    """Recursive descent over sums, products, whole quotients and minima."""

    def __init__(self, tokens: list[str]) -> None:
        self._tokens = [*tokens, ""]
        self._place = 0

    def all(self) -> _Poly:
        """Read everything; raise ``ValueError`` where that is no expression."""
        result = self._sum()
        self._expect("")
        return result

    def arguments(self) -> list[_Poly]:
        """Read what a minimum is taken of."""
        self._expect("Min")
        self._expect("(")
        parts = [self._sum()]
        while self._tokens[self._place] == ",":
            self._next()
            parts.append(self._sum())
        self._expect(")")
        return parts

    def _next(self) -> str:
        self._place += 1
        return self._tokens[self._place - 1]

    def _expect(self, token: str) -> None:
        if self._next() != token:
            raise ValueError(f"{token!r} expected")

    def _sum(self) -> _Poly:
        result = self._product()
        while self._tokens[self._place] in ("+", "-"):
            sign = 1 if self._next() == "+" else -1
            term = self._product()
            result = _sum(result, {key: sign * n for key, n in term.items()})
        return {key: n for key, n in result.items() if n}

    def _product(self) -> _Poly:
        result = self._factor()
        while self._tokens[self._place] in ("*", "//"):
            combine = multiply if self._next() == "*" else divide
            result = _spelled(combine(_format(result), _format(self._factor())))
        return result

    def _factor(self) -> _Poly:
        token = self._tokens[self._place]
        if token == "Min" and self._tokens[self._place + 1] == "(":
            smallest: Element | None = None
            for part in self.arguments():
                dim = _format(part)
                smallest = dim if smallest is None else minimum(smallest, dim)
            return _spelled(smallest)
        self._next()
        if token == "-":
            return {key: -n for key, n in self._factor().items()}
        if token == "(":
            inner = self._sum()
            self._expect(")")
            return inner
        if token.isdigit():
            return _terms(int(token))
        if not _NAME.fullmatch(token):
            raise ValueError(f"{token!r} is no dim")
        return {(token,): 1}
