"""Element-wise kernels against NumPy: types, broadcasts, strides, in place, threads."""

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import oracle
from driver import guarded, run
from oracle import DTYPES, one, strides
from runtime_ep_cpu.codegen import cost, elementwise
from runtime_ep_cpu.codegen.expression import Expression, Instruction
from runtime_ep_cpu.codegen.target import host, named, runnable

TARGETS = runnable()


def compute(expression, results, operands, target=None, threads=1, elements=None):
    """Run an expression over arrays that broadcast to the results' shape."""
    shape = results[0].shape
    views = [np.broadcast_to(x, shape) for x in operands]
    found = elementwise.plan(
        elements or cost.chunk_elements(expression),
        shape,
        [strides(x) for x in results],
        [strides(x) for x in views],
    )
    values = [*results, *views, *found.numbers]
    names = elementwise.fields(len(results), len(operands))
    assert len(values) == len(names)
    spec = elementwise.spec(expression)
    run(spec, values, found.chunks, found.scratch, threads, target or host())
    return found


def numbers(shape, element="float", seed=0):
    random = np.random.default_rng(seed)
    if element == "i1":
        return guarded(random.integers(0, 2, shape).astype(np.bool_))
    if element.startswith("i"):
        return guarded(random.integers(-100, 100, shape).astype(DTYPES[element]))
    return guarded(random.normal(size=shape).astype(DTYPES[element]))


def checked(expression, operands, shape, target=None, **options):
    """Compute into guarded memory and compare with NumPy, float64 inside."""
    results = [
        guarded(np.zeros(shape, DTYPES[element])) for _, element in expression.results
    ]
    found = compute(expression, results, operands, target, **options)
    for result, wanted in zip(
        results, oracle.values(expression, operands), strict=True
    ):
        wanted = np.broadcast_to(wanted, shape)
        if result.dtype.kind in "biu":
            np.testing.assert_array_equal(result, wanted.astype(result.dtype))
            continue
        tolerance = {2: 1e-2, 4: 1e-6, 8: 1e-13}[result.itemsize]
        np.testing.assert_allclose(
            result.astype(np.float64), wanted, rtol=tolerance, atol=tolerance
        )
    return found


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("count", [1, 2, 7, 16, 33, 100, 1000])
def test_a_formula_is_computed_for_any_number_of_elements(target, count):
    x = numbers(count)
    checked(one("gelu", "float"), [x], (count,), named(target))


BROADCASTS = [
    [(4, 5, 6), (4, 5, 6)],
    [(4, 5, 33), (33,)],
    [(4, 5, 33), (5, 1)],
    [(4, 1, 33), (1, 5, 1)],
    [(2, 3, 4, 5, 6), (2, 1, 4, 1, 6)],
    [(7, 1), (1, 9)],
    [(40, 50), ()],
    [(300, 4), (4,)],
]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shapes", BROADCASTS)
def test_operands_broadcast(target, shapes):
    operands = [numbers(shape, seed=i) for i, shape in enumerate(shapes)]
    shape = np.broadcast_shapes(*shapes)
    checked(one("subtract", "float", "float"), operands, shape, named(target))
    checked(one("subtract", "float", "float"), operands[::-1], shape, named(target))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", DTYPES)
def test_every_element_type_is_added_or_chosen(target, element):
    x, y = numbers((3, 37), element, 1), numbers((3, 37), element, 2)
    choice = numbers((3, 37), "i1", 3)
    expression = Expression(
        ("i1", element, element),
        (Instruction("where", (0, 1, 2)),),
        ((3, element),),
    )
    checked(expression, [choice, x, y], (3, 37), named(target))
    if element != "i1":
        added = one("add", element, element, result=element)
        checked(added, [x, y], (3, 37), named(target))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(("source", "to"), [
    ("float", "i64"), ("i64", "float"), ("half", "float"), ("float", "bfloat"),
    ("i1", "float"), ("float", "i1"), ("i32", "i64"), ("i8", "half"), ("double", "i32"),
])  # fmt: skip
def test_conversions_are_as_numpys(target, source, to):
    computed = "float" if to in ("half", "bfloat") else to
    steps = (Instruction("convert", (0,), (("type", computed),)),)
    expression = Expression((source,), steps, ((1, to),))
    x = numbers((5, 21), source)
    checked(expression, [x], (5, 21), named(target))


