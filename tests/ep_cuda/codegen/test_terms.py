"""Formulas and special operations as CUDA text equal NumPy, special values included."""

import numpy as np
import pytest
from codegen.examples import BFLOAT16, Example, check, given, name_of, prepared, wanted
from runtime_ep_cpu import formulas
from runtime_ep_cpu.ops._array_math import erf, math_of
from runtime_ep_cuda.codegen.elementwise import elementwise
from runtime_ep_cuda.codegen.expression import SPECIAL, Expression, Instruction
from runtime_ep_cuda.codegen.terms import Terms, literal

NUMPY = math_of(np)
FLOATS = (np.float32, np.float64, np.float16, BFLOAT16)
INTEGERS = (
    np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64,
)  # fmt: skip

EXACT = ("absolute", "negative", "floor", "ceil", "rint", "relu", "sqrt", "reciprocal")
PRECISE = ("exp", "log", "tanh", "erf", "sigmoid", "softsign", "elu", "selu", "celu",
           "softplus", "shrink", "hard_sigmoid", "leaky_relu", "thresholded_relu",
           "clip_by_attributes")  # fmt: skip
CANCELLING = ("gelu", "gelu_by_tanh", "quick_gelu", "swish", "mish", "hard_swish")
TWO = ("add", "subtract", "multiply", "divide", "maximum", "minimum", "prelu", "mean",
       "total", "clip")  # fmt: skip
TRIGONOMETRY = ("sin", "cos", "tan", "atan", "sinh", "cosh", "asinh")
LIMITED = ("asin", "acos", "atanh", "acosh")


def special_values(scale=1.0):
    """Return zeros, infinities, NaN, halves, denormals, extremes and many others."""
    fixed = [
        0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, -0.5, 1.5, -1.5, 2.5, 3.5, 1.0, -1.0,
        1e-40, -1e-40, 1e-30, 3.4e38, -3.4e38, 88.0, 89.0, -88.0, -104.0, 1e-4, -1e-4,
        65504.0, 7e4, 20.0, -20.0, 8388607.5, 1e10,
    ]  # fmt: skip
    drawn = np.random.default_rng(1).normal(size=67) * scale
    return np.array([*fixed, *drawn])


def unary(names):
    """Return an expression with a result for each function of one operand."""
    made = tuple(Instruction(name, (0,)) for name in names)
    return Expression(1, made, tuple(range(1, len(names) + 1)))


def binary(names, **attributes):
    """Return an expression with a result for each function of two operands."""
    pairs = tuple(sorted(attributes.items()))
    made = tuple(Instruction(name, (0, 1), pairs) for name in names)
    return Expression(2, made, tuple(range(2, len(names) + 2)))


def example(name, expression, inputs, types, reference, **tolerance):
    """Return an example whose results have these types and the inputs' shape."""
    results = [wanted(dtype, inputs[0][1].shape) for dtype in types]

    def make(*tensors):
        return elementwise(expression, tensors[: len(inputs)], tensors[len(inputs) :])

    return Example(name, inputs, results, make, reference, **tolerance)


def by_formula(names):
    return lambda *x: tuple(getattr(formulas, name)(NUMPY, *x) for name in names)


def label(dtype):
    return np.dtype(dtype).name


def examples():
    """Every formula by every type; see `test_every_formula_is_among_the_examples`."""
    yield from float_formulas()
    yield from integer_formulas()
    yield from trigonometry()
    yield from remainders()
    yield from bits()
    yield from conversions()
    yield from conditions()
    yield from powers()


