"""The operators of ai.onnx.ml that have native code: demands, kinds of groups, steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from runtime.graph import Node

from runtime_ep_cpu.native.group import Group
from runtime_ep_cpu.native.planner import Step
from runtime_ep_cpu.native.steps import linear, prepared, support, trees

DOMAIN = "ai.onnx.ml"

DEMANDS: Mapping[str, Callable[[Node], bool]] = {
    **dict.fromkeys(trees.OPERATORS, trees.is_supported),
    **dict.fromkeys(linear.OPERATORS, linear.is_supported),
    **dict.fromkeys(support.OPERATORS, support.is_supported),
    **dict.fromkeys(prepared.EXPRESSED, prepared.is_expressed),
    **dict.fromkeys(prepared.NORMED, prepared.is_normed),
    **dict.fromkeys(prepared.CHOSEN, prepared.is_chosen),
    **dict.fromkeys(prepared.MAPPED, prepared.is_mapped),
    **dict.fromkeys(prepared.JOINED, prepared.is_joined),
}
"""What a step demands of a node."""

KINDS: Mapping[str, str] = {
    **dict.fromkeys(trees.OPERATORS, "trees"),
    **dict.fromkeys(linear.OPERATORS, "linear"),
    **dict.fromkeys(support.OPERATORS, "support"),
    **dict.fromkeys(prepared.EXPRESSED, "expressed"),
    **dict.fromkeys(prepared.NORMED, "normed"),
    **dict.fromkeys(prepared.CHOSEN, "chosen"),
    **dict.fromkeys(prepared.MAPPED, "mapped"),
    **dict.fromkeys(prepared.JOINED, "joined"),
}
"""Which step plans an operator."""

STEPS: Mapping[str, Callable[[Group], Step]] = {
    "trees": trees.TreesStep,
    "linear": linear.LinearStep,
    "support": support.SupportStep,
    "expressed": prepared.ExpressedStep,
    "normed": prepared.NormedStep,
    "chosen": prepared.ChosenStep,
    "mapped": prepared.MappedStep,
    "joined": prepared.JoinedStep,
}


def texts(node: Node) -> np.ndarray[Any, Any] | None:
    """Return the strings that a node's first output may have, in their numbers' order."""
    tell = _TEXTS.get(node.op_type)
    return tell(node) if tell is not None and DEMANDS[node.op_type](node) else None


_TEXTS: Mapping[str, Callable[[Node], np.ndarray[Any, Any] | None]] = {
    "TreeEnsembleClassifier": trees.labels_of,
    "LinearClassifier": linear.labels_of,
    "SVMClassifier": support.labels_of,
    "ArrayFeatureExtractor": prepared.chosen_texts,
    "LabelEncoder": prepared.mapped_texts,
}
