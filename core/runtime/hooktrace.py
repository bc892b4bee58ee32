"""Tells every hook call on standard error: provider, arguments in short, and result."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from runtime.graph import Graph
from runtime.plugin import Claim, Device, Partition, Refusal
from runtime.settings import Settings

VARIABLE = "RUNTIME_TRACE_PLUGINS"
logger = logging.getLogger("runtime.hooks")

_LONGEST = 60


def watch(manager: pluggy.PluginManager) -> None:
    """Log every hook call of a manager, if the environment variable asks for it."""
    if os.environ.get(VARIABLE, "") in ("", "0"):
        return
    _listen()
    manager.add_hookcall_monitoring(lambda name, impls, arguments: None, _tell)


def _listen() -> None:
    """Give the logger a handler of its own, unless somebody has."""
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("hook: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False
    logger.setLevel(logging.INFO)


def _tell(
    outcome: pluggy.Result[Any],
    hook: str,
    impls: Sequence[pluggy.HookImpl],
    arguments: Mapping[str, Any],
) -> None:
    """Log one call once it has ended; answers that come lazily are taken now."""
    names = ", ".join(impl.plugin_name for impl in impls) or "nobody"
    given = ", ".join(f"{key}={_brief(value)}" for key, value in arguments.items())
    try:
        result = outcome.get_result()
        if hook == "get_capability":
            result = [tuple(group or ()) for group in result]
            outcome.force_result(result)
            told = _answers([answer for group in result for answer in group])
        else:
            told = _brief(result)
    except BaseException as error:
        outcome.force_exception(error)
        told = f"raised {type(error).__name__}: {error}"
    logger.info("%s.%s(%s) -> %s", names, hook, given, told)


def _answers(answers: Sequence[Any]) -> str:
    """Count claims, the nodes they hold, and refusals."""
    claims = [answer for answer in answers if isinstance(answer, Claim)]
    refusals = sum(isinstance(answer, Refusal) for answer in answers)
    nodes = sum(len(claim.nodes) for claim in claims)
    return ", ".join(
        (
            f"{_many(len(claims), 'claim')} of {_many(nodes, 'node')}",
            _many(refusals, "refusal"),
        )
    )


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _brief(value: Any) -> str:
    match value:
        case Graph():
            text = f"{value.name!r}, {_many(len(value), 'node')}"
        case Partition(nodes=nodes):
            kinds = ", ".join(dict.fromkeys(node.op_type for node in nodes))
            text = f"{_many(len(nodes), 'node')} on {value.device}: {kinds}"
        case Settings(options=options):
            text = repr(dict(options))
        case Device():
            return str(value)
        case tuple():
            return _many(len(value), "node")
        case None:
            return "None"
        case _:
            return f"<{getattr(value, '__qualname__', type(value).__qualname__)}>"
    return f"<{text if len(text) <= _LONGEST else text[: _LONGEST - 1] + '…'}>"
