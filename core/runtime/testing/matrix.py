"""The support matrix: a Markdown page made from the results of the node cases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

MARKS = {"passed": "", "xfailed": "⚠", "failed": "✗"}


def page(data: Mapping[str, Any]) -> str:
    """Return the page: totals, then a row for each operator and opset."""
    total, where = data["summary"], data["environment"]
    low, high = data["api"]
    reasons = _reasons(data["cases"])
    lines = [
        f"# Operators of {data['provider']}",
        "",
        f"Made from the results of {total['cases']} ONNX node cases; do not edit.",
        "",
        f"- {total['claimed']} cases claimed, {total['claimed_whole']} of them whole; "
        f"{total['passed']} right, {total['failed']} wrong, {total['xfailed']} known to "
        "be wrong",
        f"- version {data['version'] or 'unknown'}, provider API {low} to {high}, devices "
        f"{', '.join(data['devices']) or 'none'}",
        f"- runtime {where['runtime']}, onnx {where['onnx']}, Python {where['python']} on "
        f"{where['system']} {where['machine']}",
        "",
        "Element types are those of the first input. ⚠ known to be wrong in some case, "
        "✗ wrong in some case.",
        "",
        "| operator | since | runs | does not | why |",
        "|---|---|---|---|---|",
    ]
    for name, versions in data["operators"].items():
        for version, types in sorted(versions.items(), key=lambda item: int(item[0])):
            counted = sorted(types.items())
            runs = [_marked(t, counts) for t, counts in counted if _runs(counts)]
            lacks = [t for t, counts in counted if "refused" in counts]
            why = "; ".join(reasons.get((name, int(version)), ())) if lacks else ""
            cells = (name, version, ", ".join(runs), ", ".join(lacks), why)
            lines.append("| " + " | ".join(map(_cell, cells)) + " |")
    return "\n".join(lines) + "\n"


def _runs(counts: Mapping[str, int]) -> bool:
    return any(counts.get(key) for key in MARKS)


def _marked(name: str, counts: Mapping[str, int]) -> str:
    return name + "".join(mark for key, mark in MARKS.items() if counts.get(key))


def _reasons(
    cases: Iterable[Mapping[str, Any]], limit: int = 2
) -> dict[tuple[str, int], list[str]]:
    """Return the first few reasons for refusing each operator at each opset."""
    found: dict[tuple[str, int], list[str]] = {}
    for case in cases:
        if case["status"] != "refused" or not case["operator"]:
            continue
        prefix = f"{case['domain']}." if case["domain"] else ""
        known = found.setdefault((prefix + case["operator"], case["opset"]), [])
        for reason in case["reasons"]:
            told = reason.partition(": ")[2] or reason
            if told not in known and len(known) < limit:
                known.append(told)
    return found


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def write(data: Mapping[str, Any], path: str | Path) -> None:
    """Write the page."""
    Path(path).write_text(page(data), encoding="utf-8")
