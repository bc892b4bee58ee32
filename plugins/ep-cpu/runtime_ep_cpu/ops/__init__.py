"""NumPy kernels, one module per operator family, gathered into one table."""

from runtime.kernels import KernelTable

from runtime_ep_cpu.dtypes import widen
from runtime_ep_cpu.ops import (
    activation,
    attention,
    cast,
    contrib,
    control,
    conv,
    elementwise,
    index,
    loss,
    matmul,
    ml_features,
    ml_linear,
    ml_trees,
    normalize,
    pool,
    quantize,
    random,
    reduce,
    resize,
    rnn,
    sequence,
    shape,
    signal,
    text,
    training,
    vision,
)

FAMILIES = (
    elementwise,
    activation,
    cast,
    reduce,
    shape,
    index,
    matmul,
    conv,
    pool,
    normalize,
    attention,
    rnn,
    quantize,
    resize,
    vision,
    signal,
    random,
    sequence,
    control,
    text,
    loss,
    training,
    ml_trees,
    ml_linear,
    ml_features,
    contrib,
)

table = KernelTable(wrap=widen)
for family in FAMILIES:
    table.include(family.table)
