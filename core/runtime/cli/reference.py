"""Writes the command's reference page from its parser: ``docs/reference/cli.md``."""

from __future__ import annotations

from argparse import Action, ArgumentParser
from types import ModuleType

from runtime.cli.exits import Exit
from runtime.cli.parser import ABOUT, every_verb

_HEAD = f"""# The command `runtime`

<!-- Generated: python -m runtime.cli.reference > docs/reference/cli.md -->

{ABOUT} `python -m runtime.cli` is the same command.

Every verb has `--help`, which imports nothing heavy, and `--json`, which prints one JSON
object on standard output. Warnings, errors and progress go to standard error; progress
is shown on a terminal only. An error is one line that says what, what was found and what
to do; `--debug` shows its traceback. Tables use colour on a terminal where `rich` is
installed (`pip install "runtime[cli]"`) and `NO_COLOR` is not set.

Providers are named as in ONNX Runtime (`CUDAExecutionProvider`) or by alias (`cuda`),
whatever the case, with options after a colon: `-p cuda:device_id=1,use_tf32=0`. They
are tried in the order given; the CPU comes last by itself.
"""


def markdown() -> str:
    """Return the whole page."""
    codes = [(f"`{code:d}`", code.meaning) for code in Exit]
    verbs = [_verb(name, module) for name, module in every_verb()]
    exits = f"## Exit codes\n\n{_table(('Code', 'Meaning'), codes)}"
    return "\n".join([_HEAD, exits, *verbs])


def _verb(name: str, module: ModuleType) -> str:
    parser = ArgumentParser(prog=f"runtime {name}", add_help=False)
    module.add_arguments(parser)
    rows = [
        (_spelling(action), _meaning(action))
        for group in parser._action_groups
        for action in group._group_actions
    ]
    positional = [a.metavar for a in parser._actions if not a.option_strings]
    usage = " ".join(["runtime", name, *map(str, positional), "[options]"])
    examples = "\n".join(line.strip() for line in module.EXAMPLES.splitlines())
    table = _table(("Argument", "Meaning"), rows)
    return (
        f"## runtime {name}\n\n{module.ABOUT}\n\n```text\n{usage}\n```\n\n{table}\n"
        f"Examples:\n\n```sh\n{examples}\n```\n"
    )


def _spelling(action: Action) -> str:
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    value = ""
    if action.nargs != 0:
        shown = action.metavar or action.dest.upper()
        if action.choices:
            shown = "{" + ",".join(action.choices) + "}"
        value = f" {shown}"
    return ", ".join(f"`{option}{value}`" for option in action.option_strings)


def _meaning(action: Action) -> str:
    return (action.help or "").replace("|", "\\|")


def _table(titles: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    lines = [titles, ("---", "---"), *rows]
    return "\n".join(f"| {first} | {second} |" for first, second in lines) + "\n"


if __name__ == "__main__":
    print(markdown(), end="")
