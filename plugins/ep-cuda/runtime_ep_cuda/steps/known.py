"""Which operators have a step: importing this fills the table."""

from runtime_ep_cuda.steps import convolution, product, rows, view

FAMILIES = (view, product, convolution, rows)
