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
_HYPHEN = re.compile(r"\w-|(?<![\w.])\d+[A-Za-z_]")
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
    return _bounded(_sum(_terms(a), _terms(b), -1))


@lru_cache(8192)
def multiply(a: Element | None, b: Element | None) -> Element | None:
    """Return ``a * b``."""
    if a is None or b is None:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a * b
    return _bounded(_times(_terms(a), _terms(b)))


@lru_cache(8192)
def divide(a: Element | None, b: Element | None) -> Element | None:
    """Return ``a / b``, rounded down where ``b`` is a number, else where exact."""
    if a is None or b is None or b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    quotient = _over(_terms(a), _terms(b))
    return None if quotient is None else _bounded(quotient)


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
    return _bounded(_smaller(_terms(a), _terms(b)))


def at_most(a: Element | None, b: Element | None) -> bool:
    """Whether ``a <= b`` whatever sizes the symbols stand for."""
    return not_negative(subtract(b, a))


def not_negative(a: Element | None) -> bool:
    """Whether an expression cannot be negative, since no symbol is."""
    return a is not None and all(count > 0 for count in _terms(a).values())


def bounded_by(a: Element | None, b: Element | None) -> bool:
    """Whether ``a`` is a minimum of ``b`` and something else, not itself 1."""
    if not isinstance(a, str) or b is None or not a.startswith("Min("):
        return False
    try:
        parts = [_format(part) for part in _Parser(_TOKEN.findall(a)).arguments(True)]
    except (IndexError, ValueError):
        return False
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


def _sum(a: _Poly, b: _Poly, sign: int = 1) -> _Poly:
    result = dict(a)
    for key, count in b.items():
        result[key] = result.get(key, 0) + sign * count
    return {key: count for key, count in result.items() if count}


def _times(a: _Poly, b: _Poly) -> _Poly:
    result: _Poly = {}
    for left, n in a.items():
        for right, m in b.items():
            key = tuple(sorted(left + right))
            result[key] = result.get(key, 0) + n * m
    return {key: count for key, count in result.items() if count}


def _over(above: _Poly, below: _Poly) -> _Poly | None:
    exact = _quotient(above, below)
    if exact is not None:
        return exact
    divisor = _format(below)
    if not isinstance(divisor, int) or divisor < 1:
        return None
    text = _format(above)
    if isinstance(text, int):
        text //= divisor
        return {(): text} if text else {}
    return {
        (f"{text}//{divisor}" if _NAME.fullmatch(text) else f"({text})//{divisor}",): 1
    }


def _quotient(above: _Poly, below: _Poly) -> _Poly | None:
    """Divide by leading terms until nothing, or no multiple of the divisor, is left."""
    result: _Poly = {}
    parts, m = _leading(below)
    for _ in range(2 * _LIMIT):
        if not above or not below:
            break
        key, count = _leading(above)
        rest = _without(key, parts)
        if rest is None or count % m:
            return None
        result = _sum(result, {rest: count // m})
        above = _sum(above, _times({rest: count // m}, below), -1)
    return result if below and not above else None


def _smaller(a: _Poly, b: _Poly) -> _Poly:
    for low, high in ((a, b), (b, a)):
        if all(count > 0 for count in _sum(high, low, -1).values()):
            return low
    texts = sorted(
        (_format(a), _format(b)), key=lambda dim: (isinstance(dim, str), str(dim))
    )
    return {(f"Min({texts[0]}, {texts[1]})",): 1}


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
        if len(words) > 1:
            words = [f"({word})" if "//" in word else word for word in words]
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

    def arguments(self, last: bool = False) -> list[_Poly]:
        """Read what a minimum is taken of; ``last`` says nothing may follow."""
        self._expect("Min")
        self._expect("(")
        parts = [self._sum()]
        while self._tokens[self._place] == ",":
            self._next()
            parts.append(self._sum())
        self._expect(")")
        if last:
            self._expect("")
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
            result = _sum(result, self._product(), sign)
        return result

    def _product(self) -> _Poly:
        result: _Poly | None = self._factor()
        while self._tokens[self._place] in ("*", "//") and result is not None:
            combine = _times if self._next() == "*" else _over
            result = combine(result, self._factor())
        if result is None:
            raise ValueError("not a whole quotient")
        return result

    def _factor(self) -> _Poly:
        token = self._tokens[self._place]
        if token == "Min" and self._tokens[self._place + 1] == "(":
            first, *rest = self.arguments()
            for part in rest:
                first = _smaller(first, part)
            return first
        self._next()
        if token == "-":
            return _sum({}, self._factor(), -1)
        if token == "(":
            inner = self._sum()
            self._expect(")")
            return inner
        if token.isdigit():
            return _terms(int(token))
        if not _NAME.fullmatch(token):
            raise ValueError(f"{token!r} is no dim")
        return {(token,): 1}
