"""What a provider claims and gets right, node case by node case, as plain data."""

from __future__ import annotations

import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from runtime.plugin import API_VERSION
from runtime.providers import Installed
from runtime.valuetypes import ELEMENT_TYPES
from runtime.version import __version__

SCHEMA = 1
PROPERTY = "runtime_node_case"
"""The name under which a test hands its record to the plugin, from any process."""


def describe(case: Any) -> dict[str, Any]:
    """Return what a node case is about: its operator, opset and element types.

    A case made of several nodes, such as an operator's standard body, has no operator.
    """
    graph = case.model.graph
    record: dict[str, Any] = {
        "name": case.name,
        "operator": None,
        "domain": "",
        "opset": 0,
        "types": [_type(info) for info in graph.input] or [_type(graph.output[0])],
    }
    if len(graph.node) == 1:
        (node,) = graph.node
        opsets = {entry.domain: entry.version for entry in case.model.opset_import}
        version = opsets.get(node.domain, 1)
        record |= {"operator": node.op_type, "domain": node.domain}
        record["opset"] = _since(node, version)
    return record


def _since(node: onnx.NodeProto, version: int) -> int:
    try:
        schema = onnx.defs.get_schema(node.op_type, version, node.domain)
    except onnx.defs.SchemaError:
        return version
    return int(schema.since_version)


def _type(info: onnx.ValueInfoProto) -> str:
    kind = info.type
    match kind.WhichOneof("value"):
        case "tensor_type":
            entry = ELEMENT_TYPES.get(kind.tensor_type.elem_type)
            return entry.name if entry is not None else "undefined"
        case None:
            return "undefined"
        case other:
            return str(other).removesuffix("_type")


def status(outcome: str, expected_failure: bool, owned: int) -> str:
    """Return what became of a case: passed, failed, xfailed or refused."""
    if expected_failure:
        return "xfailed"
    if outcome == "skipped":
        return "refused"
    return "passed" if outcome == "passed" and owned else "failed"


def capabilities(
    entry: Installed, order: list[str], records: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return everything about one run of the node cases."""
    cases = sorted((dict(record) for record in records), key=lambda one: one["name"])
    counts = Counter(case["status"] for case in cases)
    info = entry.info
    return {
        "schema": SCHEMA,
        "provider": entry.name,
        "version": info.version,
        "vendor": info.vendor,
        "distribution": entry.distribution,
        "api": [".".join(map(str, limit)) for limit in info.api],
        "order": order,
        "devices": [str(device) for device in entry.probe().devices],
        "environment": {
            "runtime": __version__,
            "api": ".".join(map(str, API_VERSION)),
            "onnx": onnx.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
        },
        "summary": {
            "cases": len(cases),
            "claimed": sum(case["owned"] > 0 for case in cases),
            "claimed_whole": sum(0 < case["nodes"] == case["owned"] for case in cases),
            **{key: counts[key] for key in ("passed", "failed", "xfailed", "refused")},
        },
        "operators": operators(cases),
        "cases": cases,
    }


def operators(cases: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return counts by operator, opset, element type and status."""
    table: dict[str, Any] = {}
    for case in cases:
        if not case["operator"]:
            continue
        prefix = f"{case['domain']}." if case["domain"] else ""
        versions = table.setdefault(prefix + case["operator"], {})
        types = versions.setdefault(str(case["opset"]), {})
        counts = types.setdefault(case["types"][0], {})
        counts[case["status"]] = counts.get(case["status"], 0) + 1
    return {name: table[name] for name in sorted(table)}


def write(data: Mapping[str, Any], path: str | Path) -> None:
    """Write results as JSON."""
    text = json.dumps(data, indent=1, ensure_ascii=False)
    Path(path).write_text(text + "\n", encoding="utf-8")
