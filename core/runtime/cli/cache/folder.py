"""Which cache the command line means, and what its entries are."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DAY = 86400.0


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry's file: its size in bytes, and the days since it was used or written."""

    path: Path
    size: int
    age: float

    @property
    def key(self) -> str:
        """The entry's key."""
        return self.path.stem


def add_directory(parser: ArgumentParser) -> None:
    """Describe the argument that names the folder."""
    parser.add_argument(
        "--directory",
        default="",
        metavar="DIR",
        help="the cache's folder (default: RUNTIME_CACHE_DIR, else the user's)",
    )


def cache_of(args: Namespace) -> Any:
    """Return the cache meant."""
    from runtime.cache import CompileCache

    return CompileCache(args.directory)


def entries_of(cache: Any) -> list[Entry]:
    """Return a cache's entries, the latest used first."""
    now, found = time.time(), []
    for path in cache.entries():
        try:
            stat = path.stat()
        except FileNotFoundError:
            continue  # another process took it away meanwhile
        used = max(stat.st_mtime, stat.st_atime)
        found.append(Entry(path, stat.st_size, max(0.0, now - used) / DAY))
    return sorted(found, key=lambda entry: (entry.age, entry.key))


def told(entries: list[Entry]) -> str:
    """Return how many entries there are, and how large they are together."""
    from runtime.pages import amount

    word = "entry" if len(entries) == 1 else "entries"
    return f"{len(entries):,} {word}, {amount(sum(entry.size for entry in entries))}"
