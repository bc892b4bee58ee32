"""However large tensors are, GPUs launch what is planned, or it is refused while planning."""

from types import SimpleNamespace

import numpy as np
import pytest
from codegen.examples import check, prepared
from codegen.test_topk import best, normal
from double.host import BLOCK
from double.host import GRID as LIMITS
from double.launching import new
from runtime_ep_cuda.actions import Unplannable
from runtime_ep_cuda.codegen import topk as sorting
from runtime_ep_cuda.codegen.attention import attention, attention_scratch
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import SAME
from runtime_ep_cuda.codegen.gather import gather
from runtime_ep_cuda.codegen.kernel import Kernel, Launch
from runtime_ep_cuda.codegen.movement import concat, copy, fill
from runtime_ep_cuda.codegen.pooling import max_pool
from runtime_ep_cuda.codegen.reduction import reduce, reduction_scratch
from runtime_ep_cuda.codegen.rows import softmax
from runtime_ep_cuda.codegen.scan import cumulate
from runtime_ep_cuda.codegen.topk import topk, topk_scratch
from runtime_ep_cuda.planner import Planner
from test_recall import setting

HALF, LONG = np.dtype(np.float16), np.dtype(np.int64)
MANY = 70_000
"""More than a grid has along its second and third axes."""


HALVING = SimpleNamespace(
    kernel=(2, 2), strides=(2, 2), dilations=(1, 1), pads_begin=(0, 0), pads_end=(0, 0)
)


def attended(batch, heads, rows, keys, size=16):
    q, k, v, y = (new(HALF, (batch, heads, n, size)) for n in (rows, keys, keys, rows))
    need = attention_scratch(q, k, v)
    return attention(q, k, v, y, 1.0, scratch=new(np.uint8, (need,)) if need else None)


def sorted_(shape, k=5):
    x = new(HALF, shape)
    results = new(HALF, (*shape[:-1], k)), new(LONG, (*shape[:-1], k))
    need = topk_scratch(x, k, 1)
    return topk(x, *results, 1, scratch=new(np.uint8, (need,)) if need else None)


def reduced(shape, axes):
    x = new(HALF, shape)
    y = new(HALF, [1 if n in axes else size for n, size in enumerate(shape)])
    need = reduction_scratch([x], y, shape, axes)
    scratch = new(np.uint8, (need,)) if need else None
    return reduce("sum", SAME, [x], y, shape, axes, scratch=scratch)


def same(function, *shapes):
    return function(*(new(HALF, shape) for shape in shapes))


LARGE = {
    "attention, a batch of many": lambda: attended(MANY, 1, 16, 16),
    "attention, many heads": lambda: attended(1, MANY, 64, 64),
    "attention, many of few queries": lambda: attended(MANY, 2, 1, 4096),
    "the best of a long line": lambda: sorted_((1, 300_000_000)),
    "the best of many lines": lambda: sorted_((2**28, 8)),
    "elements": lambda: same(lambda x, y: elementwise(SAME, [x], [y]), *[(2**33,)] * 2),
    "a transposition": lambda: copy(
        new(HALF, (MANY, MANY)).transposed((1, 0)), new(HALF, (MANY, MANY))
    ),
    "joining": lambda: same(
        lambda x, y: concat([x] * 3, 1, y), (MANY, 1000), (MANY, 3000)
    ),
    "filling": lambda: fill(new(HALF, (2**33,)), 1.0),
    "softmax of many lines": lambda: same(
        lambda x, y: softmax(SAME, [x], y, 1), *[(2**30, 2)] * 2
    ),
    "softmax across": lambda: same(
        lambda x, y: softmax(SAME, [x], y, 0), *[(2, 2**30)] * 2
    ),
    "sums of many lines": lambda: reduced((2**30, 4), (1,)),
    "the sum of a long line": lambda: reduced((2, 2**30), (1,)),
    "running sums": lambda: same(
        lambda x, y: cumulate(SAME, [x], y, 1), *[(2**27, 16)] * 2
    ),
    "pools": lambda: same(
        lambda x, y: max_pool(x, y, HALVING),
        (MANY, 512, 8, 8),
        (MANY, 512, 4, 4),
    ),
    "gathering": lambda: gather(
        new(HALF, (MANY, 1000)), new(LONG, (10**7,)), new(HALF, (10**7, 1000)), 0
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_however_large_what_is_planned_can_be_launched(name):
    launches = LARGE[name]()
    assert launches
    for launch in launches:
        assert launch.is_possible
        assert all(1 <= n <= most for n, most in zip(launch.grid, LIMITS, strict=True))
        assert all(1 <= n <= most for n, most in zip(launch.block, BLOCK, strict=True))


@pytest.mark.parametrize("at_once", [1, 2, 4])
def test_blocks_go_on_where_a_line_has_more_pieces_than_a_grid(at_once, monkeypatch):
    monkeypatch.setattr(sorting, "MOST_AT_ONCE", at_once)
    example = best("pieces", normal((2, 21_000)), np.float32, 300, 1)
    for device in prepared([example]):
        check(example, device)


@pytest.mark.parametrize(
    ("grid", "rows"), [((1, MANY, 1), 5), ((1, 1, MANY), 5), ((1, 1, 1), 2**31)]
)
def test_what_cannot_be_launched_is_refused_while_planning(grid, rows):
    kernel = Kernel("softmax_rows", "", ("i32",))
    launch = Launch(kernel, grid, (32, 1, 1), (rows,))
    planner = Planner(setting(), {}, {})
    with pytest.raises(Unplannable, match="too large for the kernel softmax_rows"):
        planner.launch([launch])
    assert planner.actions == []
