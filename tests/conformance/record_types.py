"""Writes docs/reference/types.json: the element types each operator was run in.

usage: python tests/conformance/record_types.py
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
RECORD = HERE.parent.parent / "docs" / "reference" / "types.json"


def recorded() -> dict[str, list[str]]:
    """Return the element types of each operator, as they were written last."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


def main() -> None:
    """Collect what test_types.py runs, without running it again."""
    sys.path[:0] = [str(HERE), str(HERE.parent / "ep_cpu")]
    from retyped import templates
    from test_types import types_run

    found = {":".join(key): types_run(key) for key in sorted(templates())}
    lines = [f"{json.dumps(key)}: {json.dumps(kinds)}" for key, kinds in found.items()]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
