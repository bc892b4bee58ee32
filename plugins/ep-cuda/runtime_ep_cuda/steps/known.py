"""Which operators have a step: importing this fills the table."""

from runtime_ep_cuda.steps import (
    affine,
    convolution,
    gather,
    movement,
    product,
    recurrence,
    reduction,
    rows,
    tail,
    view,
)

FAMILIES = (
    view,
    movement,
    product,
    convolution,
    gather,
    affine,
    rows,
    reduction,
    recurrence,
    tail,
)
