"""Self-contained HTML pages: one file, no network, and safe names of any kind."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent
_PLACE = re.compile(r"\{\{(\w+)\}\}")


def asset(name: str) -> str:
    """Return one of the files that pages are made of."""
    return (_FOLDER / name).read_text(encoding="utf-8")


def fill(template: str, **parts: str) -> str:
    """Return a template with each ``{{part}}`` put in its place, in a single pass.

    The parts are markup already: whatever comes from a model must have gone through
    `escape` or `embed`.
    """
    return _PLACE.sub(lambda match: parts[match[1]], asset(template))


def escape(text: object) -> str:
    """Return text for an element or a quoted attribute; never markup."""
    valid = str(text).encode("utf-8", "replace").decode("utf-8")
    return html.escape(valid, quote=True)


_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def embed(data: Any) -> str:
    """Return JSON for a ``<script>`` element, which no string in it can end."""
    compact = json.dumps(data, separators=(",", ":"), default=str)
    return compact.translate(_UNSAFE)


def digest(script: str) -> str:
    """Return the one script a page's content policy shall allow."""
    hashed = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(hashed).decode('ascii')}'"


def short(provider: str) -> str:
    """Return a provider's name without what all of them end in."""
    return provider.removesuffix("ExecutionProvider") or provider


def plural(count: int, noun: str) -> str:
    """Return ``1 node`` or ``2 nodes``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def milliseconds(seconds: float) -> str:
    """Return a time with three digits that matter."""
    value = seconds * 1000
    if value >= 1000:
        return f"{seconds:.3g} s"
    return f"{value:.3g} ms" if value >= 1 else f"{value * 1000:.3g} µs"


def amount(count: float) -> str:
    """Return bytes in the unit that reads best."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            break
        count /= 1000
    return f"{count:.3g} {unit}" if count < 1000 else f"{count:,.0f} {unit}"
