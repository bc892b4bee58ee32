"""Writes the generated pages: operators from the kernel table, config keys from theirs.

usage: python docs/generate.py
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import onnx
from runtime.api.keys import RUN_KEYS, SESSION_KEYS, Acts, Refused
from runtime_ep_cpu.ops import table

REFERENCE = Path(__file__).parent / "reference"
HEAD = """# Operators of the CPU provider

Made by `docs/generate.py` from the kernel table; do not edit. "Kernels since" are the opset
versions from which a kernel of its own holds; versions between run by the one before,
versions before the first are refused. Operators of the standard without a row are refused
with the reason.
"""


def rows() -> dict[str, dict[str, list[int]]]:
    """Return domain → operator → the versions its kernels begin at."""
    found: dict[str, dict[str, list[int]]] = defaultdict(dict)
    for kernel in table:
        found[kernel.domain].setdefault(kernel.op_type, []).append(kernel.since)
    return found


def standard(domain: str) -> set[str]:
    """Return the operators a domain has in the onnx package."""
    return {s.name for s in onnx.defs.get_all_schemas() if s.domain == domain}


def operators() -> str:
    """Return the page of operators."""
    lines = [HEAD]
    found = rows()
    for domain in sorted(found):
        names = standard(domain)
        have = sorted(found[domain])
        title = domain or "ai.onnx"
        count = f", {len(names & set(have))} of {len(names)}" if names else ""
        lines += [f"## {title}{count}", "", "| operator | kernels since |", "|---|---|"]
        for name in have:
            versions = ", ".join(str(v) for v in sorted(found[domain][name]))
            lines.append(f"| {name} | {versions} |")
        missing = sorted(names - set(have))
        if missing:
            lines += ["", f"No kernel of their own: {', '.join(missing)}."]
        lines.append("")
    return "\n".join(lines)


KEYS_HEAD = """# Config keys

Made by `docs/generate.py` from `runtime/api/keys.py`; do not edit. Keys of
`SessionOptions.add_session_config_entry` and `RunOptions.add_run_config_entry`. An unknown key
warns with the near match.

| key | what it does |
|---|---|
"""


def config_keys() -> str:
    """Return the page of config keys."""
    lines = []
    for key, row in sorted({**SESSION_KEYS, **RUN_KEYS}.items()):
        if isinstance(row, Acts):
            told = f"sets `{row.field}`"
        else:
            verb = "refused" if isinstance(row, Refused) else "accepted without effect"
            told = f"{verb}: {row.reason}"
        lines.append(f"| `{key}` | {told} |")
    return KEYS_HEAD + "\n".join(lines) + "\n"


PAGES = {"operators.md": operators, "config-keys.md": config_keys}

if __name__ == "__main__":
    for name, made in PAGES.items():
        (REFERENCE / name).write_text(made(), encoding="utf-8")
