"""RE2's syntax, read strictly and written anew for Python's ``re``.

Only whether a whole text matches is asked, which makes greed and captures irrelevant.
Every construct is rewritten so that no flag of ``re`` is needed and none of its
differences (Unicode classes, ``$`` before a newline, ``{,n}``) shows. What RE2 does not
have, look-around and back-references among it, is an error as it is there; so are the
two things it has and ``re`` cannot say: scripts (``\\p{Greek}``) and bytes (``\\C``).
"""

from __future__ import annotations

import re
import sys
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

Ranges = tuple[tuple[int, int], ...]
Part = tuple[Ranges, bool]
"""Characters of a class, and whether all others are meant."""

LARGEST_REPEAT = 1000
REPETITION = re.compile(r"[*+?]|\{(\d+)(,(\d*))?\}", re.ASCII)
FLAGS = re.compile(r"\(\?([imsU]*)(?:-([imsU]+))?\)")
GROUP = re.compile(r"P?<(\w+)>|([imsU]*)(?:-([imsU]+))?:", re.ASCII)
POSIX_NAME = re.compile(r"\[:(\^?)(\w+):\]", re.ASCII)
OCTAL = re.compile("0[0-7]{0,2}|[1-7][0-7]{1,2}")
HEXADECIMAL = re.compile(r"x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]+)\})")

_DIGIT: Ranges = ((0x30, 0x39),)
_UPPER: Ranges = ((0x41, 0x5A),)
_LOWER: Ranges = ((0x61, 0x7A),)
_LETTER = _UPPER + _LOWER
_WORD = (*_DIGIT, *_LETTER, (0x5F, 0x5F))
PERL = {
    "d": _DIGIT,
    "w": _WORD,
    "s": ((0x09, 0x0A), (0x0C, 0x0D), (0x20, 0x20)),
}
POSIX: dict[str, Ranges] = {
    "alnum": _DIGIT + _LETTER,
    "alpha": _LETTER,
    "ascii": ((0x00, 0x7F),),
    "blank": ((0x09, 0x09), (0x20, 0x20)),
    "cntrl": ((0x00, 0x1F), (0x7F, 0x7F)),
    "digit": _DIGIT,
    "graph": ((0x21, 0x7E),),
    "lower": _LOWER,
    "print": ((0x20, 0x7E),),
    "punct": ((0x21, 0x2F), (0x3A, 0x40), (0x5B, 0x60), (0x7B, 0x7E)),
    "space": ((0x09, 0x0D), (0x20, 0x20)),
    "upper": _UPPER,
    "word": _WORD,
    "xdigit": (*_DIGIT, (0x41, 0x46), (0x61, 0x66)),
}
ESCAPES = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}


