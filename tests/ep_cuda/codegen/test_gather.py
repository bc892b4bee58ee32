"""Gathering and scattering by indices equal the CPU provider's, wrong indices included."""

import numpy as np
import pytest
from codegen.examples import (
    BFLOAT16,
    Example,
    check,
    given,
    name_of,
    normal,
    prepared,
    wanted,
    wide,
)
from runtime_ep_cpu.ops import table
from runtime_ep_cuda.codegen import gather, scatter

HALF, SINGLE = np.float16, np.float32
RANDOM = np.random.default_rng(7)


def standard(op, **attributes):
    """Return the CPU provider's function of an operator."""
    function = table.find("", op, 18).function
    return lambda *x: function(*x, **attributes)


def gathers():
    rows = given(normal((11, 24)), HALF)
    tokens = RANDOM.integers(-11, 11, (2, 5))
    yield Example(
        "embedding", [rows, given(tokens)], [wanted(HALF, (2, 5, 24))],
        lambda x, i, y: gather.gather(x, i, y, 0), lambda x, i: x[i],
    )  # fmt: skip
    yield Example(
        "embedding_of_another_type", [given(normal((11, 24)), SINGLE), given(tokens, np.int32)],
        [wanted(BFLOAT16, (2, 5, 24))], lambda x, i, y: gather.gather(x, i, y, 0),
        lambda x, i: x[i], ulps=0.5,
    )  # fmt: skip
    x = normal((3, 6, 5, 8))
    for axis in range(4):
        indices = RANDOM.integers(-x.shape[axis], x.shape[axis], (2, 3))
        shape = (*x.shape[:axis], 2, 3, *x.shape[axis + 1 :])
        yield Example(
            f"gather_{axis}", [given(x, SINGLE), given(indices)], [wanted(SINGLE, shape)],
            lambda x, i, y, axis=axis: gather.gather(x, i, y, axis),
            lambda x, i, axis=axis: np.take(x, i, axis),
        )  # fmt: skip
    yield Example(
        "gather_of_strided", [given(x, HALF, order=(0, 2, 3, 1)), given(np.array(2))],
        [wanted(HALF, (3, 6, 8), order=(0, 2, 1))],
        lambda x, i, y: gather.gather(x, i, y, 2), lambda x, i: x[:, :, i],
    )  # fmt: skip
    yield Example(
        "gather_of_rows_that_are_misaligned",
        [given(normal((6, 8)), HALF, strides=(9, 1)), given(np.array([5, 0, 1]))],
        [wanted(HALF, (3, 8))], lambda x, i, y: gather.gather(x, i, y, 0),
        lambda x, i: x[i],
    )  # fmt: skip
    yield Example(
        "gather_outside", [given(normal((4, 8)) + 9, HALF), given(np.array([3, 4, -5, 0]))],
        [wanted(HALF, (4, 8))], lambda x, i, y: gather.gather(x, i, y, 0),
        lambda x, i: np.where([[True], [False], [False], [True]], x[i * (abs(i) < 4)], 0),
    )  # fmt: skip


def elements():
    x = normal((4, 5, 6))
    for axis in range(3):
        shape = [3, 4, 5]
        indices = RANDOM.integers(-x.shape[axis], x.shape[axis], shape)
        yield Example(
            f"gather_elements_{axis}", [given(x, HALF), given(indices)],
            [wanted(HALF, shape)],
            lambda x, i, y, axis=axis: gather.gather_elements(x, i, y, axis),
            standard("GatherElements", axis=axis),
        )  # fmt: skip


def tuples():
    x = normal((2, 4, 5, 16))
    for batch, count, outer in (
        (0, 1, (3,)),
        (0, 2, (2, 3)),
        (1, 2, (7,)),
        (1, 3, (4,)),
    ):
        limits = np.array(x.shape[batch : batch + count])
        shape = (*x.shape[:batch], *outer, count)
        indices = RANDOM.integers(-limits, limits, shape)
        result = (*shape[:-1], *x.shape[batch + count :])
        yield Example(
            f"gather_nd_{batch}_{count}", [given(x, HALF), given(indices)],
            [wanted(HALF, result)],
            lambda x, i, y, batch=batch: gather.gather_nd(x, i, y, batch),
            standard("GatherND", batch_dims=batch),
        )  # fmt: skip


