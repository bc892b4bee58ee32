"""Remove entries from the compile cache."""

from __future__ import annotations

import contextlib
from argparse import ArgumentParser, Namespace

from runtime.cli.arguments import add_output, amount
from runtime.cli.cache.folder import add_directory
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

ABOUT = """Remove entries by key (or its beginning), those not used for some days, or all.
Nothing is lost: what is needed again is compiled again."""
EXAMPLES = """  runtime cache rm 4f3a 91
  runtime cache rm --older-than 30
  runtime cache rm --all"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "keys", nargs="*", metavar="KEY", help="a key, or how it begins"
    )
    group = parser.add_argument_group("which")
    group.add_argument("--all", action="store_true", help="every entry")
    group.add_argument(
        "--older-than",
        type=amount,
        metavar="DAYS",
        help="the entries not used for so many days",
    )
    add_directory(parser)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Remove what is asked for and tell how much that was."""
    from runtime.cli.cache.folder import cache_of, entries_of, told

    ways = [bool(args.keys), args.all, args.older_than is not None]
    if sum(ways) != 1:
        raise Stop("say which entries: keys, --older-than DAYS, or --all")
    found = entries_of(cache_of(args))
    chosen = [
        entry
        for entry in found
        if args.all
        or (args.older_than is not None and entry.age >= args.older_than)
        or any(entry.key.startswith(key) for key in args.keys)
    ]
    for key in args.keys:
        if not any(entry.key.startswith(key) for entry in found):
            raise Stop(f"no entry begins with {key!r}; runtime cache ls lists them")
    for entry in chosen:
        for path in (entry.path, entry.path.with_suffix(".lock")):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    console.line(f"removed {told(chosen)}")
    console.result(
        {
            "removed": [entry.key for entry in chosen],
            "bytes": sum(entry.size for entry in chosen),
        }
    )
    return Exit.OK
