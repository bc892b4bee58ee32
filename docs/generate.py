"""Writes docs/reference/operators.md from the CPU provider's kernel table.

usage: python docs/generate.py
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import onnx
from runtime_ep_cpu.ops import table

PAGE = Path(__file__).parent / "reference" / "operators.md"
HEAD = """# Operators of the CPU provider

Made by `docs/generate.py` from the kernel table; do not edit. "Kernels since" are the opset
versions from which a kernel of its own holds; versions between run by the one before, versions
before the first are refused. Operators of the standard without a row are refused with the reason.
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


def page() -> str:
    """Return the whole page."""
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


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
