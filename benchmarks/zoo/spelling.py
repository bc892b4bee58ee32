"""Chooses how a model is spelled."""

from __future__ import annotations

from .build import Builder
from .dynamo import Dynamo

SPELLINGS = {"torchscript": (Builder, 13), "dynamo": (Dynamo, 18)}


def builder(name: str, spelling: str, opset: int = 0, seed: int = 0) -> Builder:
    """Return the vocabulary of one of torch's exporters; opset 0 is its usual one."""
    kind, usual = SPELLINGS[spelling]
    return kind(name, opset or usual, seed)
