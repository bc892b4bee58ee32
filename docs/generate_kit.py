"""Writes the page of the conformance kit: its options and what each of its tests asks.

usage: python docs/generate_kit.py
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runtime import testing
from runtime.testing import plugin

TARGET = Path(__file__).parent / "reference" / "conformance-kit.md"
HEAD = """# The conformance kit

Made by `docs/generate_kit.py` from `runtime/testing`; do not edit.

What a provider promises, as tests that anybody can run against it:

```sh
pytest -p runtime.testing.plugin --pyargs runtime.testing --ep acme --ep cpu --xfails xfails.txt
```

or, shorter, `runtime ep test acme --xfails xfails.txt`. A node the provider does not claim is a
skip; one it claims and gets wrong is a failure. Before anything else it answers in a process of
its own: a provider that hangs or crashes there fails one test, with its stack, and the others
are skipped.

## Options

Besides pytest's own, such as `-k`, `-n` and `--junit-xml`:

"""
XFAILS = """
`xfails.txt` holds a test a line: a glob of its function, its case, or both as `function[case]`,
two spaces, `#` and the reason. A line whose test passes fails the run, and so does one that
means no test:

```text
test_bernoulli*  # the expected values are one draw of NumPy's generator
```
"""


class _Options:
    """Takes the place of pytest's parser, to learn what the kit adds to it."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, str]] = []

    def getgroup(self, *words: str) -> _Options:
        """Return what collects a group's options."""
        return self

    def addoption(self, name: str, **told: Any) -> None:
        """Collect an option."""
        self.rows.append((name, told["metavar"], told["help"]))


def page() -> str:
    """Return the whole page."""
    return "\n".join([HEAD + options(), XFAILS, *modules()])


def options() -> str:
    """Return the table of options."""
    found = _Options()
    plugin.pytest_addoption(found)  # type: ignore[arg-type]
    rows = [f"| `{name} {value}` | {told} |" for name, value, told in found.rows]
    return "\n".join(["| option | meaning |", "|---|---|", *rows])


def modules() -> Iterator[str]:
    """Yield a section for each module of tests."""
    for path in sorted(Path(testing.__file__).parent.glob("test_*.py")):
        body = ast.parse(path.read_text(encoding="utf-8"))
        title = path.stem.removeprefix("test_").capitalize()
        yield f"## {title}\n\n{ast.get_docstring(body)}\n"
        yield "| test | what holds |\n|---|---|"
        for item in body.body:
            if isinstance(item, ast.FunctionDef) and item.name.startswith("test_"):
                told = (ast.get_docstring(item) or "").replace("|", "\\|")
                yield f"| `{item.name}` | {' '.join(told.split())} |"
        yield ""


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
