"""What verbs print: tables and lines, or one JSON object; progress on a terminal."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any


class Console:
    """Prints for people, or collects for ``--json``; standard error is for problems."""

    def __init__(self, as_json: bool = False, quiet: bool = False) -> None:
        self.as_json = as_json
        self.silent = as_json or quiet
        self.warnings: list[str] = []
        self._progress = 0

    def line(self, text: str = "") -> None:
        """Print a line for people."""
        if not self.silent:
            self.clear()
            print(printable(text))

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Print rows; a column whose title ends in ``#`` holds numbers."""
        if self.silent or not rows:
            return
        self.clear()
        cells = [[printable(str(cell)) for cell in row] for row in rows]
        if not _rich_table(columns, cells):
            print("\n".join(_plain_table(columns, cells)))

    def result(self, data: Mapping[str, Any]) -> None:
        """Print what a verb found, if JSON was asked for."""
        if self.as_json:
            self.clear()
            whole = {**data, "warnings": self.warnings} if self.warnings else data
            print(json.dumps(plain(whole), indent=2))

    def warn(self, text: str) -> None:
        """Tell a problem that does not end the verb."""
        self.warnings.append(text)
        self.clear()
        print(f"warning: {printable(text)}", file=sys.stderr)

    def progress(self, text: str) -> None:
        """Show what is being done, on a terminal only; the next print takes its place."""
        if self.silent or not sys.stderr.isatty():
            return
        self.clear()
        sys.stderr.write(text[:78])
        sys.stderr.flush()
        self._progress = len(text[:78])

    def clear(self) -> None:
        """Take the progress line away."""
        if self._progress:
            sys.stderr.write(f"\r{' ' * self._progress}\r")
            sys.stderr.flush()
            self._progress = 0


def printable(text: str) -> str:
    """Return text in which names from a model cannot steer the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def plain(data: Any) -> Any:
    """Return data that JSON can hold; a number that is not finite becomes ``null``."""
    if isinstance(data, Mapping):
        return {str(key): plain(value) for key, value in data.items()}
    if isinstance(data, (list, tuple, set, frozenset)):
        return [plain(value) for value in data]
    if isinstance(data, bool) or data is None or isinstance(data, (str, int)):
        return data
    if hasattr(data, "item") and getattr(data, "ndim", 0) == 0:
        return plain(data.item())
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    return plain(data.tolist()) if hasattr(data, "tolist") else str(data)


def _plain_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    titles = [title.rstrip("#") for title in columns]
    right = [title.endswith("#") for title in columns]
    table = [titles, *rows] if any(titles) else list(rows)
    widths = [max(len(row[at]) for row in table) for at in range(len(columns))]
    return [
        "  "
        + "  ".join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]


def _rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Print with rich, where it is installed and somebody looks; say whether it did."""
    if not sys.stdout.isatty() or os.environ.get("TERM") == "dumb":
        return False
    try:
        from rich.console import Console as RichConsole
        from rich.padding import Padding
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        return False
    titled = any(columns)
    table = Table(
        box=None, padding=(0, 2, 0, 0), header_style="bold", show_header=titled
    )
    for at, title in enumerate(columns):
        table.add_column(
            title.rstrip("#"),
            justify="right" if title.endswith("#") else "left",
            style="cyan" if at == 0 else None,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    screen = RichConsole(no_color=bool(os.environ.get("NO_COLOR")))
    screen.print(Padding(table, (0, 0, 0, 2)))
    return True
