"""Kernels of one program have helpers of their own, whoever came before them."""

import re

import numpy as np
from runtime_ep_cuda.codegen.expression import SAME
from runtime_ep_cuda.codegen.rows import layer_norm, softmax
from runtime_ep_cuda.nvrtc import text_of
from runtime_ep_cuda.tensor import Buffer, Tensor


def tensor(*shape):
    return Tensor.dense(Buffer(int(np.prod(shape)) * 4), np.float32, shape)


def kernels():
    x, y = tensor(4, 100), tensor(4, 100)
    launches = [
        *softmax(SAME, [x], y, 1),
        *layer_norm(SAME, [x], None, None, y, [1], 0.1),
    ]
    return [launch.kernel for launch in launches]


def test_what_one_kernel_defines_is_not_defined_for_the_next():
    parts = re.split(r"namespace kernel_\d+ \{", text_of(kernels()))[1:]
    assert len(parts) == 2
    for part in parts:
        defined = re.findall(r"#\s*define\s+(\w+)", part)
        body, _, rest = part.rpartition("}")
        assert defined, "the kernels no longer guard helpers; this test shows nothing"
        assert set(defined) <= set(re.findall(r"#undef (\w+)", rest))
        assert body
