"""Products by Strassen's form, alone: any sizes, epilogues, and numbers that keep apart."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import Frame, block, guarded, run, run_frame
from hypothesis import given
from hypothesis import strategies as st
from oracle import DTYPES
from runtime_ep_cpu.codegen import strassen
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec, library
from runtime_ep_cpu.codegen.microkernel import shapes, tiles, usual_width
from runtime_ep_cpu.codegen.target import host, named, runnable
from test_gemm import multiply, packed

TARGETS = runnable()
RNG = np.random.default_rng(29)


def floats(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def close(got, a, b, k, bias=0.0):
    want = a.astype(np.float64) @ b.astype(np.float64) + bias
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * k**0.5)


def by_form(
    target, a, b, bias=None, expression=None, operands=(), wide=(), threads=1, cut=None,
    out=None,
):  # fmt: skip
    """Return A [M, K] by B [K, N], and which pairs of rows are multiplied plainly."""
    (m, k), n = a.shape, b.shape[1]
    vectors = usual_width(target)
    width = target.lanes * vectors
    panels = packed(target, b, vectors)
    row = np.zeros(panels.shape[0] * width, np.float32)
    row[:n] = 0 if bias is None else bias
    plain, first = tiles(target, vectors), strassen.first_tiles(target, vectors)
    rows = Spec.of("strassen_rows")
    spec = Spec.of("strassen", vectors=vectors)
    finish = Spec.of(
        "strassen_finish", vectors=vectors, epilogue=expression, wide=tuple(wide)
    )
    kernels = library(target)
    kernels.load([*plain, *first, rows, spec, finish])
    high, half = -(-m // 2), k // 2
    sums = guarded(np.full((4, high, half), np.nan, np.float32))
    apart = guarded(np.full(high, 7, np.int64))
    steps = (a, a.strides[0], sums, half, high * half, apart)
    frame = Frame(kernels.address(rows), block([*steps, m, k, 5]), -(-high // 5))
    run_frame(frame, target)
    cut = cut or strassen.blocking(m, n, k, width, len(plain))
    if out is None:
        element = "float" if expression is None else expression.results[0][1]
        out = guarded(np.zeros((m, n), DTYPES[element]))
    tables = [
        block([kernels.address(tile) for tile in each]) for each in (plain, first)
    ]
    values = [
        *steps, panels, m, n, k, row, np.zeros(width, np.float32), *cut[:4], *tables,
        kernels.address(finish),
        out, out.strides[0] // out.itemsize,
    ]  # fmt: skip
    for x in operands:
        values += [x, x.strides[0] // x.itemsize]
    chunks = cut.blocks * cut.groups
    frame = Frame(
        kernels.address(spec), block(values), chunks, cut.scratch * 4, threads
    )
    frame.scratch[:] = 255  # NaN, whatever reads it
    run_frame(frame, target)
    return out, apart


def plainly(target, a, b, bias=None):
    return multiply(target, a[None], b, usual_width(target), bias=bias)[0]


@given(
    st.integers(32, 5000), st.integers(1, 5000), st.integers(128, 2500),
    st.sampled_from((8, 16, 24, 48)), st.sampled_from((4, 6, 8)),
)  # fmt: skip
def test_blocks_cover_the_product_and_are_never_too_small(m, n, half, width, most):
    cut = strassen.blocking(m, n, 2 * half, width, most)
    high, pairs = -(-m // 2), -(-n // (2 * width))
    assert high // cut.blocks >= 16
    assert (cut.groups - 1) * cut.panels < pairs <= cut.groups * cut.panels
    rounds = -(-half // cut.k_block)
    assert rounds == 1 or cut.k_block % 4 == 0
    rows = most if rounds == 1 else -(-high // cut.blocks)
    assert cut.scratch == 4 * cut.k_block * width + 7 * rows * width


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("m", [32, 33, 51, 128, 131])
def test_products_of_many_sizes(name, m):
    target = named(name)
    width = target.lanes * usual_width(target)
    for panels, k in ((2, 256), (3, 258), (4, 402), (5, 36)):
        n = panels * width - int(RNG.integers(0, width))
        a, b, bias = guarded(floats(m, k)), floats(k, n), floats(n)
        got, apart = by_form(target, a, b, bias)
        close(got, a, b, k, bias)
        assert not apart.any()


def test_errors_are_twice_those_of_plain_sums():
    target = host()
    a, b = floats(128, 768), floats(768, 384)
    want = a.astype(np.float64) @ b
    form, plain = (
        np.sqrt(np.mean((got - want) ** 2))
        for got in (by_form(target, a, b)[0], plainly(target, a, b))
    )
    assert plain < form < 2.2 * plain


def test_chunks_and_threads_change_no_bit():
    target = host()
    width = target.lanes * usual_width(target)
    a, b = floats(131, 300), floats(300, 7 * width - 5)
    want, _ = by_form(target, a, b)
    cut = strassen.blocking(
        131, b.shape[1], 300, width, shapes(target)[usual_width(target)]
    )
    for panels in (1, 2, 4):
        some = cut._replace(panels=panels, groups=-(-4 // panels))
        got, _ = by_form(target, a, b, threads=2, cut=some)
        np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


@pytest.mark.parametrize("name", TARGETS)
def test_sums_in_several_blocks_of_k_are_those_of_one(name):
    target = named(name)
    vectors = usual_width(target)
    width = target.lanes * vectors
    a, b = floats(67, 200), floats(200, 4 * width)
    cut = strassen.blocking(67, 4 * width, 200, width, shapes(target)[vectors])
    rows = -(-34 // cut.blocks)
    for k_block in (4, 36, 96):
        scratch = 4 * k_block * width + 7 * rows * width
        got, _ = by_form(
            target, a, b, cut=cut._replace(k_block=k_block, scratch=scratch)
        )
        close(got, a, b, 200)


FINISH = Expression(
    ("float", "float", "half"),
    (Instruction("tanh", (0,)), Instruction("multiply", (3, 1)), Instruction("add", (4, 2))),
    ((5, "float"),),
)  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("element", ["float", "half", "bfloat"])
@pytest.mark.parametrize("panels", [3, 4])
def test_an_epilogue_sees_the_whole_sum_and_operands(name, element, panels):
    target = named(name)
    m, k, n = 45, 64, panels * target.lanes * usual_width(target) - 3
    a, b, bias = floats(m, k), floats(k, n) / 8, floats(n)
    per_row = guarded(floats(m, 1))
    full = guarded(floats(m, n).astype(np.float16))
    expression = FINISH._replace(results=((5, element),))
    got, _ = by_form(
        target, a, b, bias, expression, operands=(per_row, full), wide=(False, True)
    )
    want = np.tanh(a.astype(np.float64) @ b + bias) * per_row + full
    atol = {"float": 1e-5, "half": 4e-3, "bfloat": 4e-2}[element]
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=atol)


def test_results_may_have_gaps_and_nothing_lies_in_them_after():
    target = host()
    n = 4 * target.lanes * usual_width(target) - 7
    memory = np.full((70, n + 20), 5, np.float32)
    a, b = floats(70, 256), floats(256, n)
    by_form(target, a, b, out=memory[:, :n])
    close(memory[:, :n], a, b, 256)
    assert (memory[:, n:] == 5).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [3, 50, 99])
def test_what_is_not_finite_stays_in_its_row_and_column(special, row):
    target = host()
    n = 4 * target.lanes * usual_width(target)
    a, b = floats(100, 256), floats(256, n)
    clean, _ = by_form(target, a, b)
    a[row, 200] = special
    b[7, n - 1] = special
    got, apart = by_form(target, a, b)
    finite = np.ones((100, n), bool)
    finite[row], finite[:, -1] = False, False
    np.testing.assert_allclose(got[finite], clean[finite], atol=1e-4)
    assert not np.isfinite(got[~finite]).any()
    assert apart.nonzero()[0].tolist() == [row % 50]


def test_sums_that_overflow_where_the_product_does_not_are_made_plainly():
    target = host()
    n = 4 * target.lanes * usual_width(target)
    a, b = np.abs(floats(64, 256)) * np.float32(1e34), np.abs(floats(256, n))
    b *= np.float32(20)
    b[:, : n // 2] *= -1
    want = a.astype(np.float64) @ b
    assert np.abs(want).max() < np.finfo(np.float32).max
    got, _ = by_form(target, a, b)
    np.testing.assert_allclose(got, want, rtol=1e-5)


def test_a_row_that_is_far_smaller_than_its_pair_keeps_its_digits():
    target = host()
    n = 4 * target.lanes * usual_width(target)
    a, b, bias = floats(96, 512), floats(512, n), floats(n)
    a[:48] *= np.float32(1e4)
    a[60] = 0
    got, apart = by_form(target, a, b, bias)
    np.testing.assert_array_equal(got, plainly(target, a, b, bias))
    np.testing.assert_array_equal(got[60], bias)
    assert apart.all()


def test_a_bias_that_is_not_finite_makes_no_difference_to_other_columns():
    target = host()
    n = 4 * target.lanes * usual_width(target)
    a, b, bias = floats(64, 256), floats(256, n), floats(n)
    want, _ = by_form(target, a, b, bias)
    bias[[3, n - 1]] = -np.inf
    got, _ = by_form(target, a, b, bias)
    assert (got[:, [3, n - 1]] == -np.inf).all()
    rest = np.delete(np.arange(n), [3, n - 1])
    np.testing.assert_array_equal(got[:, rest], want[:, rest])


@pytest.mark.parametrize("name", TARGETS)
def test_weighing_gives_the_sums_of_squares_of_rows_and_columns(name):
    target = named(name)
    vectors = usual_width(target)
    width = target.lanes * vectors
    b = floats(70, 3 * width - 2)
    panels = packed(target, b, vectors)
    rows, columns = guarded(np.zeros((3, 70), "f")), guarded(np.zeros(3 * width, "f"))
    spec = Spec.of("strassen_scales", vectors=vectors)
    run(spec, [panels, 70, rows, columns], 3, target=target)
    np.testing.assert_allclose(rows.sum(axis=0), (b * b).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(columns[:-2], (b * b).sum(axis=0), rtol=1e-5)


def test_rows_of_zeros_beside_each_other_give_the_bias():
    target = host()
    n = 4 * target.lanes * usual_width(target)
    a, b, bias = floats(96, 512), floats(512, n), floats(n)
    a[10] = a[58] = 0
    got, apart = by_form(target, a, b, bias)
    np.testing.assert_array_equal(got[[10, 58]], [bias, bias])
    close(got, a, b, 512, bias)
    assert not apart.any()
