"""Reductions along any axis against NumPy in float64, and against the NumPy kernels."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import oracle
from driver import guarded, run
from oracle import DTYPES, identity, strides
from runtime_ep_cpu.codegen import columns, reduction, rows
from runtime_ep_cpu.codegen.expression import Expression, Instruction, widened
from runtime_ep_cpu.codegen.library import Spec
from runtime_ep_cpu.codegen.target import host, named, runnable
from runtime_ep_cpu.ops import reduce

TARGETS = runnable()


def spec_of(family, operation, prologue, epilogue=None, last=False):
    if epilogue is None:
        positions = operation.startswith("arg_")
        epilogue = identity("i64" if positions else prologue.results[0][1])
    return Spec.of(
        family, operation=operation, prologue=prologue, epilogue=epilogue, last=last
    )


def result_of(spec, shape):
    epilogue = dict(spec.parameters)["epilogue"]
    return guarded(np.zeros(shape, DTYPES[epilogue.results[0][1]]))


def along_last(spec, operands, others=(), target=None, threads=1, pieces=1, count=None):
    """Reduce operands of one shape; results have a value per row, or per piece."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    views = [np.broadcast_to(x, shape) for x in (*operands, *others)]
    result = result_of(spec, (*shape[:-1], pieces))
    steps = [*strides(result)[:-1], 0]
    extra = [count or shape[-1], 1]
    given = [strides(x) for x in views]
    found = rows.plan(16384, shape, [steps], given, extra, pieces)
    values = [result, *views, *found.numbers]
    names = rows.fields(1, len(views), reduction.LAST_EXTRA)
    assert len(values) == len(names)
    run(spec, values, found.chunks, found.scratch, threads, target or host())
    return result


def down(spec, operands, axis, others=(), target=None, threads=1):
    """Reduce operands of one shape down an axis; results keep it with one element."""
    shape = np.broadcast_shapes(*(x.shape for x in operands))
    views = [np.broadcast_to(x, shape) for x in operands]
    beside = [np.broadcast_to(x, shape) for x in others]
    result = result_of(spec, [1 if i == axis else n for i, n in enumerate(shape)])
    given = [strides(x) for x in views]
    found = columns.plan(
        16384, shape, axis, [strides(result)], given, [strides(x) for x in beside]
    )
    values = [result, *views, *beside, *found.numbers]
    names = rows.fields(1, len(views) + len(beside), columns.extra(len(views)))
    assert len(values) == len(names)
    run(spec, values, found.chunks, found.scratch, threads, target or host())
    return result


def wanted_of(operation, x, axis):
    """Reduce by the NumPy kernels' functions, floats in float64."""
    wide = x.astype(oracle.wide({v: k for k, v in DTYPES.items()}[x.dtype]))
    with np.errstate(all="ignore"):
        if operation.startswith("arg_"):
            name = operation.replace("_", "")
            return reduce._position(name, wide, axis, 1, 0)
        name = {"prod": "_prod", "max": "_max", "min": "_min"}.get(operation)
        return getattr(reduce, name or f"_{operation}")(wide, (axis,), True)


def numbers(shape, element="float", seed=0):
    random = np.random.default_rng(seed)
    if element.startswith("i"):
        return guarded(random.integers(-9, 9, shape).astype(DTYPES[element]))
    return guarded((random.normal(size=shape) + 0.5).astype(DTYPES[element]))


def compare(found, wanted, x, operation):
    if found.dtype.kind == "i":
        np.testing.assert_array_equal(found, wanted.astype(found.dtype))
        return
    limit = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 3e-6, "float64": 1e-12}
    tolerance = limit[str(x.dtype)]
    np.testing.assert_allclose(
        found.astype(np.float64), wanted, rtol=tolerance, atol=tolerance
    )


