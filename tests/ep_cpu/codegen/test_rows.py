"""Normalisations and softmax of rows against float64, and against the NumPy kernels."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

from driver import guarded, run
from oracle import DTYPES, identity, strides
from runtime_ep_cpu.codegen import normalization, rows, softmax  # noqa: F401
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import host, named, runnable
from runtime_ep_cpu.ops import activation

TARGETS = runnable()
LENGTHS = [1, 3, 4, 16, 31, 64, 100, 768, 5000]


def compute(spec, results, operands, extra=(), target=None, threads=1, elements=16384):
    """Run a kernel over rows; arrays broadcast to the shape of the first result."""
    shape = results[0].shape
    views = [np.broadcast_to(x, shape) for x in operands]
    laid = [np.broadcast_to(x, shape) for x in results]
    found = rows.plan(
        elements,
        shape,
        [strides(x) for x in laid],
        [strides(x) for x in views],
        [0] * len(extra),
    )
    values = [*results, *views, *found.numbers]
    where = len(results) + len(views) + 1
    values[where : where + len(extra)] = extra
    assert len(values) == len(rows.fields(len(results), len(views), extra))
    run(spec, values, found.chunks, found.scratch, threads, target or host())
    return found


def numbers(shape, element="float", seed=0, scale=1.0):
    values = np.random.default_rng(seed).normal(size=shape) * scale
    return guarded(values.astype(DTYPES[element]))


def affine(element="float", operand="float"):
    """Return the epilogue of a norm: times a scale, plus a bias."""
    steps = (Instruction("multiply", (0, 1)), Instruction("add", (3, 2)))
    return Expression((element, operand, operand), steps, ((4, operand),))


def added(*elements):
    """Return the prologue that adds two operands."""
    return Expression(elements, (Instruction("add", (0, 1)),), ((2, elements[0]),))


def standardized(x, epsilon, centred=True):
    x = x.astype(np.float64)
    mean = x.mean(-1, keepdims=True) if centred else 0
    inverse = 1 / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + epsilon)
    return (x - mean) * inverse, mean, inverse


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("length", LENGTHS)
def test_layer_norm_is_scaled_and_shifted(target, length):
    x = numbers((7, length), seed=1)
    x += 100
    scale, bias = numbers(length, seed=2), numbers(length, seed=3)
    result = guarded(np.zeros_like(x))
    spec = Spec.of("layer_norm", prologue=identity(), epilogue=affine())
    compute(spec, [result], [x, scale, bias], (1e-5,), named(target))
    wanted = standardized(x, 1e-5)[0] * scale + bias
    np.testing.assert_allclose(result, wanted, rtol=1e-4, atol=1e-4)
    result = guarded(np.zeros_like(x))
    x -= 100
    compute(spec, [result], [x, scale, bias], (1e-5,), named(target))
    wanted = standardized(x, 1e-5)[0] * scale + bias
    np.testing.assert_allclose(result, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", ["layer_norm", "rms_norm"])
def test_a_residual_sum_is_computed_once_and_written(target, family):
    x, y = numbers((2, 5, 48), seed=1), numbers((2, 5, 48), seed=2)
    scale, bias = numbers(48, seed=3), numbers(48, seed=4)
    total, result = guarded(np.zeros_like(x)), guarded(np.zeros_like(x))
    spec = Spec.of(
        family, prologue=added("float", "float"), epilogue=affine(), stores=True
    )
    compute(spec, [total, result], [x, y, scale, bias], (1e-6,), named(target))
    np.testing.assert_array_equal(total, x + y)
    wanted = standardized(x + y, 1e-6, family == "layer_norm")[0] * scale + bias
    np.testing.assert_allclose(result, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["half", "bfloat", "double"])
def test_other_element_types_are_normalised(target, element):
    x = numbers((5, 70), element, 1)
    scale, bias = numbers(70, element, 2), numbers(70, element, 3)
    computed = "double" if element == "double" else "float"
    result = guarded(np.zeros_like(x))
    spec = Spec.of(
        "layer_norm", prologue=identity(element), epilogue=affine(computed, element)
    )
    compute(spec, [result], [x, scale, bias], (1e-5,), named(target))
    given = [v.astype(np.float64) for v in (x, scale, bias)]
    wanted = standardized(given[0], np.float32(1e-5))[0] * given[1] + given[2]
    tolerance = {"half": 2e-3, "bfloat": 2e-2, "double": 1e-12}[element]
    np.testing.assert_allclose(
        result.astype(np.float64), wanted, rtol=tolerance, atol=tolerance
    )


def test_mean_and_inverse_deviation_are_results_of_a_value_per_row():
    x = numbers((6, 3, 50), seed=1)
    result = np.zeros_like(x)
    mean, inverse = np.zeros((2, 6, 3, 1), np.float32)
    spec = Spec.of(
        "layer_norm", prologue=identity(), epilogue=identity(), statistics=True
    )
    compute(spec, [result, mean, inverse], [x], (1e-5,))
    wanted = standardized(x, 1e-5)
    for found, expected in zip((result, mean, inverse), wanted, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_instance_normalisation_is_a_layer_norm_scaled_per_row():
    x = numbers((2, 3, 70), seed=1)
    scale, bias = numbers((3, 1), seed=2), numbers((3, 1), seed=3)
    result = np.zeros_like(x)
    spec = Spec.of("layer_norm", prologue=identity(), epilogue=affine())
    compute(spec, [result], [x, scale, bias], (1e-5,))
    wanted = standardized(x, 1e-5)[0] * scale + bias
    np.testing.assert_allclose(result, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", ["softmax", "log_softmax"])
@pytest.mark.parametrize("length", LENGTHS)
def test_softmax_sums_to_one(target, family, length):
    x = numbers((5, length), seed=1, scale=5.0)
    result = guarded(np.zeros_like(x))
    spec = Spec.of(family, prologue=identity(), epilogue=identity())
    compute(spec, [result], [x], (), named(target))
    wanted = getattr(activation, family)(x.astype(np.float64), -1)
    rounded_sum = 4e-7 if family == "log_softmax" else 0
    by_rounded_distance = 2 * 2.0**-24 * np.ptp(x) + 1e-6
    np.testing.assert_allclose(
        result, wanted, rtol=by_rounded_distance, atol=rounded_sum
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("family", ["softmax", "log_softmax"])
def test_nan_and_infinities_spread_as_in_numpys_kernel(target, family):
    x = np.random.default_rng(0).normal(size=(8, 37)).astype(np.float32)
    inf, nan = np.inf, np.nan
    for row, (place, value) in enumerate([
        (0, nan), (36, nan), (5, inf), (7, -inf), (slice(None), -inf),
        (slice(0, 2), [inf, nan]), (slice(4, 6), [-inf, -inf]), (3, 3e38),
    ]):  # fmt: skip
        x[row, place] = value
    result = np.zeros_like(x)
    spec = Spec.of(family, prologue=identity(), epilogue=identity())
    compute(spec, [result], [x], (), named(target))
    wanted = getattr(activation, family)(x, -1)
    np.testing.assert_allclose(result, wanted, rtol=2e-6, atol=1e-7)


@pytest.mark.parametrize("target", TARGETS)
def test_scores_are_scaled_and_masked_before_and_weighed_after(target):
    scores = numbers((2, 3, 4, 33), seed=1, scale=20.0)
    mask = np.where(numbers((2, 1, 1, 33), seed=2) > 0, 0, -np.inf).astype(np.float32)
    weight = numbers((3, 4, 1), seed=3)
    prologue = Expression(
        ("float", "float"),
        (
            Instruction("constant", (), (("type", "float"), ("value", 0.125))),
            Instruction("multiply", (0, 2)),
            Instruction("add", (3, 1)),
        ),
        ((4, "float"),),
    )
    epilogue = Expression(
        ("float", "float"), (Instruction("multiply", (0, 1)),), ((2, "half"),)
    )
    result = guarded(np.zeros(scores.shape, np.float16))
    spec = Spec.of("softmax", prologue=prologue, epilogue=epilogue)
    compute(spec, [result], [scores, mask, weight], (), named(target))
    wanted = activation.softmax(scores.astype(np.float64) / 8 + mask, -1) * weight
    np.testing.assert_allclose(result.astype(np.float64), wanted, rtol=1e-3, atol=1e-3)


def test_rows_may_be_views_of_any_stride_and_computed_in_place():
    whole = numbers((40, 6, 5), seed=1)
    view = whole.transpose(2, 1, 0)
    result = np.zeros(view.shape, np.float32)
    spec = Spec.of("softmax", prologue=identity(), epilogue=identity())
    found = compute(spec, [result], [view])
    assert found.scratch
    wanted = activation.softmax(view.astype(np.float64), -1)
    np.testing.assert_allclose(result, wanted, rtol=2e-6)
    compute(spec, [result], [result])
    np.testing.assert_allclose(result, activation.softmax(wanted, -1), rtol=2e-6)


@pytest.mark.parametrize("prologue", [identity(), added("float", "float")])
def test_a_norm_may_write_over_its_operands(prologue):
    x, y = numbers((6, 100), seed=1), numbers((6, 100), seed=2)
    scale, bias = numbers(100, seed=3), numbers(100, seed=4)
    given = [x, y][: len(prologue.operands)]
    wanted = standardized(sum(given), 1e-5)[0] * scale + bias
    total = sum(given).copy()
    spec = Spec.of("layer_norm", prologue=prologue, epilogue=affine(), stores=True)
    compute(spec, [x, y], [*given, scale, bias], (1e-5,))
    np.testing.assert_array_equal(x, total)
    np.testing.assert_allclose(y, wanted, rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("shape", [(4000, 4), (1, 200_000), (300, 768)])
def test_short_and_long_rows_give_one_answer_for_any_threads(shape):
    x = numbers(shape, seed=1)
    spec = Spec.of("softmax", prologue=identity(), epilogue=identity())
    results = []
    for threads in (1, 2):
        result = guarded(np.zeros_like(x))
        compute(spec, [result], [x], threads=threads)
        results.append(result)
    np.testing.assert_array_equal(*results)
    wanted = activation.softmax(x.astype(np.float64), -1)
    np.testing.assert_allclose(results[0], wanted, rtol=3e-6, atol=1e-12)


def test_results_that_are_not_contiguous_are_refused():
    whole = np.zeros((4, 6), np.float32)
    spec = Spec.of("softmax", prologue=identity(), epilogue=identity())
    with pytest.raises(ValueError, match="copy from there"):
        compute(spec, [whole[:, ::2]], [numbers((4, 3))])