@pytest.mark.parametrize("target", TARGETS)
def test_several_results_of_several_types_are_written(target):
    expression = Expression(
        ("float", "float"),
        (
            Instruction("add", (0, 1)),
            Instruction("relu", (2,)),
            Instruction("less", (0, 1)),
            Instruction("convert", (2,), (("type", "i64"),)),
        ),
        ((2, "half"), (3, "float"), (4, "i1"), (5, "i64")),
    )
    checked(expression, [numbers((4, 19)), numbers(19, seed=1)], (4, 19), named(target))


def test_a_result_may_lie_over_an_operand():
    for inner in (5, 16, 100):
        x, y = numbers((6, inner)), numbers((inner,), seed=1)
        wanted = oracle.values(one("swiglu", "float", "float"), [x, y])[0]
        compute(one("swiglu", "float", "float"), [x], [x, y])
        np.testing.assert_allclose(x, wanted, rtol=1e-6, atol=1e-6)


def test_views_with_any_inner_stride_are_gathered():
    whole = numbers((8, 40, 6))
    view, back = whole.transpose(2, 0, 1), numbers((6, 8, 40), seed=2)[..., ::-1]
    found = checked(one("multiply", "float", "float"), [view, back], (6, 8, 40))
    assert found.scratch


def test_results_are_pieces_of_a_larger_whole():
    whole = np.zeros((4, 10, 9), np.float32)
    x = numbers((4, 3, 9))
    compute(one("negative", "float"), [whole[:, 2:5]], [x])
    wanted = np.zeros_like(whole)
    wanted[:, 2:5] = -x
    np.testing.assert_array_equal(whole, wanted)


def test_results_that_are_not_contiguous_are_refused_with_the_remedy():
    whole = np.zeros((4, 6), np.float32)
    with pytest.raises(ValueError, match="copy from there"):
        compute(one("negative", "float"), [whole[:, ::2]], [numbers((4, 3))])


@pytest.mark.parametrize("shape", [(200_001,), (90_000, 3), (257, 1024)])
def test_chunks_are_many_and_threads_change_no_bit(shape):
    x, y = numbers(shape), numbers(shape[-1:], seed=1)
    expression = one("swiglu", "float", "float")
    found = checked(expression, [x, y], shape)
    assert found.chunks > 8
    results = []
    for threads in (1, 2):
        result = np.zeros(shape, np.float32)
        compute(expression, [result], [x, y], threads=threads)
        results.append(result)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("target", TARGETS)
def test_nan_infinities_and_denormals_are_ieees(target):
    x = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45, 3e38, 1, -1] * 5, np.float32)
    y = np.roll(np.repeat(x[:8], 5), 3)
    for operation in ("add", "multiply", "divide", "maximum", "minimum"):
        result = np.zeros_like(x)
        compute(one(operation, "float", "float"), [result], [x, y], named(target))
        numpy = {"maximum": np.maximum, "minimum": np.minimum}.get(operation)
        with np.errstate(all="ignore"):
            wanted = (numpy or getattr(np, operation))(x, y)
        np.testing.assert_array_equal(result, wanted)


def test_random_layouts_are_computed():
    random = np.random.default_rng(3)
    for seed in range(80):
        rank = int(random.integers(1, 6))
        shape = tuple(int(n) for n in random.integers(1, 7, rank))
        operands = []
        for number in range(3):
            own = tuple(1 if random.random() < 0.3 else size for size in shape)
            order = random.permutation(rank)
            x = numbers([own[axis] for axis in order], seed=3 * seed + number)
            operands.append(x.transpose(np.argsort(order)))
        checked(_FUSED, operands, shape)


_FUSED = Expression(
    ("float",) * 3,
    (
        Instruction("multiply", (0, 1)),
        Instruction("add", (3, 2)),
        Instruction("sigmoid", (4,)),
    ),
    ((5, "float"),),
)


def test_a_dearer_expression_has_smaller_chunks():
    cheap, dear = one("add", "float", "float"), one("gelu", "float")
    assert cost.chunk_elements(dear) < cost.chunk_elements(cheap)
