"""The operators of ai.onnx.ml that have native code: demands, kinds of groups, steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.planner import Step
from runtime_ep_cpu.native.steps import (
    chosen,
    expressed,
    joined,
    linear,
    mapped,
    normed,
    support,
    trees,
)

DOMAIN = "ai.onnx.ml"

DEMANDS: Mapping[str, Callable[[Node], bool]] = {
    **dict.fromkeys(trees.OPERATORS, trees.is_supported),
    **dict.fromkeys(linear.OPERATORS, linear.is_supported),
    **dict.fromkeys(support.OPERATORS, support.is_supported),
    **dict.fromkeys(expressed.OPERATORS, expressed.is_supported),
    **dict.fromkeys(normed.OPERATORS, normed.is_supported),
    **dict.fromkeys(chosen.OPERATORS, chosen.is_supported),
    **dict.fromkeys(mapped.OPERATORS, mapped.is_supported),
    **dict.fromkeys(joined.OPERATORS, joined.is_supported),
}
"""What a step demands of a node."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(trees.OPERATORS, "trees"),
    **dict.fromkeys(linear.OPERATORS, "linear"),
    **dict.fromkeys(support.OPERATORS, "support"),
    **dict.fromkeys(expressed.OPERATORS, "expressed"),
    **dict.fromkeys(normed.OPERATORS, "normed"),
    **dict.fromkeys(chosen.OPERATORS, "chosen"),
    **dict.fromkeys(mapped.OPERATORS, "mapped"),
    **dict.fromkeys(joined.OPERATORS, "joined"),
}
"""Which step plans an operator."""

STEPS: Mapping[str, Callable[[Group], Step]] = {
    "trees": trees.TreesStep,
    "linear": linear.LinearStep,
    "support": support.SupportStep,
    "expressed": expressed.ExpressedStep,
    "normed": normed.NormedStep,
    "chosen": chosen.ChosenStep,
    "mapped": mapped.MappedStep,
    "joined": joined.JoinedStep,
}


def texts(node: Node) -> np.ndarray[Any, Any] | None:
    """Return the strings that a node's first output may have, in their numbers' order."""
    tell = _TEXTS.get(node.op_type)
    return tell(node) if tell is not None and DEMANDS[node.op_type](node) else None


_TEXTS: Mapping[str, Callable[[Node], np.ndarray[Any, Any] | None]] = {
    "TreeEnsembleClassifier": trees.labels_of,
    "LinearClassifier": linear.labels_of,
    "SVMClassifier": support.labels_of,
    "ArrayFeatureExtractor": chosen.texts_of,
    "LabelEncoder": mapped.texts_of,
}