@lru_cache(maxsize=256)
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern of ``re`` that fully matches what RE2 fully matches."""
    return re.compile(_Reader(pattern).read())


@lru_cache(maxsize=64)
def _category(name: str) -> Ranges:
    """Return the code points of a Unicode general category such as ``Lu`` or ``N``."""
    ranges: list[tuple[int, int]] = []
    start = None
    for code in range(sys.maxunicode + 2):
        found = unicodedata.category(chr(code)) if code <= sys.maxunicode else ""
        inside = found.startswith(name) and found != "Cn"
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append((start, code - 1))
            start = None
    return tuple(ranges)


@dataclass(frozen=True)
class _Flags:
    """What ``i``, ``m`` and ``s`` say; ``U`` swaps greed, which matters not here."""

    fold: bool = False
    lines: bool = False
    dots: bool = False

    def changed(self, on: str, off: str) -> _Flags:
        """Return the flags after letters that set and letters that clear."""

        def value(letter: str, old: bool) -> bool:
            return letter not in off and (letter in on or old)

        return _Flags(
            value("i", self.fold), value("m", self.lines), value("s", self.dots)
        )


class _Reader:
    """Reads one pattern from left to right and returns its translation."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.place = 0

    def read(self) -> str:
        """Return the whole pattern, translated."""
        result = self._alternatives(_Flags(), nested=False)
        return f"(?:{result})"

    def _fail(self, what: str) -> ValueError:
        return ValueError(f"the pattern {self.pattern!r} cannot be used: {what}")

    def _ahead(self, text: str) -> bool:
        return self.pattern.startswith(text, self.place)

    def _taken(self, text: str) -> bool:
        found = self._ahead(text)
        self.place += len(text) * found
        return found

    def _next(self) -> str:
        if self.place >= len(self.pattern):
            raise self._fail("it ends too early")
        self.place += 1
        return self.pattern[self.place - 1]

    def _alternatives(self, flags: _Flags, nested: bool) -> str:
        """Read up to the closing parenthesis or the end; flags hold until there."""
        parts: list[str] = []
        repeatable = False
        while self.place < len(self.pattern):
            if self._ahead(")"):
                if not nested:
                    raise self._fail("a parenthesis is closed but not opened")
                break
            if self._taken("|"):
                parts.append("|")
                repeatable = False
            elif count := self._repetition():
                if not repeatable:
                    raise self._fail(f"nothing that {count} could repeat")
                parts[-1] += count
                repeatable = False
            elif (changed := self._flags(flags)) is not None:
                flags = changed
                if parts and parts[-1] != "|":
                    parts[-1], repeatable = f"(?:{parts[-1]})", True
            elif atoms := self._atoms(flags):
                parts += atoms
                repeatable = True
        return "".join(parts)

    def _repetition(self) -> str:
        """Read a repetition, lazy or not; a brace that is none is a literal."""
        found = REPETITION.match(self.pattern, self.place)
        if found is None:
            return ""
        bounds = [int(n) for n in (found[1], found[3]) if n]
        if max(bounds, default=0) > LARGEST_REPEAT or bounds != sorted(bounds):
            raise self._fail(f"the repetition {found[0]} is out of range")
        self.place = found.end()
        self._taken("?")
        return found[0]

    def _flags(self, flags: _Flags) -> _Flags | None:
        """Read a group such as ``(?i)`` that changes flags for what follows."""
        found = FLAGS.match(self.pattern, self.place)
        if found is None:
            return None
        self.place = found.end()
        return flags.changed(found[1], found[2] or "")

    def _atoms(self, flags: _Flags) -> list[str]:
        """Read what a repetition may follow; of a quoted text, its last character."""
        if self._taken("("):
            return [self._group(flags)]
        if self._taken("["):
            return [self._class(flags)]
        if self._taken(r"\Q"):
            end = self.pattern.find(r"\E", self.place)
            end = len(self.pattern) if end < 0 else end
            text = self.pattern[self.place : end]
            self.place = min(end + 2, len(self.pattern))
            return [_written([_only(ord(c))], flags) for c in text]
        if self._taken("\\"):
            return [self._escape(flags)]
        character = self._next()
        if character == ".":
            return ["(?s:.)" if flags.dots else r"[^\n]"]
        if character == "^":
            return ["(?m:^)" if flags.lines else r"(?:\A)"]
        if character == "$":
            return ["(?m:$)" if flags.lines else r"(?:\Z)"]
        return [_written([_only(ord(character))], flags)]

    def _group(self, flags: _Flags) -> str:
        """Read a group after its parenthesis; none captures in the translation."""
        if self._taken("?"):
            opened = GROUP.match(self.pattern, self.place)
            if opened is None:
                raise self._fail("RE2 has no group of this kind")
            self.place = opened.end()
            if not opened[1]:
                flags = flags.changed(opened[2] or "", opened[3] or "")
        inside = self._alternatives(flags, nested=True)
        if not self._taken(")"):
            raise self._fail("a parenthesis is opened but not closed")
        return f"(?:{inside})"

    def _escape(self, flags: _Flags) -> str:
        """Read an escape outside of brackets after its backslash."""
        fixed = {
            "A": r"(?:\A)",
            "z": r"(?:\Z)",
            "b": r"(?:(?a:\b))",
            "B": r"(?:(?!(?a:\b)))",
        }
        for letter, written in fixed.items():
            if self._taken(letter):
                return written
        return _written([self._named() or _only(self._code())], flags)

    def _named(self) -> Part | None:
        r"""Read ``\d``, ``\pL``, ``\p{Lu}`` and the like after the backslash."""
        letter = self.pattern[self.place : self.place + 1]
        if letter and letter in "dwsDWS":
            self.place += 1
            return PERL[letter.lower()], letter.isupper()
        if not letter or letter not in "pP":
            return None
        self.place += 1
        name = self._next()
        if name == "{":
            end = self.pattern.find("}", self.place)
            if end < 0:
                raise self._fail("a class name has no end")
            name, self.place = self.pattern[self.place : end], end + 1
        negated = (letter == "P") != name.startswith("^")
        ranges = _unicode_class(name.removeprefix("^"))
        if not ranges:
            raise self._fail(f"the Unicode class {name!r} is not known here")
        return ranges, negated

    def _code(self) -> int:
        """Read an escaped character after its backslash."""
        octal = OCTAL.match(self.pattern, self.place)
        digits = HEXADECIMAL.match(self.pattern, self.place)
        if octal or digits:
            found = octal or digits
            self.place = found.end()
            code = int(octal[0], 8) if octal else int(digits[1] or digits[2], 16)
            if code > sys.maxunicode:
                raise self._fail(f"there is no character {code:#x}")
            return code
        character = self._next()
        if character in ESCAPES:
            return ESCAPES[character]
        if ord(character) < 128 and not character.isalnum():
            return ord(character)
        raise self._fail(f"it has no escape \\{character}")

    def _class(self, flags: _Flags) -> str:
        """Read a class in brackets after the opening one."""
        negated = self._taken("^")
        parts = [self._item()]
        while not self._ahead("]"):
            parts.append(self._item())
        self.place += 1
        return _written(parts, flags, negated)

    def _item(self) -> Part:
        """Read a character, a range or a named class between brackets."""
        named = POSIX_NAME.match(self.pattern, self.place)
        if named:
            if named[2] not in POSIX:
                raise self._fail(f"there is no class {named[0]}")
            self.place = named.end()
            return POSIX[named[2]], bool(named[1])
        low = self._bound()
        if not isinstance(low, int):
            return low
        rest = self.pattern[self.place : self.place + 2]
        if len(rest) < 2 or rest[0] != "-" or rest[1] == "]":
            return _only(low)
        self.place += 1
        high = self._bound()
        if not isinstance(high, int) or high < low:
            raise self._fail("a range of characters has no end after its beginning")
        return ((low, high),), False

    def _bound(self) -> int | Part:
        if not self._taken("\\"):
            return ord(self._next())
        return self._named() or self._code()


def _unicode_class(name: str) -> Ranges:
    """Return a Unicode general category, or all characters for ``Any``."""
    if name == "Any":
        return ((0, sys.maxunicode),)
    return _category(name) if re.fullmatch("[CLMNPSZ][a-z]?", name) else ()


def _only(code: int) -> Part:
    return ((code, code),), False


def _listed(ranges: Ranges) -> str:
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges)


def _written(parts: list[Part], flags: _Flags, negated: bool = False) -> str:
    """Return a class in the syntax of ``re``.

    Each part is folded before it is negated, so negations stay apart until then.
    """
    plain = "".join(_listed(ranges) for ranges, others in parts if not others)
    options = [f"[{plain}]"] if plain else []
    options += [f"[^{_listed(ranges)}]" for ranges, others in parts if others]
    text = "|".join(options)
    if negated:
        text = f"[^{plain}]" if options == [f"[{plain}]"] else f"(?!{text})(?s:.)"
    return f"(?i:{text})" if flags.fold else f"(?:{text})"
