"""Run the conformance kit against an execution provider."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from runtime.cli.arguments import Asked, add_output, provider
from runtime.cli.console import Console
from runtime.cli.exits import Exit, Stop

if TYPE_CHECKING:
    from runtime.providers import Installed

ABOUT = """Run the conformance kit, runtime.testing, against an installed execution provider
with the CPU behind it. A node the provider does not claim is skipped; one it claims and
gets wrong is a failure. Needs pytest and hypothesis. Exit code 1 if a test fails, 3 if
the provider is not usable."""
EXAMPLES = """  runtime ep test acme
  runtime ep test acme --xfails xfails.txt --junit-xml kit.xml
  runtime ep test acme:device_id=1 -k "contract and not memory" """.rstrip()

KIT = ("-p", "runtime.testing.plugin", "--pyargs", "runtime.testing")
_CODES = {0: Exit.OK, 1: Exit.CHECK_FAILED, 3: Exit.INTERNAL}
"""pytest's exit codes; any other means that it could not start as it was told to."""


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "provider",
        type=provider,
        metavar="NAME[:KEY=VALUE,...]",
        help="its name or alias, any case, with the options to test it with",
    )
    group = parser.add_argument_group("kit")
    group.add_argument(
        "-k", metavar="EXPRESSION", help="run only the tests whose names match"
    )
    group.add_argument(
        "--xfails",
        metavar="FILE",
        help="tests that are expected to fail, one to a line, with the reason",
    )
    group.add_argument(
        "--junit-xml", metavar="FILE", help="write the results for a CI server"
    )
    group.add_argument(
        "--capabilities",
        metavar="FILE",
        help="write as JSON which operators the provider claims and gets right",
    )
    group.add_argument(
        "--support-matrix",
        metavar="FILE",
        help="write the same as a Markdown page for your documentation",
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Check that the provider can run, then hand over to pytest in a new process."""
    entry = _usable(args.provider.name)
    _check_tools()
    if args.xfails and not Path(args.xfails).is_file():
        raise Stop(f"--xfails: there is no file {args.xfails}")
    with TemporaryDirectory() as folder:
        results = Path(args.junit_xml or f"{folder}/results.xml").resolve()
        command = [sys.executable, "-m", "pytest", *_arguments(args, entry, results)]
        done = subprocess.run(
            command,
            check=False,
            stdout=subprocess.PIPE if console.silent else None,
            text=True,
        )
        counts = _counts(results)
    code = _CODES.get(done.returncode, Exit.USAGE)
    if console.silent and code:
        print(done.stdout, end="", file=sys.stderr)
    data = {"provider": entry.name, "command": command, "ok": not code, **counts}
    console.result({**data, "pytest_exit_code": done.returncode})
    return code


def _usable(asked: str) -> Installed:
    """Return an installed, usable provider; `Stop` where it is not."""
    from runtime.cli.providers import describe, installed

    entry = installed(asked)
    found = describe(entry)
    if not found["usable"]:
        remedy = f"; {found['remedy']}" if found["remedy"] else ""
        told = f"{entry.name} is not usable: {found['reason']}{remedy}"
        raise Stop(told, Exit.PROVIDER)
    if entry.point is None:
        raise Stop(
            f"{entry.name} is registered in this process only, and the kit runs in "
            "another; install it, or call pytest yourself"
        )
    return entry


def _check_tools() -> None:
    missing = [name for name in ("pytest", "hypothesis") if find_spec(name) is None]
    if missing:
        told = " and ".join(missing)
        raise Stop(f"the kit needs {told}; pip install {' '.join(missing)}")


def _arguments(args: Namespace, entry: Installed, results: Path) -> list[str]:
    """Return what pytest is told; no configuration file nearby may change the kit."""
    given = [
        *KIT,
        "-c",
        os.devnull,
        f"--rootdir={Path.cwd()}",
        "-p",
        "no:cacheprovider",
    ]
    asked: Asked = args.provider
    given += ["--ep", entry.name]
    if "cpu" not in entry.info.aliases:
        given += ["--ep", "cpu"]
    given += [f"--ep-option={key}={value}" for key, value in asked.options.items()]
    given += [f"--junit-xml={results}"]
    if args.k:
        given += ["-k", args.k]
    for option in ("xfails", "capabilities", "support-matrix"):
        value = getattr(args, option.replace("-", "_"))
        if value:
            given += [f"--{option}", str(Path(value).resolve())]
    if args.quiet or args.json:
        given.append("-q")
    return given


def _counts(results: Path) -> dict[str, Any]:
    """Return how many tests came to what, from JUnit's file; nothing if there is none."""
    from xml.etree import ElementTree

    try:
        suite = ElementTree.parse(results).getroot().find("testsuite")
    except (OSError, ElementTree.ParseError):
        return {}
    if suite is None:
        return {}
    numbers = {
        key: int(suite.get(key, 0))
        for key in ("tests", "failures", "errors", "skipped")
    }
    failing = [
        str(case.get("name"))
        for case in suite.iter("testcase")
        if case.find("failure") is not None or case.find("error") is not None
    ]
    bad = numbers["failures"] + numbers["errors"] + numbers["skipped"]
    return {**numbers, "passed": numbers["tests"] - bad, "failing": failing}
