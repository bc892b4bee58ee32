"""Products and packing, alone: blocking, batches, epilogues, memory, repeatability."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import Frame, block, guarded, run_frame, slot
from hypothesis import given
from hypothesis import strategies as st
from oracle import DTYPES
from runtime_ep_cpu.codegen import gemm
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec, library
from runtime_ep_cpu.codegen.microkernel import shapes, tiles
from runtime_ep_cpu.codegen.target import host, named, runnable

TARGETS = runnable()
RNG = np.random.default_rng(12)


def floats(*shape, dtype=np.float32):
    return RNG.standard_normal(shape).astype(dtype)


def packed(target, b, vectors, element="float", turned=False, threads=1):
    """Return the panels of a matrix [K, N], or of one [N, K] that is turned."""
    k, n = b.shape[::-1] if turned else b.shape
    width = target.lanes * vectors
    count = -(-n // width)
    out = guarded(np.full((count, k, width), np.nan, np.float32))
    steps = [s // b.itemsize for s in b.strides]
    strides = steps[::-1] if turned else steps
    spec = Spec.of("pack", vectors=vectors, element=element, turned=turned)
    call(
        target, spec, [b, *strides, out, k, n, count, block([0, 0])], count, 0, threads
    )
    return out


def call(target, spec, values, chunks, scratch=0, threads=1, extra=()):
    kernels = library(target)
    kernels.load([spec, *extra])
    frame = Frame(kernels.address(spec), block(values), chunks, scratch, threads)
    run_frame(frame, target)


def multiply(
    target, a, b, vectors, out=None, bias=None, expression=None, operands=(), wide=(),
    threads=1, cut=None,
):  # fmt: skip
    """Return A [batch, M, K] by B [K, N] through panels, with an epilogue."""
    batch, m, k = a.shape
    n = b.shape[-1]
    width = target.lanes * vectors
    panels = packed(target, b, vectors)
    count = panels.shape[0] * width
    row = np.zeros(count, np.float32)
    if bias is not None:
        row[:n] = bias
    element = "float" if expression is None else expression.results[0][1]
    if out is None:
        out = np.full((batch, m, n), 7, DTYPES[element])
    direct = element == "float"
    cut = cut or gemm.blocking(m, n, k, batch, width)
    kernels = library(target)
    list_of_tiles = tiles(target, vectors)
    kernels.load(list_of_tiles)
    table = block([kernels.address(tile) for tile in list_of_tiles])
    steps = [s // out.itemsize for s in out.strides]
    a_step = a.strides[0] // 4
    offsets = []
    for i in range(batch):
        place = i * steps[0]
        shifts = [
            0 if x.ndim < 3 else i * (x.strides[0] // x.itemsize) for x in operands
        ]
        offsets += [i * a_step, 0, place if direct else 0, place, *shifts]
    offsets = block(offsets)
    c_row = steps[1] if m > 1 else n
    values = [
        a, a.strides[1], panels, out if direct else 0, c_row, m, n, k, row, *cut,
        table, offsets, out, c_row,
    ]  # fmt: skip
    for x in operands:
        values += [x, x.strides[-2] // x.itemsize if x.ndim > 1 else 0]
    spec = Spec.of("gemm", vectors=vectors, epilogue=expression, wide=tuple(wide))
    scratch = 0 if direct else cut.rows * cut.panels * width * 4
    chunks = batch * cut.blocks * cut.groups
    assert slot(values[0]) == a.ctypes.data
    call(target, spec, values, chunks, scratch, threads)
    return out


def close(got, a, b, k, bias=0.0):
    want = a.astype(np.float64) @ b.astype(np.float64) + bias
    np.testing.assert_allclose(got, want, rtol=0, atol=3e-6 * k**0.5 + 1e-6)


@given(
    st.integers(1, 5000), st.integers(1, 5000), st.integers(0, 5000),
    st.integers(1, 40), st.sampled_from((16, 32, 48, 64)),
)  # fmt: skip
def test_blocks_cover_the_product_exactly(m, n, k, batch, width):
    cut = gemm.blocking(m, n, k, batch, width)
    panels = -(-n // width)
    assert (cut.blocks - 1) * cut.rows < m <= cut.blocks * cut.rows
    assert (cut.groups - 1) * cut.panels < panels <= cut.groups * cut.panels
    if k:
        rounds = -(-k // cut.k_block)
        assert rounds * cut.k_block >= k
        assert rounds == 1 or cut.k_block % 4 == 0


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("element", ["float", "half", "bfloat"])
def test_panels_hold_the_matrix_and_zeros(name, turned, element):
    target = named(name)
    for vectors in shapes(target):
        width = target.lanes * vectors
        for k, n in ((1, 1), (5, width), (33, width + 1), (64, 3 * width - 1)):
            b = floats(k, n, dtype=DTYPES[element])
            given = guarded(np.ascontiguousarray(b.T) if turned else b)
            panels = packed(target, given, vectors, element, turned)
            whole = panels.transpose(1, 0, 2).reshape(k, -1)
            np.testing.assert_array_equal(whole[:, :n], b.astype(np.float32))
            assert not whole[:, n:].any()


@pytest.mark.parametrize("name", TARGETS)
def test_products_of_many_sizes(name):
    target = named(name)
    for vectors in shapes(target):
        for _ in range(6):
            batch, m, k, n = (int(RNG.integers(1, most)) for most in (4, 60, 90, 120))
            a, b, bias = guarded(floats(batch, m, k)), floats(k, n), floats(n)
            close(multiply(target, a, b, vectors, bias=bias), a, b, k, bias)


def test_a_product_may_be_cut_anyhow_with_the_same_bits():
    target, vectors = host(), max(shapes(host()))
    width = target.lanes * vectors
    a, b = floats(2, 37, 203), floats(203, 2 * width + 5)
    want = multiply(target, a, b, vectors)
    for rows, panels in ((1, 1), (5, 2), (37, 3), (20, 1)):
        blocks, groups = -(-37 // rows), -(-3 // panels)
        cut = gemm.Blocking(203, rows, blocks, panels, groups)
        got = multiply(target, a, b, vectors, cut=cut, threads=2)
        np.testing.assert_array_equal(got.view(np.int32), want.view(np.int32))


def test_sums_in_several_blocks_of_k_are_those_of_one():
    target, vectors = host(), 2
    a, b = floats(1, 30, 100), floats(100, 45)
    cut = gemm.blocking(30, 45, 100, 1, target.lanes * vectors)
    for k_block in (4, 32, 96):
        got = multiply(target, a, b, vectors, cut=cut._replace(k_block=k_block))
        close(got, a, b, 100)


FINISH = Expression(
    ("float", "float", "half"),
    (Instruction("tanh", (0,)), Instruction("multiply", (3, 1)), Instruction("add", (4, 2))),
    ((5, "float"),),
)  # fmt: skip


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("element", ["float", "half", "bfloat"])
@pytest.mark.parametrize("k_block", [0, 8])
def test_an_epilogue_sees_the_whole_sum_and_operands_per_row_and_column(
    name, element, k_block
):
    target = named(name)
    vectors = max(shapes(target))
    width = target.lanes * vectors
    m, k, n = 13, 30, width + 3
    a, b = floats(2, m, k), floats(k, n) / 4
    per_row = guarded(floats(m, 1))
    full = guarded(floats(2, m, n, dtype=np.float16))
    expression = FINISH._replace(results=((5, element),))
    cut = gemm.blocking(m, n, k, 2, width)
    cut = cut._replace(k_block=k_block or cut.k_block)
    got = multiply(
        target, a, b, vectors, expression=expression, operands=(per_row, full),
        wide=(False, True), cut=cut,
    )  # fmt: skip
    want = np.tanh(a.astype(np.float64) @ b) * per_row + full
    atol = {"float": 1e-5, "half": 4e-3, "bfloat": 4e-2}[element]
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=0, atol=atol)


def test_results_may_have_gaps_and_nothing_lies_in_them_after():
    target, vectors = host(), 1
    a, b = floats(1, 9, 17), floats(17, 21)
    memory = np.full((1, 9, 40), 5, np.float32)
    out = memory[:, :, :21]
    multiply(target, a, b, vectors, out=out)
    close(out, a, b, 17)
    assert (memory[:, :, 21:] == 5).all()


def test_rows_of_a_may_overlap_repeat_and_go_backwards():
    target, vectors = host(), 2
    line = floats(60)
    windows = np.lib.stride_tricks.sliding_window_view(line, 12)[None, ::3]
    b = floats(12, 40)
    close(multiply(target, windows, b, vectors), windows, b, 12)
    same = np.broadcast_to(line[:12], (1, 5, 12))
    close(multiply(target, same, b, vectors), same, b, 12)
    back = floats(1, 7, 12)[:, ::-1]
    close(multiply(target, back, b, vectors), back, b, 12)


@pytest.mark.parametrize("special", [np.nan, np.inf])
def test_what_is_not_finite_stays_in_its_row_and_column(special):
    target, vectors = host(), 3
    a, b = floats(1, 10, 40), floats(40, 50)
    a[0, 4, 39] = special
    b[7, 49] = special
    got = multiply(target, a, b, vectors)[0]
    finite = np.ones((10, 50), bool)
    finite[4], finite[:, 49] = False, False
    assert np.isfinite(got[finite]).all()
    assert not np.isfinite(got[~finite]).any()
