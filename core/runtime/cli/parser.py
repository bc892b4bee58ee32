"""Builds the command's parser out of one module per verb."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any, NoReturn

from runtime.cli import bench, compare, demo, doctor, inspect, run
from runtime.cli.exits import Exit
from runtime.version import __version__

VERBS = (run, inspect, compare, bench, doctor, demo)
ABOUT = "Run, inspect, compare and measure ONNX models."


class _Parser(ArgumentParser):
    """Says what is wrong in one line, without repeating the usage."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message} (see {self.prog} --help)", file=sys.stderr)
        sys.exit(Exit.USAGE)


def parser() -> ArgumentParser:
    """Return the whole command's parser."""
    made = _Parser(
        prog="runtime",
        description=ABOUT,
        epilog=exit_codes(),
        formatter_class=RawDescriptionHelpFormatter,
    )
    made.add_argument("--version", action="version", version=f"runtime {__version__}")
    verbs: Any = made.add_subparsers(
        title="verbs", metavar="VERB", dest="name", required=True
    )
    for module in VERBS:
        name = module.__name__.rpartition(".")[2]
        about = (module.__doc__ or "").splitlines()[0]
        verb = verbs.add_parser(
            name,
            help=about.rstrip("."),
            description=module.ABOUT,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        module.add_arguments(verb)
        verb.set_defaults(verb=module.run)
    return made


def exit_codes() -> str:
    """Return what each exit code means, a line each."""
    lines = [f"  {code:d}  {code.meaning}" for code in Exit]
    return "\n".join(["exit codes:", *lines])
