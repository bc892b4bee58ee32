"""Builds the command's parser out of one module per verb."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any, NoReturn

from runtime.cli import (
    bench,
    cache,
    compare,
    compile,
    demo,
    doctor,
    ep,
    inspect,
    profile,
    run,
)
from runtime.cli.exits import Exit
from runtime.version import __version__

VERBS = (run, inspect, compare, bench, profile, compile, cache, doctor, ep, demo)
"""One module per verb; one with `VERBS` of its own is a noun that groups them."""

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
    _add(made, VERBS)
    return made


def _add(parser: ArgumentParser, modules: Sequence[ModuleType], noun: str = "") -> None:
    """Add a parser for each module, and those of a noun below it."""
    group: Any = parser.add_subparsers(
        title="verbs", metavar="VERB", dest="name", required=True
    )
    for module in modules:
        word = _word(module)
        name = f"{noun} {word}".strip()
        made = group.add_parser(
            word,
            help=(module.__doc__ or "").splitlines()[0].rstrip("."),
            description=module.ABOUT,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=RawDescriptionHelpFormatter,
        )
        if hasattr(module, "VERBS"):
            _add(made, module.VERBS, name)
        else:
            module.add_arguments(made)
            made.set_defaults(verb=module.run, name=name)


def every_verb(
    modules: Sequence[ModuleType] = VERBS, noun: str = ""
) -> Iterator[tuple[str, ModuleType]]:
    """Yield each verb's name, a noun's before it, and the module that holds it."""
    for module in modules:
        name = f"{noun} {_word(module)}".strip()
        if hasattr(module, "VERBS"):
            yield from every_verb(module.VERBS, name)
        else:
            yield name, module


def _word(module: ModuleType) -> str:
    return module.__name__.rpartition(".")[2]


def exit_codes() -> str:
    """Return what each exit code means, a line each."""
    lines = [f"  {code:d}  {code.meaning}" for code in Exit]
    return "\n".join(["exit codes:", *lines])
