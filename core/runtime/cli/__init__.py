"""The command ``runtime``: run, inspect, compare and measure models from a shell."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from runtime.cli.console import Console, printable
from runtime.cli.exits import Exit, code_of, line_of
from runtime.cli.parser import parser

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code."""
    try:
        args = parser().parse_args(argv)
    except SystemExit as stop:
        return int(stop.code or 0)
    console = Console(args.json, args.quiet)
    try:
        code = _verb(args, console)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except KeyboardInterrupt:
        console.clear()
        return 130
    except Exception as error:
        if args.debug:
            raise
        return _failed(error, args, console)
    return int(code)


def _verb(args: Namespace, console: Console) -> int:
    """Call the verb with warnings shown as one line each, and logs only in debug."""
    import logging
    import warnings

    logger = logging.getLogger("runtime")
    handler = logging.StreamHandler() if args.debug else logging.NullHandler()
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    with warnings.catch_warnings():
        warnings.simplefilter("default")

        def show(message: Warning | str, *rest: Any, **more: Any) -> None:
            console.warn(" ".join(str(message).split()))

        warnings.showwarning = show
        try:
            return int(args.verb(args, console))
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate


def _failed(error: Exception, args: Namespace, console: Console) -> int:
    code, told = code_of(error), line_of(error)
    console.clear()
    unforeseen = code == Exit.INTERNAL and not hasattr(error, "detail")
    hint = " (--debug shows where)" if unforeseen else ""
    print(f"runtime {args.name}: {printable(told)}{hint}", file=sys.stderr)
    console.result({"error": {"kind": type(error).__name__, "message": told}})
    return int(code)
