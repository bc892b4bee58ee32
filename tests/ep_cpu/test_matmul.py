"""Matrix products against NumPy in float64, integers exactly, and onnxruntime."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from evaluate import narrow, run_node
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from peers import by_onnxruntime
from runtime.errors import ExecutionError
from runtime_ep_cpu.ops._products import exact_product, product

pytestmark = pytest.mark.filterwarnings("error")

sizes = st.integers(0, 5)


def random(shape, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize == 1:
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max + 1, shape).astype(dtype)
    return (rng.normal(size=shape) * 3).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "uint32"])
@given(data=st.data())
def test_matmul_is_numpys(dtype, data):
    shapes = data.draw(
        hnp.mutually_broadcastable_shapes(signature="(m?,k),(k,n?)->(m?,n?)")
    )
    a, b = (np.abs(random(shape)).astype(dtype) for shape in shapes.input_shapes)
    [y] = run_node("MatMul", [a, b])
    assert y.dtype == dtype
    np.testing.assert_allclose(y, np.matmul(narrow(a), narrow(b)), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_half_precision_is_rounded_only_once(dtype):
    a, b = random((7, 300), dtype), random((300, 5), dtype, 1)
    [y] = run_node("MatMul", [a, b])
    wanted = (narrow(a) @ narrow(b)).astype(np.float32).astype(dtype)
    assert y.dtype == dtype
    np.testing.assert_allclose(narrow(y), narrow(wanted), rtol=1e-2, atol=1e-2)


def test_operands_of_any_layout_are_multiplied():
    a = random((4, 6, 10))[::2, ::-1, ::2]
    b = np.broadcast_to(random((5, 1, 3)), (5, 2, 3)).transpose(1, 0, 2)
    np.testing.assert_allclose(product(a, b), np.matmul(a, b), rtol=1e-5)


def test_infinities_raise_no_warning():
    a = np.array([[np.inf, -np.inf], [3e38, 3e38]], np.float32)
    [y] = run_node("MatMul", [a, np.ones((2, 2), np.float32)])
    assert np.isnan(y[0]).all()
    assert np.isinf(y[1]).all()


@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((), (2,)), ((2, 3), (4,))])
def test_matrices_that_do_not_fit_are_refused(shapes):
    with pytest.raises(ExecutionError, match="matrix product"):
        run_node("MatMul", [random(shape) for shape in shapes])


@given(
    m=sizes,
    k=sizes,
    n=sizes,
    turned=st.tuples(st.booleans(), st.booleans()),
    alpha=st.sampled_from([1.0, 0.5, -2.0]),
    beta=st.sampled_from([1.0, 0.0, 0.25]),
    added=st.sampled_from([None, (), "n", "1n", "m1", "mn"]),
)
def test_gemm_is_its_formula(m, k, n, turned, alpha, beta, added):
    named = {"m": m, "n": n, "1": 1}
    c = None if added is None else random(tuple(named[name] for name in added), seed=2)
    a, b = random((m, k)), random((k, n), seed=1)
    given_a, given_b = (x.T if t else x for x, t in zip((a, b), turned, strict=True))
    attributes = {"alpha": alpha, "beta": beta}
    attributes |= {"transA": int(turned[0]), "transB": int(turned[1])}
    [y] = run_node("Gemm", [given_a, given_b, c], attributes, 13)
    wanted = alpha * (narrow(a) @ narrow(b)) + (0 if c is None else beta * c)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-5)
    assert y.shape == (m, n)


def test_gemm_multiplies_integers_by_real_factors():
    a, b = np.full((2, 3), 3, np.int32), np.full((3, 2), 5, np.int32)
    [y] = run_node("Gemm", [a, b, b[:2]], {"alpha": 0.5, "beta": 2.0}, 11)
    assert y.dtype == np.int32
    assert y.tolist() == [[32, 32], [32, 32]]


def test_gemm_leaves_its_inputs_alone():
    a, b, c = random((2, 3)), random((3, 4)), random((2, 4))
    before = [x.copy() for x in (a, b, c)]
    run_node("Gemm", [a, b, c], {"alpha": 2.0, "beta": 3.0}, 13)
    for x, y in zip((a, b, c), before, strict=True):
        np.testing.assert_array_equal(x, y)


def test_early_gemm_broadcasts_only_when_told():
    a, b, c = random((2, 3)), random((3, 4)), random((4,))
    [y] = run_node("Gemm", [a, b, c], {"broadcast": 1}, 6)
    np.testing.assert_allclose(y, a @ b + c, rtol=1e-5)
    with pytest.raises(ExecutionError, match="broadcast is 0"):
        run_node("Gemm", [a, b, c], opset=6)
    [y] = run_node("Gemm", [a, b, a @ b], opset=1)
    np.testing.assert_allclose(y, 2 * (a @ b), rtol=1e-5)


def test_gemm_takes_no_stacks_and_no_addend_larger_than_the_result():
    with pytest.raises(ExecutionError, match="matrices"):
        run_node("Gemm", [random((1, 2, 3)), random((3, 4))], opset=13)
    with pytest.raises(ExecutionError):
        run_node("Gemm", [random((1, 3)), random((3, 4)), random((2, 4))], opset=13)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]),
        ("ij, jk", [(2, 3), (3, 4)]),
        ("bhid,bhjd->bhij", [(2, 3, 4, 5), (2, 3, 6, 5)]),
        ("...ii->...i", [(2, 3, 3)]),
        ("ii", [(3, 3)]),
        ("ij->ji", [(2, 3)]),
        ("Ab,bA->A", [(2, 3), (3, 2)]),
        ("...ij,...jk->...ik", [(5, 1, 2, 3), (4, 3, 2)]),
        ("i,j,k->kji", [(2,), (3,), (4,)]),
        ("i->", [(0,)]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8"])
def test_einsum_follows_its_equation(equation, shapes, dtype):
    inputs = [np.abs(random(s, seed=i)).astype(dtype) for i, s in enumerate(shapes)]
    [y] = run_node("Einsum", inputs, {"equation": equation})
    wide = [x.astype(np.int64 if x.dtype.kind in "iu" else np.float64) for x in inputs]
    wanted = np.einsum(equation, *wide).astype(dtype)
    assert y.dtype == dtype
    assert y.shape == wanted.shape
    np.testing.assert_allclose(narrow(y), narrow(wanted), rtol=2e-3)


def test_an_einsum_of_the_wrong_rank_is_refused():
    with pytest.raises(ExecutionError, match="Einsum"):
        run_node("Einsum", [random((2, 3))], {"equation": "i->i"})


@given(
    batch=hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
    size=st.integers(0, 4),
)
def test_determinants_are_of_the_last_two_axes(batch, size):
    x = random((*batch, size, size))
    [y] = run_node("Det", [x], opset=22)
    assert isinstance(y, np.ndarray)
    np.testing.assert_allclose(y, np.linalg.det(narrow(x)), rtol=1e-3, atol=1e-3)


def test_only_square_matrices_have_a_determinant():
    with pytest.raises(ExecutionError, match="square"):
        run_node("Det", [random((2, 3))], opset=22)


def exactly(a, b, a_zero=0, b_zero=0):
    a = a.astype(np.int64) - np.asarray(a_zero).astype(np.int64)
    return a @ (b.astype(np.int64) - np.asarray(b_zero).astype(np.int64))


@pytest.mark.parametrize("a_type", [np.int8, np.uint8])
@pytest.mark.parametrize("b_type", [np.int8, np.uint8])
@given(k=st.sampled_from([0, 1, 7, 258, 259, 1023, 1500]), m=sizes, n=sizes)
def test_integer_products_are_exact_at_any_depth(a_type, b_type, k, m, n):
    a, b = random((m, k), a_type), random((k, n), b_type, 1)
    a[:1], b[:, :1] = np.iinfo(a_type).max, np.iinfo(b_type).min
    zeros = [np.array(np.iinfo(t).min + 1).astype(t) for t in (a_type, b_type)]
    for points in ([], zeros, [zeros[0]]):
        [y] = run_node("MatMulInteger", [a, b, *points], opset=10)
        np.testing.assert_array_equal(y, exactly(a, b, *points))
        assert y.dtype == np.int32


def test_integer_products_take_zero_points_by_row_and_column():
    a, b = random((2, 3, 5), np.uint8), random((5, 4), np.int8)
    rows, columns = random((2, 3, 1), np.uint8, 1), random((4,), np.int8, 2)
    [y] = run_node("MatMulInteger", [a, b, rows, columns], opset=10)
    np.testing.assert_array_equal(y, exactly(a, b, rows, columns))
    rows = random((3,), np.uint8, 1)
    [y] = run_node("MatMulInteger", [a[0], b, rows, columns], opset=10)
    np.testing.assert_array_equal(y, exactly(a[0], b, rows[:, None], columns))


def test_integer_products_of_vectors_have_no_matrix_axes():
    a, b = random((600,), np.uint8), random((600,), np.uint8, 1)
    [y] = run_node("MatMulInteger", [a, b], opset=10)
    assert y.shape == ()
    assert int(y) == int(exactly(a, b))
    assert int(exact_product(a.astype(np.float32), b.astype(np.float32))) == int(y)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("per_axis", [False, True])
def test_quantized_products_are_those_of_onnxruntime(dtype, per_axis):
    rng = np.random.default_rng(3)
    a, b = random((6, 40), dtype), random((40, 5), np.int8, 1)
    b_scale = np.array(0.02, np.float32)
    b_zero = np.array(0, np.int8)
    if per_axis:
        b_scale = rng.uniform(0.01, 0.03, 5).astype(np.float32)
        b_zero = np.zeros(5, np.int8)
    inputs = [a, np.array(0.05, np.float32), np.array(7, dtype), b, b_scale, b_zero]
    inputs += [np.array(0.7, np.float32), np.array(9, dtype)]
    [y] = run_node("QLinearMatMul", inputs, opset=21)
    [wanted] = by_onnxruntime("QLinearMatMul", inputs, opset=21)
    np.testing.assert_array_equal(y, wanted)


def test_quantized_products_saturate():
    a = np.full((1, 4), 127, np.int8)
    one, zero = np.array(1, np.float32), np.array(0, np.int8)
    [y] = run_node("QLinearMatMul", [a, one, zero, a.T, one, zero, one, zero], opset=10)
    assert y.tolist() == [[127]]


def test_quantized_products_take_8_bit_floats_and_half_precision_scales():
    kind = ml_dtypes.float8_e4m3fn
    a, b = random((3, 4), kind), random((4, 2), kind, 1)
    scale, zero = np.array(0.5, np.float16), np.array(0, kind)
    [y] = run_node("QLinearMatMul", [a, scale, zero, b, scale, zero, scale, zero])
    wanted = np.clip(narrow(a) @ narrow(b) * 0.5, -448, 448)
    assert y.dtype == kind
    np.testing.assert_array_equal(narrow(y), narrow(wanted.astype(kind)))
