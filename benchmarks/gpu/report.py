"""The check's report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from benchmarks.ratios import geometric_mean

Part = dict[str, Any]
PEERS = {"speed": "onnxruntime", "torch": "torch"}


def markdown(found: dict[str, Any]) -> str:
    """Return all parts, tables for speeds, lists for the rest."""
    lines = ["# What was checked on a GPU", ""]
    if found.get("dry"):
        lines += ["A dry run, on the host's double: no number means anything.", ""]
    for name, part in found["parts"].items():
        lines += [f"## {name}", ""]
        if name in PEERS and part.get("lines"):
            lines += speeds(part, PEERS[name])
        else:
            lines += listed(part)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def speeds(part: Part, peer: str) -> list[str]:
    """Return the models' lines as a table, and the geometric mean of the ratios."""
    lines = [
        f"| model | ours, ms | {peer}, ms | ratio | 95 % | error | limit | opened in s |",
        "|---|---:|---:|---:|---|---:|---|---:|",
    ]
    known: list[float] = []
    for name, line in part["lines"].items():
        if "error" in line and "ms" not in line:
            lines.append(f"| {name} | failed | | | | | | |")
            continue
        ratio = line["ratio"].get(peer)
        known += [ratio["middle"]] if ratio else []
        span = f"{ratio['low']:.2f}–{ratio['high']:.2f}" if ratio else ""
        limit = line.get("limit") or {}
        reached = f"{limit['%']:.0f} % of {limit['by']}" if limit else ""
        cells = (
            name, _number(line["ms"].get("ours")), _number(line["ms"].get(peer)),
            _number(ratio and ratio["middle"]), span, _number(line["error"].get(peer)),
            reached, _number(line["s to open"].get("ours")),
        )  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    if known:
        mean, least = geometric_mean(known), min(known)
        lines += [
            "",
            f"Geometric mean {mean:.2f}, lowest {least:.2f}, of {len(known)}.",
        ]
    lines += [""] + [
        f"- {name}: {why}"
        for name, line in part["lines"].items()
        for why in (
            *line.get("failed", {}).values(),
            *([line["error"]] if isinstance(line.get("error"), str) else []),
        )
    ]
    late = part.get("not run for want of time")
    return lines + ([f"- not run for want of time: {', '.join(late)}"] if late else [])


def _number(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, (int, float)) else str(value)


def listed(part: Part) -> list[str]:
    """Return everything that a part found, as nested lists."""
    return list(_items(part, 0))


def _items(found: Part, depth: int) -> Iterator[str]:
    space = "  " * depth
    for key, value in found.items():
        if isinstance(value, dict):
            yield f"{space}- {key}:"
            yield from _items(value, depth + 1)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{space}- {key}:"
            for each in value:
                yield f"{space}  - " + ", ".join(
                    f"{k} {_number(v)}" for k, v in each.items()
                )
        elif isinstance(value, list):
            yield f"{space}- {key}: " + "; ".join(map(_number, value))
        else:
            yield f"{space}- {key}: " + _number(value).replace("\n", " ")