def float_formulas():
    x, y = special_values(3.0), special_values(3.0)[::-1]
    groups = ((EXACT, 0.0, 0.0), (PRECISE, 4.0, 3e-7), (CANCELLING, 4.0, 1e-6))
    for dtype in FLOATS:
        for number, (names, ulps, absolute) in enumerate(groups):
            fine = 1e-8 if dtype == np.float64 else 1.0
            yield example(
                f"unary{number}_{label(dtype)}", unary(names), [given(x, dtype)],
                [dtype] * len(names), by_formula(names), ulps=ulps,
                absolute=absolute * fine,
            )  # fmt: skip
        yield example(
            f"binary_{label(dtype)}", binary(TWO), [given(x, dtype), given(y, dtype)],
            [dtype] * len(TWO), by_formula(TWO), ulps=0.0,
        )  # fmt: skip
    yield example(
        "swiglu", binary(("swiglu",)), [given(x, np.float32), given(y, np.float32)],
        [np.float32], by_formula(("swiglu",)), ulps=8.0, absolute=1e-40,
    )  # fmt: skip


def whole(dtype):
    """Return integers of a type, its extremes and zero among them."""
    about = np.iinfo(dtype)
    fixed = [0, 1, 2, 3, 7, about.max, about.min, about.max - 1, about.min + 1]
    fixed += [-1, -2, -7] if about.min < 0 else []
    drawn = np.random.default_rng(2).integers(about.min, about.max, 40, dtype)
    return np.concatenate([np.array(fixed, dtype), drawn])


def integer_formulas():
    names = ("add", "subtract", "multiply", "maximum", "minimum", "clip")
    single = ("absolute", "negative", "relu", "floor", "ceil", "rint")
    for dtype in INTEGERS:
        x = whole(dtype)
        y = np.roll(x, 5)
        yield example(
            f"binary_{label(dtype)}", binary(names), [given(x), given(y)],
            [dtype] * len(names), by_formula(names),
        )  # fmt: skip
        yield example(
            f"unary_{label(dtype)}", unary(single), [given(x)], [dtype] * len(single),
            by_formula(single),
        )  # fmt: skip


def trigonometry():
    for dtype in (np.float32, np.float64):
        x = np.concatenate([special_values(2.0)[:13], special_values(2.0)[30:]])
        near = np.concatenate(
            [np.linspace(-1.1, 1.1, 45), [0.0, 1.0, -1.0, 1e9, np.nan]]
        )
        for names, values in ((TRIGONOMETRY, x), (LIMITED, near)):
            yield example(
                f"{names[0]}_{label(dtype)}", unary(names), [given(values, dtype)],
                [dtype] * len(names),
                lambda x, n=names: tuple(getattr(np, _numpy(name))(x) for name in n),
                ulps=4.0,
            )  # fmt: skip


def _numpy(name):
    return f"arc{name[1:]}" if name[0] == "a" else name


def remainders():
    names = ("mod", "fmod")
    for dtype in (np.float32, np.float64):
        x, y = special_values()[[*range(8), *range(30, 97)]], special_values()[22:97]
        yield example(
            f"mod_{label(dtype)}", binary(names), [given(x, dtype), given(y, dtype)],
            [dtype] * 2, lambda x, y: (np.mod(x, y), np.fmod(x, y)), ulps=1.0,
        )  # fmt: skip
    for dtype in INTEGERS:
        x = whole(dtype)
        y = np.roll(x, 3)
        yield example(
            f"mod_{label(dtype)}", binary((*names, "divide")), [given(x), given(y)],
            [dtype] * 3, _whole_remainders,
        )  # fmt: skip


def _whole_remainders(x, y):
    """Return mod, fmod and the quotient rounded towards zero, 0 where y is 0."""

    def each(function):
        pairs = zip(x.tolist(), y.tolist(), strict=True)
        found = [function(a, b) if b else 0 for a, b in pairs]
        return np.array(
            [v & (2 ** (8 * x.itemsize) - 1) for v in found], np.uint64
        ).astype(x.dtype)

    def quotient(a, b):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)

    return (
        each(lambda a, b: a % b),
        each(lambda a, b: a - quotient(a, b) * b),
        each(quotient),
    )


