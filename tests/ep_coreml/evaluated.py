"""The Core ML provider with the evaluator as its engine, for tests on any system.

``--ep evaluated:provider`` runs the conformance kit against it.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

sys.path[:0] = [
    str(Path(__file__).parent),
    str(Path(__file__).parents[2] / "plugins/ep-coreml"),
]

from runtime.plugin import HOST, Probe  # noqa: E402
from runtime_ep_coreml.info import info as real  # noqa: E402
from runtime_ep_coreml.info import tools  # noqa: E402
from runtime_ep_coreml.provider import CoreMlProvider  # noqa: E402

NAME = "EvaluatedCoreMLExecutionProvider"


def probe() -> Probe:
    """Ask for coremltools alone."""
    found = tools()
    return found if isinstance(found, Probe) else Probe((HOST,), details=found)


class Evaluated(CoreMlProvider):
    """Claims and compiles as the real one does, and runs the saved package with NumPy."""

    info = replace(real, name=NAME, aliases=("coreml-evaluated",), probe=probe)

    def __init__(self) -> None:
        from mil_evaluator.engine import load

        super().__init__(load)


provider = Evaluated()
