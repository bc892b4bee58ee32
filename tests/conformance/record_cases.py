"""Writes docs/reference/cases.json: how many node cases of each operator providers answer.

usage: python tests/conformance/record_cases.py FILE…

Each file is what `runtime ep test PROVIDER -k test_node --capabilities FILE` wrote.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

RECORD = Path(__file__).parents[2] / "docs" / "reference" / "cases.json"


def recorded() -> dict[str, dict[str, list[int]]]:
    """Return provider → operator → how many cases are right, of how many."""
    return json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}


def counted(results: dict[str, Any]) -> dict[str, list[int]]:
    """Return for each operator how many of its cases are right, and how many it has."""
    right, total = Counter(), Counter()
    for case in results["cases"]:
        if case["operator"]:
            key = f"{case['domain']}:{case['operator']}"
            total[key] += 1
            right[key] += case["status"] == "passed"
    return {key: [right[key], count] for key, count in sorted(total.items())}


def main(paths: list[str]) -> None:
    """Merge the results of some providers into the record."""
    record = recorded()
    for path in paths:
        results = json.loads(Path(path).read_text("utf-8"))
        record[results["provider"]] = counted(results)
    providers = []
    for name, operators in sorted(record.items()):
        rows = (f"{json.dumps(key)}: {pair}" for key, pair in operators.items())
        providers.append(f"{json.dumps(name)}: {{\n" + ",\n".join(rows) + "\n}")
    RECORD.write_text("{\n" + ",\n".join(providers) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
