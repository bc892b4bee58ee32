"""Compile models beforehand, so that their first session finds everything."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace

from runtime.cli.arguments import add_feeds, add_output, add_session
from runtime.cli.cache.folder import add_directory
from runtime.cli.console import Console
from runtime.cli.exits import Exit

ABOUT = """Make a session of the model and run it once, so that what its providers compile
is in the cache: for an image of a container, say. Tells how many entries are new."""
EXAMPLES = """  runtime cache warm model.onnx
  runtime cache warm model.onnx -p cpu:target=avx2 --dim batch=8"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    add_feeds(parser)
    add_directory(parser)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Make the session and run it once for each case of inputs."""
    from runtime.cli.cache.folder import cache_of, entries_of, told
    from runtime.cli.feeds import cases
    from runtime.cli.sessions import open_session

    cache = cache_of(args)
    before = {entry.key for entry in entries_of(cache)}
    if args.directory:
        args.config = [*args.config, ("session.cache_directory", args.directory)]
    console.progress("compiling")
    began = time.perf_counter()
    with open_session(args) as session:
        for case in cases(args, session):
            session.run(None, case.feeds)
    seconds = time.perf_counter() - began
    new = [entry for entry in entries_of(cache) if entry.key not in before]
    console.line(f"{told(new)} new, in {seconds:.1f} s, in {cache.directory}")
    console.result(
        {
            "directory": str(cache.directory),
            "new": [entry.key for entry in new],
            "bytes": sum(entry.size for entry in new),
            "seconds": seconds,
        }
    )
    return Exit.OK