FLOATS = [o for o in reduction.OPERATIONS if o != "log_sum"]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operation", FLOATS)
@pytest.mark.parametrize("length", [1, 4, 16, 33, 131, 1000])
def test_rows_are_reduced(target, operation, length):
    x = numbers((6, length), seed=length)
    if operation == "prod":
        x /= np.abs(x) ** 0.9
    spec = spec_of("reduce_last", operation, identity())
    found = along_last(spec, [x], target=named(target))
    compare(found, wanted_of(operation, x, 1), x, operation)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operation", FLOATS)
@pytest.mark.parametrize("shape", [(3, 5, 7), (1, 300, 70), (2, 40, 130), (4, 1, 16)])
def test_middle_axes_are_reduced(target, operation, shape):
    x = numbers(shape, seed=shape[1])
    if operation == "prod":
        x /= np.abs(x) ** 0.9
    spec = spec_of("reduce_middle", operation, identity())
    found = down(spec, [x], 1, target=named(target))
    compare(found, wanted_of(operation, x, 1), x, operation)


@pytest.mark.parametrize("operation", ["sum", "max", "min", "prod", "l1", "sum_square"])
@pytest.mark.parametrize("element", ["i64", "i32"])
def test_integers_are_reduced_and_wrap_around(operation, element):
    x = numbers((4, 37, 19), element)
    spec = spec_of("reduce_last", operation, identity(element))
    with np.errstate(all="ignore"):
        compare(along_last(spec, [x]), wanted_of(operation, x, 2), x, operation)
        spec = spec_of("reduce_middle", operation, identity(element))
        compare(down(spec, [x], 1), wanted_of(operation, x, 1), x, operation)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["half", "bfloat", "double"])
def test_narrow_and_wide_floats_are_reduced(target, element):
    x = numbers((5, 70, 33), element)
    for operation in ("mean", "max", "l2", "log_sum_exp"):
        prologue = identity(element)
        computed = Expression((widened(element),), (), ((0, element),))
        spec = spec_of("reduce_last", operation, prologue, computed)
        found = along_last(spec, [x], target=named(target))
        compare(found, wanted_of(operation, x, 2), x, operation)
        spec = spec_of("reduce_middle", operation, prologue, computed)
        found = down(spec, [x], 1, target=named(target))
        compare(found, wanted_of(operation, x, 1), x, operation)


def test_the_logarithm_of_a_sum_is_taken():
    x = np.abs(numbers((5, 40, 3)))
    found = along_last(spec_of("reduce_last", "log_sum", identity()), [x])
    compare(found, wanted_of("log_sum", x, 2), x, "log_sum")
    found = down(spec_of("reduce_middle", "log_sum", identity()), [x], 1)
    compare(found, wanted_of("log_sum", x, 1), x, "log_sum")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("name", ["max", "min"])
def test_the_first_or_last_of_equal_extremes_is_found(target, last, name):
    x = guarded(np.random.default_rng(2).integers(0, 4, (20, 77)).astype(np.float32))
    x[3, [5, 60]] = np.nan
    x[4] = {"max": -np.inf, "min": np.inf}[name]
    x[5] = np.nan
    wanted = reduce._position(f"arg{name}", x, 1, 1, int(last))
    spec = spec_of("reduce_last", f"arg_{name}", identity(), last=last)
    np.testing.assert_array_equal(along_last(spec, [x], target=named(target)), wanted)
    spec = spec_of("reduce_middle", f"arg_{name}", identity(), last=last)
    turned = np.ascontiguousarray(x.T)[None]
    found = down(spec, [turned], 1, target=named(target))
    np.testing.assert_array_equal(found[0, 0], wanted[:, 0])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("operation", ["max", "min", "sum", "log_sum_exp", "l2"])
def test_nan_and_infinities_are_as_in_the_numpy_kernel(target, operation):
    x = numbers((7, 50))
    x[0, 3], x[1, 49], x[2, 7], x[3] = np.nan, np.inf, -np.inf, -np.inf
    x[4, :2] = np.inf, -np.inf
    x[5, [1, 30]] = np.nan, np.inf
    wanted = wanted_of(operation, x, 1)
    found = along_last(
        spec_of("reduce_last", operation, identity()), [x], target=named(target)
    )
    compare(found, wanted, x, operation)
    turned = np.ascontiguousarray(x.T)[None]
    spec = spec_of("reduce_middle", operation, identity())
    found = down(spec, [turned], 1, target=named(target))
    compare(found[0, 0], wanted[:, 0], x, operation)


