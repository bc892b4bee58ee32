"""List execution providers: installed, usable or why not, and how to get others."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from typing import Any

from runtime.cli.arguments import add_output
from runtime.cli.console import Console
from runtime.cli.exits import Exit

ABOUT = """List the installed execution providers: version, devices, or why one cannot be
used and the remedy. No provider is loaded; each is asked once whether it could run."""
EXAMPLES = """  runtime ep list
  runtime ep list --all              # those onnxruntime knows, too, with install hints
  runtime ep list --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "--all",
        action="store_true",
        help="also list providers that are known by name but not installed",
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Ask every installed provider, and print the answers."""
    from runtime.api.known import elsewhere
    from runtime.cli.providers import describe
    from runtime.plugin import API_VERSION
    from runtime.providers import registry

    console.progress("asking the providers")
    found = [describe(entry) for entry in registry.all().values()]
    missing = [
        {"name": name, "reason": one.reason, "install": one.remedy}
        for name, one in elsewhere().items()
    ]
    columns = ("Provider", "Alias", "Version", "Usable", "Devices, or why not")
    console.table(columns, [_row(one) for one in found])
    if not found:
        console.line(
            "no provider is installed; install one: pip install runtime-ep-cpu"
        )
    if args.all:
        console.line("known by name, not installed:")
        rows = [(one["name"], one["reason"], one["install"]) for one in missing]
        console.table(("Provider", "Why", "How to get it"), rows)
    elif missing:
        console.line(
            f"{len(missing)} more are known by name and not installed (--all lists them)"
        )
    console.result(
        {
            "provider_api": "{}.{}".format(*API_VERSION),
            "installed": found,
            "not_installed": missing,
        }
    )
    return Exit.OK


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    told = ", ".join(one["devices"])
    if not one["usable"]:
        remedy = one["remedy"] or one["install"]
        told = f"{one['reason']}; {remedy}" if remedy else one["reason"]
    return (
        one["name"],
        ", ".join(one["aliases"]) or "-",
        one["version"] or "-",
        "yes" if one["usable"] else "NO",
        told,
    )
