"""Writes the migration page: each public name of onnxruntime, and how it stands here.

usage: python docs/generate_migration.py

The names are found in the onnxruntime that is installed; how each stands is told by the
rows of `tests/parity`, whose probes run on both runtimes.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "tests" / "parity"), str(ROOT / "tests")]

PAGE = ROOT / "docs" / "reference" / "migration.md"
HEAD = """# Coming from onnxruntime

Made by `docs/generate_migration.py`; do not edit. Change the import, `import runtime as ort`,
or leave the program as it is and start it with `python -m runtime.as_onnxruntime prog.py`,
which makes `import onnxruntime` mean this runtime in that process only
(`runtime.as_onnxruntime()` does the same from within).

Every public name of onnxruntime {version} is below, found by looking at the module, with the
names that only its extension module has under `capi`
(`runtime.capi.onnxruntime_pybind11_state`). For each name there is a probe that runs on both
runtimes, and a test compares what they do. *Same*: it does the same, or raises an exception
of the same name. *Better*: the same, and what is said besides, which a second probe shows to
fail in onnxruntime. *Accepted*: it is taken and changes nothing, for the reason given.
*Refused*: it can be imported, and tells why not when it is used. Config keys have
[a page of their own](config-keys.md).

Names that begin with `_` promise nothing, yet libraries read some of them: `_sess`,
`_model_path`, `_model_bytes`, `_sess_options`, `_inputs_meta`, `_outputs_meta`,
`_model_meta`, `_providers` and their like of a session, `_ortvalue` of an OrtValue,
`_iobinding` of an IOBinding, `_ort_device` of an OrtDevice. These answer here as there, and
take the call forms of the extension module.

{counts}

"""
WORDS = {
    "same": "same",
    "better": "better",
    "accepted": "accepted without effect",
    "refused": "refused",
}


def page() -> str:
    """Return the page."""
    import onnxruntime
    from names import names
    from rows import judge

    found = names()
    standing = {name: judge(name) for name in found}
    counts = Counter(each.kind for each in standing.values())
    told = ", ".join(f"{counts[kind]} {word}" for kind, word in WORDS.items())
    version = onnxruntime.__version__
    lines = [HEAD.format(version=version, counts=f"{len(found)} names: {told}.")]
    lines += _better()
    for title, members in _sections(found).items():
        lines += [f"## {title}", "", "| name | here | why |", "|---|---|---|"]
        for name in members:
            kind, why = standing[name]
            lines.append(f"| `{name}` | {WORDS[kind]} | {why} |")
        lines.append("")
    return "\n".join(lines)


def _better() -> list[str]:
    """Return the table of what is better, with how each release fails it."""
    from better import ITEMS
    from record import recorded

    releases = recorded()
    heads = ["name", "better", *(f"onnxruntime {release}" for release in releases)]
    lines = [
        "## What is better",
        "",
        f"| {' | '.join(heads)} |",
        "|---" * len(heads) + "|",
    ]
    for item in ITEMS:
        cells = [f"`{item.name}`", item.what]
        cells += [release[item.what] for release in releases.values()]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _sections(found: list[str]) -> dict[str, list[str]]:
    """Return the names by class; a name that has no members belongs to its module."""
    owners = {name.rpartition(".")[0] for name in found} - {"", "capi"}
    sections: dict[str, list[str]] = {"The module": [], "capi": []}
    for name in found:
        owner = name if name in owners else name.rpartition(".")[0]
        title = (
            owner if owner in owners else "capi" if owner == "capi" else "The module"
        )
        sections.setdefault(title, []).append(name)
    return sections


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