def test_prologues_and_epilogues_are_part_of_the_kernel():
    x, y = numbers((3, 40, 20), seed=1), numbers((3, 1, 20), seed=2)
    square = Expression(
        ("float", "float"),
        (Instruction("subtract", (0, 1)), Instruction("multiply", (2, 2))),
        ((3, "float"),),
    )
    root = Expression(
        ("float", "float"),
        (Instruction("add", (0, 1)), Instruction("sqrt", (2,))),
        ((3, "float"), (2, "float")),
    )
    single = root._replace(results=root.results[:1])
    scale = np.abs(numbers((3, 1, 20), seed=3))
    wide = ((x.astype(np.float64) - y) ** 2).mean(1, keepdims=True) + scale
    spec = spec_of("reduce_middle", "mean", square, single)
    np.testing.assert_allclose(down(spec, [x, y], 1, [scale]), np.sqrt(wide), rtol=1e-6)
    per_row = np.abs(numbers((3, 40, 1), seed=4))
    wide = ((x.astype(np.float64) - y) ** 2).mean(2, keepdims=True) + per_row
    spec = spec_of("reduce_last", "mean", square, single)
    np.testing.assert_allclose(
        along_last(spec, [x, y], [per_row]), np.sqrt(wide), rtol=1e-6
    )


@pytest.mark.parametrize("operation", reduction.FOLLOWING)
def test_a_long_row_is_reduced_in_pieces_by_any_number_of_threads(operation):
    x = np.abs(numbers((2, 300_001)))
    if operation == "prod":
        few = np.random.default_rng(1).integers(0, 200, x.shape)
        x = np.select([few == 0, few == 1], [2, -0.5], 1).astype(np.float32)
    pieces = reduction.pieces(*x.shape)
    assert pieces > 1
    first, second = reduction.FOLLOWING[operation]
    results = []
    for threads in (1, 2):
        parts = along_last(
            spec_of("reduce_last", first, identity()),
            [x],
            threads=threads,
            pieces=pieces,
        )
        spec = spec_of("reduce_last", second, identity())
        results.append(along_last(spec, [parts], count=x.shape[1]))
    np.testing.assert_array_equal(*results)
    np.testing.assert_allclose(results[0], wanted_of(operation, x, 1), rtol=2e-6)


def test_sums_of_long_rows_and_columns_lose_little():
    x = np.full((1, 1_000_000), 0.1, np.float32)
    wanted = 1_000_000 * np.float64(np.float32(0.1))
    spec = spec_of("reduce_last", "sum", identity())
    np.testing.assert_allclose(along_last(spec, [x]), [[wanted]], rtol=2e-6)
    spec = spec_of("reduce_middle", "sum", identity())
    found = down(spec, [x.reshape(1, -1, 4)], 1)
    np.testing.assert_allclose(found.ravel(), wanted / 4, rtol=2e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_threads_change_no_bit(axis):
    x = numbers((40, 50, 200))
    family = "reduce_last" if axis == 2 else "reduce_middle"
    spec = spec_of(family, "sum", identity())
    found = []
    for threads in (1, 2):
        if axis == 2:
            found.append(along_last(spec, [x], threads=threads))
        else:
            found.append(down(spec, [x], axis, threads=threads))
    np.testing.assert_array_equal(*found)
    np.testing.assert_allclose(
        found[0], x.astype(np.float64).sum(axis, keepdims=True), rtol=1e-5, atol=1e-4
    )


def test_what_is_not_contiguous_is_refused_with_the_remedy():
    x = numbers((4, 5, 6))[..., ::2]
    with pytest.raises(ValueError, match="copy it first"):
        down(spec_of("reduce_middle", "sum", identity()), [x], 1)
    with pytest.raises(ValueError, match="no reduction 'median'"):
        along_last(spec_of("reduce_last", "median", identity()), [x])
