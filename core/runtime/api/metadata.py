"""What a session tells about its model: NodeArg and ModelMetadata."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from runtime.graph import Model
from runtime.valuetypes import TensorType, Type


@dataclass(frozen=True, slots=True)
class NodeArg:
    """One input or output: ``type`` as ``tensor(float)``, ``shape`` of ints and symbols.

    An unnamed unknown dim is ``None``; a scalar, an unknown rank and anything that is no
    tensor have the shape ``[]``.
    """

    name: str
    type: str
    shape: list[Any]

    def __str__(self) -> str:
        return f"NodeArg(name='{self.name}', type='{self.type}', shape={self.shape})"

    @classmethod
    def of(cls, name: str, kind: Type | None) -> NodeArg:
        """Describe a value."""
        dims = kind.shape if isinstance(kind, TensorType) else None
        return cls(name, str(kind) if kind is not None else "", list(dims or ()))


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the model's file says of itself."""

    producer_name: str = ""
    graph_name: str = ""
    domain: str = ""
    description: str = ""
    graph_description: str = ""
    version: int = 2**63 - 1
    custom_metadata_map: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model) -> ModelMetadata:
        """Read a model's own description."""
        version = model.model_version
        return cls(
            model.producer_name,
            model.graph.name,
            model.domain,
            model.doc_string,
            model.graph.doc_string,
            2**63 - 1 if version is None else version,
            dict(model.metadata),
        )
