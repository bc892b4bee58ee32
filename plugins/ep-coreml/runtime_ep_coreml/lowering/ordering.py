"""The largest or smallest elements along an axis, with their places."""

from __future__ import annotations

from typing import Any

from runtime_ep_coreml.guards import arithmetic, constant
from runtime_ep_coreml.scope import Scope
from runtime_ep_coreml.table import lowers


@lowers("TopK", guards=(arithmetic, constant(1)), since=11)
def top_k(at: Scope) -> Any:
    """The k largest or smallest, in order."""
    x, k = at.x(), int(at.need(1).reshape(-1)[0])
    return at.op(
        "topk", x=x, k=k, axis=at.axis(x, -1), ascending=not at.attr("largest", 1)
    )
