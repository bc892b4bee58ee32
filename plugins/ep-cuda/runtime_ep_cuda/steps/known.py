"""Which operators have a step: importing this fills the table."""

from runtime_ep_cuda.steps import (
    affine,
    attention,
    convolution,
    gather,
    group_norm,
    movement,
    pooling,
    product,
    recurrence,
    reduction,
    resize,
    rotary,
    rows,
    sorting,
    tail,
    view,
)

FAMILIES = (
    view,
    movement,
    pooling,
    product,
    convolution,
    gather,
    group_norm,
    affine,
    rows,
    attention,
    rotary,
    reduction,
    resize,
    sorting,
    recurrence,
    tail,
)
