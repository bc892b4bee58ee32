"""Say which providers are usable here, or why not and what to do about it."""

from __future__ import annotations

import time
from argparse import ArgumentParser, Namespace
from typing import TYPE_CHECKING, Any

from runtime.cli.arguments import add_output
from runtime.cli.console import Console
from runtime.cli.exits import Exit

if TYPE_CHECKING:
    from runtime.providers import Installed

ABOUT = """Check this installation: every installed provider (version, devices, or why it
cannot be used and the remedy), Python and libraries, CPU and threads, compile cache."""
EXAMPLES = """  runtime doctor
  runtime doctor --require cuda      # exit code 3 unless CUDA can be used
  runtime doctor --json"""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "--require",
        action="append",
        default=[],
        metavar="NAME",
        help="end with exit code 3 unless this provider is usable; repeat",
    )
    parser.add_argument(
        "--options", action="store_true", help="list each provider's options, too"
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Look at everything, print it, and judge what was required."""
    from runtime.cli import machine
    from runtime.plugin import API_VERSION
    from runtime.providers import registry
    from runtime.version import __version__

    required = _required(args.require)
    console.progress("asking the providers")
    found = [examine(entry) for entry in registry.all().values()]
    data: dict[str, Any] = {
        "runtime": __version__,
        "provider_api": ".".join(map(str, API_VERSION)),
        "providers": found,
        "python": machine.python(),
        "cpu": machine.processor(),
        "cache": machine.cache(),
        "environment": machine.variables(),
        "onnxruntime": machine.neighbours(),
    }
    problems = _missing(required, found)
    data |= {"required": required, "problems": problems, "ok": not problems}
    _show(console, data, args.options)
    for problem in problems:
        console.warn(problem)
    console.result(data)
    return Exit.PROVIDER if problems else Exit.OK


def _required(names: list[str]) -> list[str]:
    from runtime.cli.sessions import full_name

    return [full_name(name) for name in names]


def _missing(required: list[str], found: list[dict[str, Any]]) -> list[str]:
    """Return a line for each required provider that is not usable, or if none is."""
    from runtime.api.known import elsewhere

    known = {one["name"]: one for one in found}
    problems = []
    for name in required:
        one = known.get(name)
        if one is None:
            there = elsewhere()[name]
            problems.append(f"{name} is required, but {there.reason}; {there.remedy}")
        elif not one["usable"]:
            problems.append(f"{name} is required, but {one['reason']}; {one['remedy']}")
    if not any(one["usable"] for one in found):
        problems.append(
            "no provider is usable; install one: pip install runtime-ep-cpu"
        )
    return [problem.rstrip("; ") for problem in problems]


def examine(entry: Installed) -> dict[str, Any]:
    """Return what can be known of a provider: described, probed, and loaded if it can."""
    from runtime.cli.providers import describe

    found, seconds = describe(entry), 0.0
    if found["usable"]:
        began = time.perf_counter()
        try:
            provider = entry.load()
        except Exception as error:
            found["usable"] = False
            found["reason"] = f"it fails to load: {type(error).__name__}: {error}"
            install = found["install"]
            found["remedy"] = install and f"reinstall it: {install}"
            provider = None
        seconds = time.perf_counter() - began
        found["details"] |= details(provider)
    return {**found, "load_seconds": seconds}


def details(provider: object) -> dict[str, str]:
    """Return what a loaded provider tells of itself; empty without a ``details()``."""
    tell = getattr(provider, "details", None)
    if tell is None:
        return {}
    try:
        return dict(tell())
    except Exception as error:
        return {"details": f"cannot be told: {type(error).__name__}: {error}"}


def _show(console: Console, data: dict[str, Any], options: bool) -> None:
    console.line(f"runtime {data['runtime']}, provider API {data['provider_api']}")
    console.line("providers:")
    for one in data["providers"]:
        _show_provider(console, one, options)
    cpu, cache = data["cpu"], data["cache"]
    quota = f"{cpu['cgroup']:.3g} by cgroup" if cpu["cgroup"] else "no cgroup limit"
    state = "writable" if cache["writable"] else f"NOT WRITABLE, {cache['problem']}"
    rows = [
        *data["python"].items(),
        ("cpu", f"{cpu['name']} ({' '.join(cpu['features']) or 'features unknown'})"),
        (
            "threads",
            f"{cpu['usable']} to use: {cpu['threads']} seen, {cpu['allowed']} by "
            f"affinity, {quota}",
        ),
        ("cache", f"{cache['directory']}, {state}, {cache['bytes'] / 1e6:.1f} MB"),
        *data["environment"].items(),
    ]
    console.line("machine:")
    console.table(("", ""), rows)
    if not cache["writable"]:
        console.line(f"  to mend it: {cache['remedy']}")
    theirs = data["onnxruntime"]
    if theirs["installed"]:
        told = ", ".join(
            f"{name} {number}" for name, number in theirs["installed"].items()
        )
        console.line(f"also installed, not needed: {told}")
    if theirs["conflict"]:
        console.line(f"  note: {theirs['conflict']}")


def _show_provider(console: Console, one: dict[str, Any], options: bool) -> None:
    aliases = f" ({', '.join(one['aliases'])})" if one["aliases"] else ""
    state = "usable" if one["usable"] else "NOT USABLE"
    console.line(f"  {one['name']}{aliases}: {state}")
    rows = [("from", f"{one['distribution']} {one['version']}".strip())]
    if one["description"]:
        rows.append(("about", one["description"]))
    if one["usable"]:
        rows.append(("devices", ", ".join(one["devices"])))
    else:
        rows.append(("why", one["reason"]))
        if one["remedy"]:
            rows.append(("remedy", one["remedy"]))
    rows += one["details"].items()
    if options:
        rows += [
            (f"option {name}", f"{option['help']} (default: {option['default']!r})")
            for name, option in one["options"].items()
        ]
    console.table(("", ""), [(f"  {key}", value) for key, value in rows])