def bits():
    names = ("bit_and", "bit_or", "bit_xor", "shift_left", "shift_right")
    functions = (
        np.bitwise_and,
        np.bitwise_or,
        np.bitwise_xor,
        np.left_shift,
        np.right_shift,
    )
    for dtype in INTEGERS:
        x = whole(dtype)
        y = (np.arange(len(x)) % 70 - (2 if np.iinfo(dtype).min < 0 else 0)).astype(
            dtype
        )
        yield example(
            f"bits_{label(dtype)}", binary(names), [given(x), given(y)], [dtype] * 5,
            lambda x, y: tuple(function(x, y) for function in functions),
        )  # fmt: skip
        yield example(
            f"not_{label(dtype)}", unary(("bit_not",)), [given(x)], [dtype],
            lambda x: ~x,
        )  # fmt: skip


def conversions():
    within = np.array(
        [0.0, -0.0, 1.5, -1.5, 2.5, 100.7, -100.7, 127.0, -128.0, 0.99, 64.3]
    )
    every = (*FLOATS, *INTEGERS, np.bool_)
    sources = (
        *((dtype, within) for dtype in FLOATS),
        *((dtype, whole(dtype)) for dtype in INTEGERS),
        (np.bool_, np.array([True, False, True])),
    )
    for source, values in sources:
        signed = np.dtype(source).kind == "i" or np.dtype(source).kind in "uib"
        targets = [t for t in every if signed or np.dtype(t).kind != "u"]
        made = tuple(
            Instruction("convert", (0,), (("type", label(target)),))
            for target in targets
        )
        expression = Expression(1, made, tuple(range(1, len(targets) + 1)))
        yield example(
            f"convert_{label(source)}", expression, [given(values, source)], targets,
            lambda x, targets=targets: tuple(_as(x, target) for target in targets),
            ulps=0.0,
        )  # fmt: skip
    yield rounded()


def _as(x, target):
    """Convert; integers become narrow floats by way of float32."""
    if np.dtype(target) in (np.float16, BFLOAT16) and x.dtype.kind != "f":
        x = x.astype(np.float32)
    return x.astype(target)


def rounded():
    """Return roundings to narrower floats, from which the computation goes on."""
    types = ("float16", "bfloat16", "float32")
    made = [Instruction("round_to", (0,), (("type", name),)) for name in types]
    made.append(Instruction("add", (1, 2)))
    dtypes = {"float16": np.float16, "bfloat16": BFLOAT16, "float32": np.float32}

    def reference(x):
        parts = [x.astype(dtypes[name]).astype(np.float64) for name in types]
        return (*parts, parts[0] + parts[1])

    return example(
        "round_to_of_doubles", Expression(1, tuple(made), (1, 2, 3, 4)),
        [given(special_values(), np.float64)], [np.float64] * 4, reference, ulps=0.0,
    )  # fmt: skip


def conditions():
    compared = ("equal", "less", "less_or_equal", "greater", "greater_or_equal")
    functions = (np.equal, np.less, np.less_equal, np.greater, np.greater_equal)
    x = special_values()
    y = np.where(np.arange(x.size) % 3 == 0, x, np.roll(x, 4))
    for dtype in (*FLOATS, np.int64, np.uint8):
        pair = [given(np.nan_to_num(z) if np.dtype(dtype).kind in "iu" else z, dtype)
                for z in (x, y)]  # fmt: skip
        yield example(
            f"compared_{label(dtype)}", binary(compared), pair, [np.bool_] * 5,
            lambda x, y: tuple(function(x, y) for function in functions),
        )  # fmt: skip
    found = (
        Instruction("is_nan", (0,)), Instruction("is_inf", (0,)),
        Instruction("is_inf", (0,), (("negative", 0), ("positive", 1))),
        Instruction("is_inf", (0,), (("negative", 1), ("positive", 0))),
        Instruction("not", (1,)), Instruction("or", (1, 2)), Instruction("xor", (1, 2)),
        Instruction("and", (2, 3)), Instruction("sign", (0,)), Instruction("trunc", (0,)),
        Instruction("constant", (), (("type", "float32"), ("value", -0.1))),
        Instruction("where", (1, 11, 0)),
    )  # fmt: skip
    types = [np.bool_] * 8 + [np.float32] * 2 + [np.float32]
    yield example(
        "asked", Expression(1, found, (*range(1, 11), 12)), [given(x, np.float32)],
        types, _asked,
    )  # fmt: skip


