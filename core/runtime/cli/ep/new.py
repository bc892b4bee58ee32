"""Write an installable project with a working execution provider in it."""

from __future__ import annotations

import keyword
import re
from argparse import ArgumentParser, Namespace
from difflib import get_close_matches
from pathlib import Path

from runtime.cli.arguments import add_output
from runtime.cli.console import Console
from runtime.cli.ep.scaffold import SUFFIX, Project, camel
from runtime.cli.exits import Exit, Stop

ABOUT = """Write an installable project: entry points, a provider in under 60 lines that runs
MatMul + Add + Relu on a simulated device with memory of its own, typed options, tests
that call the conformance kit, a CI workflow and a README. It passes its own tests as it
is; then put your device in the simulated one's place. Nothing is overwritten."""
EXAMPLES = """  runtime ep new acme
  runtime ep new acme --vendor "Acme Ltd" --directory ~/src/acme-ep
  runtime ep new acme --kernel-table   # one Python function per operator, on the host"""

RESERVED = frozenset({"auto", "host", "runtime"})
LONGEST = 30


def add_arguments(parser: ArgumentParser) -> None:
    """Describe the verb's arguments."""
    parser.add_argument(
        "provider",
        metavar="NAME",
        help="the short name, in lower case: acme becomes AcmeExecutionProvider",
    )
    group = parser.add_argument_group("project")
    group.add_argument(
        "--vendor", metavar="VENDOR", help="who makes it (default: from the name)"
    )
    group.add_argument(
        "--directory",
        metavar="FOLDER",
        help="where the project goes (default: runtime-ep-NAME here)",
    )
    group.add_argument(
        "--kernel-table",
        action="store_true",
        help="a provider made of a table of functions, without a device",
    )
    add_output(parser)


def run(args: Namespace, console: Console) -> Exit:
    """Check the name, write the project, and say what to do next."""
    _check_name(args.provider)
    _check_vendor(args.vendor)
    provider = _provider(args.provider, console)
    project = Project(args.provider, provider, args.vendor or "", args.kernel_table)
    folder = Path(args.directory or project.distribution).expanduser()
    files = project.files()
    _write(folder, files)
    console.line(f"{provider} is in {folder}:")
    for path in files:
        console.line(f"  {path}")
    console.line("try next:")
    console.line(f"  cd {folder} && pip install -e . && pytest")
    console.result(
        {
            "provider": provider,
            "distribution": project.distribution,
            "package": project.package,
            "directory": str(folder.resolve()),
            "files": list(files),
        }
    )
    return Exit.OK


def _check_name(name: str) -> None:
    """Refuse what cannot be part of a module's name, with the nearest that can."""
    problem = ""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        problem = "has to be letters, digits and single underscores, in lower case"
    elif len(name) > LONGEST:
        problem = f"is longer than {LONGEST} characters"
    elif keyword.iskeyword(name) or name in RESERVED:
        problem = "has a meaning already"
    if not problem:
        return
    near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_0123456789")[:LONGEST]
    near = near.removesuffix("_execution_provider").removesuffix("executionprovider")
    usable = near and near != name
    hint = f"; did you mean {near!r}?" if usable else "; choose another"
    raise Stop(f"{name!r} cannot be a provider's short name: it {problem}{hint}")


def _check_vendor(vendor: str | None) -> None:
    if vendor is not None and (not vendor.strip() or not vendor.isprintable()):
        raise Stop(f"--vendor: {vendor!r} is no name of a company or person")
    if vendor is not None and set(vendor) & set('"\\'):
        raise Stop(f"--vendor: {vendor!r} holds a quote or a backslash")


def _provider(name: str, console: Console) -> str:
    """Return a provider name nobody here has; one that onnxruntime knows is spelt so.

    `Stop` if an installed provider has it; a warning if it could be mistaken.
    """
    from runtime.api.known import all_names
    from runtime.providers import resolve

    made = camel(name) + SUFFIX
    entry = resolve(name) or resolve(made)
    if entry is not None:
        source = f" ({entry.distribution})" if entry.distribution else ""
        raise Stop(
            f"{name!r} is taken: {entry.name} is installed{source}; choose another name"
        )
    known = {_short(one): one for one in all_names()}
    found = known.get(_short(made))
    if found:
        console.warn(
            f"programs written for onnxruntime ask for {found}; take this name only if "
            "the provider is meant for them"
        )
        return found
    near = get_close_matches(_short(made), known, n=1, cutoff=0.85)
    if near:
        console.warn(f"{made} is easily taken for {known[near[0]]}")
    return made


def _short(name: str) -> str:
    return name.removesuffix(SUFFIX).lower()


def _write(folder: Path, files: dict[str, str]) -> None:
    """Write the files into a folder that is new or empty."""
    try:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise Stop(
                f"{folder} exists and is not empty; nothing was written; name another "
                "folder with --directory"
            )
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise Stop(
            f"{error.filename or folder} cannot be written: {error.strerror}; name "
            "another folder with --directory"
        ) from error
