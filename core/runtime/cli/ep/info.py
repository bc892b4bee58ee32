"""Describe one execution provider: version, API range, devices and options."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runtime.cli.arguments import add_output
from runtime.cli.console import Console
from runtime.cli.exits import Exit

ABOUT = """Describe an execution provider without loading it: where it comes from, the range
of provider API versions it is written for, its devices or why it has none, and every
option with type, default and meaning. Exit code 3 if it is not installed."""
EXAMPLES = """  runtime ep info cpu
  runtime ep info OpenVINOExecutionProvider --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument("provider", metavar="NAME", help="its name or alias, any case")
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Describe the provider from its own description and its probe."""
    from runtime.cli.providers import describe, installed
    from runtime.plugin import API_VERSION

    found = describe(installed(args.provider))
    _show(console, found, "{}.{}".format(*API_VERSION))
    console.result(found)
    return Exit.OK


def _show(console: Console, found: dict[str, Any], api: str) -> None:
    console.line(found["name"])
    low, high = found["api"]
    told = [
        ("aliases", ", ".join(found["aliases"])),
        ("about", found["description"]),
        ("vendor", found["vendor"]),
        ("from", f"{found['distribution']} {found['version']}".strip()),
        ("url", found["url"]),
        ("provider API", f"{low} to {high} (this runtime: {api})"),
        ("usable", "yes" if found["usable"] else f"NO, {found['reason']}"),
        ("remedy", found["remedy"]),
        ("devices", ", ".join(found["devices"])),
        ("install", found["install"]),
        *found["details"].items(),
    ]
    console.table(("", ""), [(key, value) for key, value in told if value])
    if not found["options"]:
        console.line("it has no options")
        return
    console.line("options:")
    rows = [
        (name, option["type"], repr(option["default"]), _meaning(option))
        for name, option in found["options"].items()
    ]
    console.table(("Option", "Type", "Default", "Meaning"), rows)


def _meaning(option: dict[str, Any]) -> str:
    old = ", ".join(f"{old} = {new}" for old, new in option["aliases"].items())
    return f"{option['help']} ({old})" if old else str(option["help"])
