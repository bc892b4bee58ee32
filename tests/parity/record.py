"""Writes down how onnxruntime fails what is better here, for the release that is installed.

usage: python tests/parity/record.py

`recorded.json` has an entry for each release this was run with; the migration page shows it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from better import ITEMS, Improvement
from outcomes import outcome, plain

FILE = Path(__file__).parent / "recorded.json"
Record = dict[str, dict[str, str]]
"""Release → what is better → how onnxruntime fails it."""


def recorded() -> Record:
    """Return what was written down."""
    found: Record = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def failing(item: Improvement) -> str:
    """Return how the onnxruntime that is installed fails an item; ``""`` if it does not."""
    import onnxruntime

    theirs = outcome(item.probe, onnxruntime)
    if theirs.error:
        return f"raises {theirs.error}"
    return "" if theirs.value == plain(item.wanted) else "does something else"


def main() -> None:
    """Add the installed release to what is written down."""
    import onnxruntime

    found = recorded() if FILE.exists() else {}
    found[onnxruntime.__version__] = {item.what: failing(item) for item in ITEMS}
    text = json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False)
    FILE.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
