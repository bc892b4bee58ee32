"""Show a model's inputs, outputs, operators and, if asked, who would run it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from collections import Counter
from typing import Any

from runtime.cli.arguments import add_dims, add_output, add_session
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

ABOUT = """Show a model's inputs, outputs, opsets, operators and metadata. With --placement
the model is also offered to the providers, without compiling or running anything."""
EXAMPLES = """  runtime inspect model.onnx
  runtime inspect model.onnx --placement -p tensorrt -p cuda
  runtime inspect model.onnx -p auto --save placement.html"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    add_session(parser)
    group = parser.add_argument_group("placement")
    group.add_argument(
        "--placement",
        action="store_true",
        help="show which provider would run which node",
    )
    group.add_argument(
        "--save",
        metavar="FILE",
        help="write the placement: .html is one page to open offline, .json, .txt",
    )
    add_dims(parser)
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Read the model and show it, then its placement if that was asked for."""
    from runtime.model import load
    from runtime.settings import Settings

    console.progress("reading the model")
    model = load(args.model, Settings())
    data = _facts(args.model, model)
    _show(console, data)
    if args.placement or args.save:
        placement = _place(args, console)
        data["placement"] = placement.to_dict()
    console.result(data)
    return Exit.OK


def _place(args: Namespace, console: Console) -> Any:
    from runtime.cli.sessions import open_session

    console.progress("offering the model to the providers")
    placement = open_session(args, dry_run=True).explain()
    console.line("placement, without compiling:")
    for line in str(placement).splitlines():
        console.line(f"  {line}")
    if args.save:
        try:
            placement.save(args.save)
        except OSError as error:
            raise Stop(f"{args.save} cannot be written: {error.strerror}") from error
        console.line(f"written to {args.save}")
    return placement


def _facts(path: str, model: Any) -> dict[str, Any]:
    graph = model.graph
    nodes = list(_nodes(graph))
    named = Counter(_operator(node) for node in nodes)
    weights = list(graph.initializers.values())
    return {
        "model": path,
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "graph": graph.name,
        "description": model.doc_string,
        "opsets": {domain or "ai.onnx": v for domain, v in model.opsets.items()},
        "inputs": [_value(value) for value in graph.inputs if value.const is None],
        "outputs": [_value(value) for value in graph.outputs],
        "initializers": len(weights),
        "parameters": sum(value.const.size for value in weights if value.const),
        "weight_bytes": sum(_bytes(value) for value in weights),
        "nodes": len(nodes),
        "operators": dict(named.most_common()),
        "functions": len(model.functions),
        "metadata": dict(model.metadata),
    }


def _nodes(graph: Any) -> Any:
    for node in graph:
        yield node
        for _, body in node.bodies:
            yield from _nodes(body)


def _operator(node: Any) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _value(value: Any) -> dict[str, Any]:
    shape = getattr(value.type, "shape", None)
    return {
        "name": value.name,
        "type": str(value.type),
        "shape": None if shape is None else list(shape),
    }


def _bytes(value: Any) -> int:
    from runtime.valuetypes import nbytes

    return nbytes(value.const.dtype, value.const.shape) if value.const else 0


def _show(console: Console, data: dict[str, Any]) -> None:
    from runtime.pages import amount

    opsets = ", ".join(f"{name} {version}" for name, version in data["opsets"].items())
    console.line(data["model"])
    facts = [
        ("description", data["description"]),
        ("producer", data["producer"]),
        ("opsets", f"{opsets} (IR {data['ir_version']})"),
        (
            "weights",
            f"{data['parameters']:,} in {data['initializers']:,} initializers, "
            f"{amount(data['weight_bytes'])}",
        ),
        ("functions", data["functions"] or ""),
    ]
    console.table(("", ""), [fact for fact in facts if fact[1]])
    for title in ("inputs", "outputs"):
        console.line(f"{title}:")
        rows = [(v["name"], v["type"], _dims(v["shape"])) for v in data[title]]
        console.table(("", "", ""), rows)
    console.line(f"{data['nodes']:,} nodes:")
    counts = [(op, f"{count:,}") for op, count in data["operators"].items()]
    console.table(("", "#"), counts)
    if data["metadata"]:
        console.line("metadata:")
        pairs = data["metadata"].items()
        console.table(
            ("", ""), [(k, v if len(v) < 70 else f"{v[:69]}…") for k, v in pairs]
        )


def _dims(shape: list[Any] | None) -> str:
    if shape is None:
        return "any shape"
    return "×".join("?" if dim is None else str(dim) for dim in shape) or "scalar"
