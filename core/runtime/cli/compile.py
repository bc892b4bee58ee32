"""Write a model as its providers compiled it."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from runtime.cli.arguments import add_output, add_session
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

ABOUT = """Compile the model for its providers and write it out. Partitions of providers
that can save what they compile become EPContext nodes; the rest is written simplified as
far as --opt says, and its compiled code is in the cache from then on."""
EXAMPLES = """  runtime compile model.onnx -p openvino
  runtime compile model.onnx -o compiled.onnx --opt basic --must"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    group = parser.add_argument_group("output")
    group.add_argument(
        "-o", "--output", metavar="FILE", help="default: <model>_ctx.onnx beside it"
    )
    group.add_argument(
        "--force", action="store_true", help="write over a file that is there"
    )
    group.add_argument(
        "--must",
        action="store_true",
        help="fail where no provider saves what it compiles",
    )
    group.add_argument(
        "--weights",
        metavar="FILE",
        help="write large initializers to this file beside it",
    )
    parser.set_defaults(dims=[], fix_dims=False)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Compile, write, and tell what became of the nodes."""
    import onnx

    import runtime as ort
    from runtime.cli.sessions import options_of, requests

    path = Path(args.model)
    output = (
        Path(args.output) if args.output else path.with_name(f"{path.stem}_ctx.onnx")
    )
    if output.exists() and not args.force:
        raise Stop(f"{output} exists; --force writes over it")
    flag = ort.OrtCompileApiFlags
    options = options_of(args)
    if args.strict:
        options.add_session_config_entry("session.strict", "1")
    asked = requests(args.providers)
    names = ort.get_available_providers() if asked == "auto" else asked or ()
    for each in names:
        name, given = (each, {}) if isinstance(each, str) else each
        options.add_provider(name, given)
    compiler = ort.ModelCompiler(
        options,
        args.model,
        external_initializers_file_path=args.weights,
        flags=flag.ERROR_IF_NO_NODES_COMPILED if args.must else flag.NONE,
        graph_optimization_level=options.graph_optimization_level,
    )
    console.progress("compiling")
    began = time.perf_counter()
    with _ahead(each if isinstance(each, str) else each[0] for each in names):
        compiler.compile_to_file(output)
    seconds = time.perf_counter() - began
    made = onnx.load(output, load_external_data=False)
    contexts = Counter(
        attribute.s.decode()
        for node in made.graph.node
        if node.op_type == "EPContext"
        for attribute in node.attribute
        if attribute.name == "source"
    )
    told = ", ".join(f"{count} by {name}" for name, count in contexts.items())
    console.line(f"written to {output} in {seconds:.1f} s")
    console.line(f"compiled partitions: {told or 'none'}")
    console.line(f"nodes: {len(made.graph.node):,}")
    console.result(
        {
            "output": str(output),
            "seconds": seconds,
            "nodes": len(made.graph.node),
            "compiled": dict(contexts),
        }
    )
    return Exit.OK


def _ahead(names: Iterable[str]) -> ExitStack:
    """Let providers compile that cannot run here, where they can; the others are told."""
    from runtime.abilities import CompilesAhead
    from runtime.providers import resolve

    entered = ExitStack()
    for name in names:
        entry = resolve(name)
        if entry is None or entry.probe().usable:
            continue
        try:
            provider = entry.load()
            if isinstance(provider, CompilesAhead):
                entered.enter_context(provider.compiling_ahead())
        except Exception:  # the session tells what is wrong with it
            continue
    return entered
