"""List what the compile cache holds."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runtime.cli.arguments import add_output
from runtime.cli.cache.folder import add_directory
from runtime.cli.console import Console
from runtime.cli.exits import Exit

ABOUT = """List the entries of the compile cache with their sizes and the days since each
was used, the latest first, and what all of them take."""
EXAMPLES = """  runtime cache ls
  runtime cache ls --directory /var/cache/models --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_directory(parser)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """List the entries."""
    from runtime.cli.cache.folder import cache_of, entries_of, told
    from runtime.pages import amount

    cache = cache_of(args)
    found = entries_of(cache)
    rows = [(e.key, amount(e.size), f"{e.age:.1f}") for e in found]
    if rows:
        console.table(("entry", "size#", "days#"), rows)
    console.line(f"{told(found)}, in {cache.directory}")
    console.result(
        {
            "directory": str(cache.directory),
            "bytes": sum(entry.size for entry in found),
            "entries": [
                {"key": e.key, "bytes": e.size, "days": round(e.age, 3)} for e in found
            ],
        }
    )
    return Exit.OK
