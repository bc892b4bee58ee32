"""Every lowering, one module per family of operators; importing it fills the table."""

from runtime_ep_coreml.lowering import (
    activations,
    arithmetic,
    attention,
    convolutions,
    creation,
    indexing,
    logic,
    movement,
    normalizations,
    ordering,
    pools,
    products,
    quantization,
    recurrent,
    reductions,
    resizing,
)

__all__ = [
    "activations",
    "arithmetic",
    "attention",
    "convolutions",
    "creation",
    "indexing",
    "logic",
    "movement",
    "normalizations",
    "ordering",
    "pools",
    "products",
    "quantization",
    "recurrent",
    "reductions",
    "resizing",
]
