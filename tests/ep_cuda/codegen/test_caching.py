"""Caches grow by rows, each image's at a place of its own, in place or in new memory."""

import numpy as np
import pytest
from codegen.examples import Example, check, given, name_of, normal, prepared, wanted
from runtime_ep_cuda.codegen.caching import append

HALF, SINGLE = np.float16, np.float32


def grown(past, new, counts, more, room):
    """Return what a cache becomes, row by row."""
    batch, heads, rows, size = new.shape
    made = np.zeros((batch, heads, room, size))
    for image in range(batch):
        start = more + (0 if counts is None else int(counts[image]))
        if past is not None:
            kept = min(start, past.shape[2])
            made[image, :, :kept] = past[image, :, :kept]
        made[image, :, start : start + rows] = new[image]
    return made


def examples():
    for dtype in (HALF, SINGLE):
        for size in (8, 5):
            yield Example(
                f"each_image_at_its_place_{np.dtype(dtype).name}_{size}",
                [
                    given(normal((2, 3, 6, size)), dtype),
                    given(normal((2, 3, 2, size), 1), dtype, order=(0, 2, 1, 3)),
                    given(np.array([5, 3]), np.int32),
                ],
                [wanted(dtype, (2, 3, 7, size))],
                lambda p, n, c, y: append(p, n, y, c, -1),
                lambda p, n, c: grown(p, n, c, -1, 7),
            )
    yield Example(
        "a_first_prompt_in_a_large_cache",
        [given(normal((2, 2, 4, 8)), HALF, offset=8)],
        [wanted(HALF, (2, 2, 9, 8))],
        lambda n, y: append(None, n, y),
        lambda n: grown(None, n, None, 0, 9),
    )
    yield Example(
        "from_a_place_that_is_known",
        [given(normal((1, 2, 6, 8)), SINGLE), given(normal((1, 2, 1, 8), 1), SINGLE)],
        [wanted(SINGLE, (1, 2, 6, 8))],
        lambda p, n, y: append(p, n, y, None, 3),
        lambda p, n: grown(p, n, None, 3, 6),
    )
    yield Example(
        "what_is_behind_may_stay",
        [given(normal((2, 2, 6, 8)), HALF), given(normal((2, 2, 2, 8), 1), HALF)],
        [wanted(HALF, (2, 2, 6, 8))],
        lambda p, n, y: append(p, n, y, None, 1, keep=True),
        lambda p, n: np.concatenate([p[:, :, :1], n, p[:, :, 3:]], axis=2),
    )
    cache = given(normal((1, 1, 6, 8)), SINGLE)
    yield Example(
        "in_the_same_memory_only_new_rows_are_written",
        [cache, given(normal((1, 1, 1, 8), 1), SINGLE)],
        [cache[0]],
        lambda p, n, y: append(p, n, y, None, 2),
        lambda p, n: np.concatenate([p[:, :, :2], n, p[:, :, 3:]], axis=2),
    )


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_kernels_equal_numpy(example, device):
    check(example, device)