def scatters():
    for reduction in scatter.REDUCTIONS:
        for axis in range(3):
            shape = [3, 4, 5]
            length = shape[axis] + 1
            indices = RANDOM.integers(-length, length, shape)
            if reduction == "none":
                indices = np.argsort(RANDOM.random(shape), axis)
            x = given(normal((4, 5, 6)) + 2, SINGLE)
            yield Example(
                f"scatter_elements_{reduction}_{axis}",
                [x, given(indices), given(normal(shape, 3), SINGLE)],
                [wanted(SINGLE, (4, 5, 6))],
                lambda x, i, u, y, axis=axis, r=reduction: scatter.scatter_elements(
                    x, i, u, y, axis, r
                ),
                standard("ScatterElements", axis=axis, reduction=reduction), ulps=2.0,
                absolute=1e-6,
            )  # fmt: skip
    for dtype in (
        HALF,
        BFLOAT16,
        SINGLE,
        np.float64,
        np.int8,
        np.int32,
        np.int64,
        np.uint8,
    ):
        for reduction in ("add", "mul", "max", "min"):
            # whole numbers, so that no order of sums can be told from another
            values = np.arange(40) % 3 + (
                np.arange(40) % 2 if reduction == "add" else 0
            )
            yield Example(
                f"scatter_long_{np.dtype(dtype).name}_{reduction}",
                [given(np.ones(7), dtype), given(np.arange(40) % 3 * 3),
                 given(values, dtype)],
                [wanted(dtype, 7)],
                lambda x, i, u, y, r=reduction: scatter.scatter_elements(x, i, u, y, 0, r),
                standard("ScatterElements", reduction=reduction), ulps=0.0,
            )  # fmt: skip


def scattered_slices():
    x = normal((4, 5, 16))
    for count, outer in ((1, (3,)), (2, (2, 3)), (3, (9,))):
        limits = np.array(x.shape[:count])
        for reduction in scatter.REDUCTIONS:
            indices = RANDOM.integers(-limits, limits, (*outer, count))
            if reduction == "none":
                places = RANDOM.permutation(np.prod(limits))[: np.prod(outer)]
                indices = np.stack(np.unravel_index(places, limits), -1).reshape(
                    *outer, count
                )
            shape = (*outer, *x.shape[count:])
            for ordered in (False, True):
                yield Example(
                    f"scatter_nd_{count}_{reduction}_{'ordered' if ordered else 'atomic'}",
                    [given(x, SINGLE), given(indices), given(normal(shape, 5), SINGLE)],
                    [wanted(SINGLE, x.shape)],
                    lambda x, i, u, y, r=reduction, o=ordered: scatter.scatter_nd(
                        x, i, u, y, r, o
                    ),
                    standard("ScatterND", reduction=reduction), ulps=2.0, absolute=1e-6,
                    both=ordered or reduction == "none",
                )  # fmt: skip


ALSO_WIDE = (
    "embedding",
    "gather_2",
    "gather_elements_1",
    "gather_nd_1_2",
    "scatter_elements_add_1",
    "scatter_long_float32_max",
    "scatter_nd_2_add_atomic",
    "scatter_nd_2_add_ordered",
)
"""Examples that are computed with indices of 64 bits, too."""


def examples():
    """One example or more for each way to gather and scatter."""
    families = (gathers, elements, tuples, scatters, scattered_slices)
    for example in (example for family in families for example in family()):
        yield example
        if example.name in ALSO_WIDE:
            yield wide(example)


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_kernels_equal_numpy(example, device):
    check(example, device)


def launches_of(name):
    return next(e for e in EXAMPLES if e.name == name).launches


def test_rows_of_embeddings_are_read_in_vectors():
    assert "_v8_" in launches_of("embedding")[0].kernel.name
    misaligned = launches_of("gather_of_rows_that_are_misaligned")[0]
    assert "_v1_" in misaligned.kernel.name


def test_what_is_scattered_in_place_is_not_copied():
    x, i = given(normal((4, 5)), SINGLE)[0], given(np.zeros((1, 5), np.int64))[0]
    assert len(scatter.scatter_elements(x, i, wanted(SINGLE, (1, 5)), x, 0)) == 1


def test_wrong_shapes_and_reductions_are_refused():
    x, i = wanted(SINGLE, (4, 5)), wanted(np.int64, (2,))
    with pytest.raises(ValueError, match="has the shape"):
        gather.gather(x, i, wanted(SINGLE, (5, 2)), 0)
    with pytest.raises(ValueError, match="no reduction"):
        scatter.scatter_nd(x, i, x, x, "mean")
