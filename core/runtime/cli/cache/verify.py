"""Check that the entries of the compile cache are whole."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from runtime.cli.arguments import add_output
from runtime.cli.cache.folder import add_directory
from runtime.cli.console import Console
from runtime.cli.exits import Exit

ABOUT = """Read every entry and compare it with its checksum. A session does so too and
drops what is damaged; this tells beforehand. Exit code 1 where something is damaged."""
EXAMPLES = """  runtime cache verify
  runtime cache verify --remove"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "--remove", action="store_true", help="remove what is damaged, too"
    )
    add_directory(parser)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Check every entry."""
    from runtime.cache import verified
    from runtime.cli.cache.folder import cache_of, entries_of, told
    from runtime.errors import CacheError

    found, damaged = entries_of(cache_of(args)), {}
    for entry in found:
        try:
            verified(entry.path.read_bytes())
        except (CacheError, OSError) as error:
            damaged[entry.key] = str(error)
            if args.remove:
                entry.path.unlink(missing_ok=True)
    if damaged:
        console.table(("damaged entry", "why"), list(damaged.items()))
    console.line(f"{told(found)}: {len(damaged)} damaged")
    console.result({"checked": len(found), "damaged": damaged, "removed": args.remove})
    return Exit.CHECK_FAILED if damaged else Exit.OK
