"""Tests that are known to fail: a file of lines, each a glob, two spaces and a reason.

A test that passes all the same is a failure, unless the reason begins with ``random:``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


class BadLine(Exception):
    """A line that cannot be read; says which and what it should look like."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """One line: which tests, and why they fail.

    In a glob ``*`` stands for anything and ``?`` for one character; brackets are
    themselves. It names a test by its function, its case, or ``function[case]``.
    """

    glob: str
    reason: str
    line: int

    @property
    def by_chance(self) -> bool:
        """Whether the test may also pass: its reason begins with ``random:``."""
        return self.reason.startswith("random:")

    def matches(self, name: str) -> bool:
        """Whether a test of this name, ``function[case]``, is meant."""
        function, _, case = name.removesuffix("]").partition("[")
        pattern = re.escape(self.glob).replace(r"\*", ".*").replace(r"\?", ".")
        names = (name, function, case)
        return any(text and re.fullmatch(pattern, text) for text in names)


def read(path: str | Path) -> list[Expectation]:
    """Read a file; empty lines and lines that begin with ``#`` say nothing.

    Raises `BadLine` for a line without a reason, and ``OSError`` without a file.
    """
    found = []
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    for number, text in enumerate(lines, 1):
        if not text.strip() or text.startswith("#"):
            continue
        glob, separator, reason = text.partition("  # ")
        if not separator or not glob.strip() or not reason.strip():
            raise BadLine(
                f"{path}:{number}: expected 'GLOB  # REASON' (two spaces), found {text!r}"
            )
        found.append(Expectation(glob.strip(), reason.strip(), number))
    return found


def unmatched(
    expectations: Iterable[Expectation], names: Iterable[str]
) -> list[Expectation]:
    """Return the lines that mean no test at all."""
    known = list(names)
    return [e for e in expectations if not any(e.matches(name) for name in known)]