def _asked(x):
    nan, inf = np.isnan(x), np.isinf(x)
    return (
        nan, inf, x == np.inf, x == -np.inf, ~nan, nan | inf, nan ^ inf, x == np.inf,
        np.sign(x), np.trunc(x), np.where(nan, np.float32(-0.1), x),
    )  # fmt: skip


def powers():
    x = np.array(
        [0.0, -0.0, 1.0, -1.0, 2.5, -2.0, np.inf, -np.inf, np.nan, 0.25, 3.0, 9.0]
    )
    y = np.array([2.0, -1.0, np.nan, 3.0, 0.5, 3.0, -2.0, 3.0, 0.0, -0.5, 7.3, 1.0])
    for dtype in (np.float32, np.float64):
        yield example(
            f"pow_{label(dtype)}", binary(("pow",)), [given(x, dtype), given(y, dtype)],
            [dtype], np.power, ulps=2.0,
        )  # fmt: skip
    yield example(
        "pow_of_other_exponents", binary(("pow",)),
        [given([2.0, -3.0, 0.5, 0.0], np.float32), given([10, 3, -2, 0], np.int64)],
        [np.float32], lambda x, n: np.power(x, n.astype(np.float64)),
    )  # fmt: skip
    yield example(
        "pow_of_integers", binary(("pow",)),
        [given([2, -3, 1, -1, -1, 0, 7, 2], np.int64),
         given([62, 5, -4, -3, 4, 0, -1, 64], np.int64)],
        [np.int64], lambda x, n: np.array([2**62, -243, 1, -1, 1, 1, 0, 0]),
    )  # fmt: skip
    yield example(
        "pow_of_integers_to_floats", binary(("pow",)),
        [given([4, 9, 2, 10], np.int32), given([0.5, 1.5, -1.0, 20.0], np.float32)],
        [np.int32], lambda x, n: np.array([2, 27, 0, -(2**31)]),
    )  # fmt: skip


EXAMPLES = list(examples())


@pytest.fixture(scope="module")
def device():
    yield from prepared(EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=name_of)
def test_operations_equal_numpy(example, device):
    check(example, device)


def test_every_formula_is_among_the_examples():
    tested = {*EXACT, *PRECISE, *CANCELLING, *TWO, "swiglu"}
    composed = {"where"}
    written = {
        name for name, found in vars(formulas).items()
        if callable(found) and getattr(found, "__module__", "") == formulas.__name__
        and name not in ("Math",)
    }  # fmt: skip
    assert written == tested | composed
    assert erf(np.array([0.5]))[0] == pytest.approx(0.5204998778130465)


def test_every_special_operation_has_a_text():
    m = Terms()
    for name in ("sin", "pow", "fmod", "mod", "is_nan", "bit_not", "shift_left"):
        assert name in SPECIAL
        assert callable(getattr(m, name))


def test_numbers_are_written_exactly():
    assert literal(0.1, "float") == "0.1f"
    assert literal(1, "float") == "1.0f"
    assert literal(-2.5, "double") == "(-2.5)"
    assert literal(1e39, "float") == "float(RT_INF)"
    assert literal(-np.inf, "double") == "(-double(RT_INF))"
    assert literal(-(2**63), "rt_i64") == "(-9223372036854775807ll - 1)"
    assert literal(2**64 - 1, "rt_u64") == "18446744073709551615ull"
    for value in np.random.default_rng(0).normal(size=50).astype(np.float32):
        text = literal(float(value), "float").strip("()f")
        assert np.float32(text) == value


def test_mixed_types_are_refused():
    m = Terms()
    with pytest.raises(TypeError, match="mixes float and int"):
        m.term("a", "float") + m.term("b", "int")
