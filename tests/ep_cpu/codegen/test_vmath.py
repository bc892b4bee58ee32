"""Vector mathematics against NumPy float64, in units of the last place."""

import ctypes
import math

import numpy as np
import pytest

pytest.importorskip("llvmlite")

import ml_dtypes
from runtime_ep_cpu import formulas
from runtime_ep_cpu.codegen import machine
from runtime_ep_cpu.codegen.builder import Function, Module, vector
from runtime_ep_cpu.codegen.expression import Expression, Instruction, evaluate
from runtime_ep_cpu.codegen.target import host, named, runnable
from runtime_ep_cpu.codegen.vmath import VectorMath
from runtime_ep_cpu.ops._array_math import math_of

TARGETS = runnable()
DTYPES = {
    "float": np.float32,
    "double": np.float64,
    "half": np.float16,
    "bfloat": ml_dtypes.bfloat16,
    "i64": np.int64,
    "i32": np.int32,
    "i8": np.int8,
    "i1": np.bool_,
}
ERF = np.vectorize(math.erf)


def uniform(low, high, count=20000):
    """Return numbers evenly between bounds."""
    return np.random.default_rng(0).uniform(low, high, count).astype(np.float32)


def logarithmic(low, high, count=20000):
    """Return numbers of both signs, their exponents evenly between bounds."""
    random = np.random.default_rng(1)
    size = np.exp2(random.uniform(low, high, count))
    return (size * random.choice([-1, 1], count)).astype(np.float32)


EDGES = [88.7, 88.73, -87.3, -103.9, -104.1, 2.0, 3.0, -3.0, 8388609.0]
SPECIAL = np.array([0.0, np.inf, 1.0, 0.5, 1e-45, 1e-40, 1.2e-38, 3.4e38])
SPECIAL = np.array([*SPECIAL, *-SPECIAL, *EDGES, np.nan], np.float32)


def compiled(write, operands, results, target, lanes=None):
    """Return a function of arrays made of what ``write(m, *values)`` returns."""
    lanes = target.lanes if lanes is None else lanes
    module = Module()
    names = [f"x{i}" for i in range(len(operands))]
    outs = [f"y{i}" for i in range(len(results))]
    words = [("ptr", name) for name in (*names, *outs)]
    f = Function(module, "tested", [*words, ("i64", "n")])
    *places, count = f.parameters
    m = VectorMath(f, target, lanes)
    with f.loop(0, count, max(1, lanes)) as loop:
        values = []
        for place, element in zip(places, operands, strict=False):
            memory = "i8" if element == "i1" else element
            value = f.load(place.at(loop.index, memory), vector(memory, lanes))
            values.append(m.convert(value, element))
        found = write(m, *values)
        for value, place, element in zip(
            found, places[len(operands) :], results, strict=True
        ):
            value = m.convert(value, element)
            memory = "i8" if element == "i1" else element
            f.store(m.convert(value, memory), place.at(loop.index, memory))
    f.ret()
    code = machine.Code(target, machine.compiled(module.text(), target))
    address = code.address("tested")
    types = [ctypes.c_void_p] * len(places)
    call = machine.function(address, *types, ctypes.c_int64)

    def function(*arrays):
        size = len(arrays[0])
        padded = [np.pad(a, (0, -size % 64)) for a in arrays]
        filled = [np.zeros(len(padded[0]), DTYPES[r]) for r in results]
        call(*(a.ctypes.data for a in (*padded, *filled)), len(padded[0]))
        return [a[:size] for a in filled]

    function.code = code
    return function


def ulps(got, want):
    """Return the error in units of the last place; infinite where kinds differ."""
    with np.errstate(over="ignore"):
        wanted = want.astype(got.dtype)
    tiny = np.finfo(got.dtype).tiny
    unit = np.spacing(np.maximum(np.abs(wanted), tiny)).astype(np.longdouble)
    finite = np.isfinite(wanted)
    error = np.zeros(len(wanted))
    same = (np.isnan(got) & np.isnan(wanted)) | (got == wanted)
    error[~finite & ~same] = np.inf
    with np.errstate(invalid="ignore"):
        difference = np.abs(got.astype(np.longdouble) - want.astype(np.longdouble))
        error[finite] = (difference / unit)[finite]
    return np.where(np.isnan(error), np.inf, error)


FUNCTIONS = {
    "exp": (np.exp, 1.1, [uniform(-104, 89), logarithmic(-30, 6)]),
    "expm1": (np.expm1, 1.7, [uniform(-20, 89), logarithmic(-40, 3)]),
    "exp2": (np.exp2, 1.1, [uniform(-150, 128)]),
    "log": (np.log, 1.1, [np.abs(logarithmic(-149, 127)), uniform(0.5, 2)]),
    "log1p": (np.log1p, 1.1, [uniform(-1, 3), logarithmic(-40, 0)]),
    "log2": (np.log2, 0.51, [np.abs(logarithmic(-149, 127))]),
    "log10": (np.log10, 0.51, [np.abs(logarithmic(-149, 127))]),
    "tanh": (np.tanh, 2.5, [uniform(-10, 10), logarithmic(-40, 2)]),
    "erf": (ERF, 2.3, [uniform(-4.2, 4.2), logarithmic(-40, 1)]),
    "sin": (np.sin, 1.6, [uniform(-1e5, 1e5), logarithmic(-40, 127)]),
    "cos": (np.cos, 1.6, [uniform(-1e5, 1e5), logarithmic(-40, 127)]),
    "tan": (np.tan, 0.6, [uniform(-1e5, 1e5), logarithmic(-40, 127)]),
    "asin": (np.arcsin, 1.9, [uniform(-1, 1), logarithmic(-40, 0)]),
    "acos": (np.arccos, 1.4, [uniform(-1, 1), logarithmic(-40, 0)]),
    "atan": (np.arctan, 1.6, [uniform(-3, 3), logarithmic(-40, 40)]),
    "sinh": (np.sinh, 0.51, [uniform(-90, 90), logarithmic(-40, 4)]),
    "cosh": (np.cosh, 0.51, [uniform(-90, 90)]),
    "asinh": (np.arcsinh, 0.51, [logarithmic(-40, 120)]),
    "acosh": (np.arccosh, 0.51, [np.abs(logarithmic(0, 120)), uniform(1, 3)]),
    "atanh": (np.arctanh, 0.51, [uniform(-1, 1), logarithmic(-40, 0)]),
    "sqrt": (np.sqrt, 0.5, [np.abs(logarithmic(-149, 127))]),
    "floor": (np.floor, 0, [uniform(-9, 9), logarithmic(-3, 40)]),
    "ceil": (np.ceil, 0, [uniform(-9, 9), logarithmic(-3, 40)]),
    "rint": (np.rint, 0, [np.round(uniform(-9, 9) * 2) / 2, logarithmic(-3, 40)]),
    "trunc": (np.trunc, 0, [uniform(-9, 9), logarithmic(-3, 40)]),
    "sign": (np.sign, 0, [uniform(-9, 9)]),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_is_within_its_units_of_the_last_place(name, target):
    reference, limit, samples = FUNCTIONS[name]
    function = compiled(
        lambda m, x: [getattr(m, name)(x)], ["float"], ["float"], named(target)
    )
    x = np.concatenate([*samples, SPECIAL])
    with np.errstate(all="ignore"):
        want = reference(x.astype(np.float64))
    (got,) = function(x)
    error = ulps(got, want)
    worst = int(np.argmax(error))
    assert error[worst] <= limit, (x[worst], got[worst], want[worst])
    known = ~np.isnan(want) & (x == 0)
    assert np.array_equal(np.signbit(got[known]), np.signbit(want[known]))


@pytest.mark.parametrize("target", TARGETS)
def test_weights_are_exponentials_without_denormals(target):
    function = compiled(lambda m, x: [m.weight(x)], ["float"], ["float"], named(target))
    x = np.concatenate(
        [-np.abs(logarithmic(-30, 9)), [0, -0.0, -np.inf, np.nan, -3e38]]
    )
    x = x.astype(np.float32)
    (got,) = function(x)
    want = np.exp(x.astype(np.float64))
    want[want < np.finfo(np.float32).tiny] = 0
    np.testing.assert_array_equal(got == 0, want == 0)
    error = np.abs(got - want) / np.maximum(want, 1e-300)
    limit = 1.3e-7 + 1.2e-7 * np.abs(x)
    assert np.array_equal(np.isnan(got), np.isnan(x))
    assert (error <= limit)[np.isfinite(x)].all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    "name", ["exp", "expm1", "log", "log1p", "tanh", "erf", "sin", "pow", "sqrt"]
)
def test_doubles_are_within_four_units_of_the_last_place(name, target):
    two = name == "pow"
    function = compiled(
        lambda m, *x: [getattr(m, name)(*x)],
        ["double"] * (1 + two),
        ["double"],
        named(target),
    )
    x = np.concatenate([logarithmic(-30, 9), uniform(-5, 5), SPECIAL]).astype(
        np.float64
    )
    x = [x, x[::-1].copy()] if two else [x]
    if name == "erf":
        want = ERF(x[0])
    else:
        exact = {"pow": np.power}.get(name) or getattr(np, name)
        with np.errstate(all="ignore"):
            want = exact(*x)
    (got,) = function(*x)
    error = ulps(got, want)
    worst = int(np.argmax(error))
    assert error[worst] <= 4, (x[0][worst], got[worst], want[worst])


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("lanes", [0, 1, 4, 8, 16, 32])
def test_every_width_gives_the_same_numbers(lanes, target):
    names = ("exp", "log", "tanh", "sin", "sinh")
    x = np.concatenate([uniform(-90, 90, 500), SPECIAL])

    def write(m, x):
        return [getattr(m, name)(x) for name in names]

    outs = ["float"] * len(names)
    wide = compiled(write, ["float"], outs, named(target))
    other = compiled(write, ["float"], outs, named(target), lanes)
    for ours, theirs in zip(other(x), wide(x), strict=True):
        finite = np.isfinite(theirs)
        np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
        np.testing.assert_allclose(ours[finite], theirs[finite], 2e-7, 2e-45)


@pytest.mark.parametrize("target", TARGETS)
def test_powers_are_exact_to_half_a_unit_and_follow_c(target):
    function = compiled(
        lambda m, x, y: [m.pow(x, y)], ["float"] * 2, ["float"], named(target)
    )
    near = logarithmic(-3, 3)
    x = [np.abs(logarithmic(-20, 20)), near, np.repeat(SPECIAL, len(SPECIAL))]
    y = [uniform(-6, 6), np.rint(uniform(-9, 9)), np.tile(SPECIAL, len(SPECIAL))]
    x, y = np.concatenate(x), np.concatenate(y)
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), y.astype(np.float64))
    (got,) = function(x, y)
    error = ulps(got, want)
    worst = int(np.argmax(error))
    assert error[worst] <= 0.51, (x[worst], y[worst], got[worst], want[worst])
    sign = ~np.isnan(want)
    assert np.array_equal(np.signbit(got[sign]), np.signbit(want[sign]))


@pytest.mark.parametrize("exponent", [1, 2, -1, 0.5])
def test_a_power_known_beforehand_is_the_same_power(exponent):
    def write(m, x):
        return [m.pow(x, exponent), m.pow(x, m.constant(exponent, "float"))]

    function = compiled(write, ["float"], ["float"] * 2, host())
    x = np.concatenate([logarithmic(-20, 20), SPECIAL])
    with np.errstate(all="ignore"):
        want = np.power(x.astype(np.float64), np.full(len(x), float(exponent)))
    for got in function(x):
        assert ulps(got, want).max() <= 0.51


UNARY = [
    ("elu", {"alpha": 0.7}),
    ("celu", {"alpha": 1.3}),
    ("selu", {}),
    ("leaky_relu", {"alpha": 0.2}),
    ("thresholded_relu", {"alpha": 0.5}),
    ("shrink", {"bias": 0.25, "lambd": 0.75}),
    ("hard_sigmoid", {}),
    ("hard_swish", {}),
    ("sigmoid", {}),
    ("swish", {"alpha": 1.0}),
    ("quick_gelu", {}),
    ("softplus", {}),
    ("softsign", {}),
    ("mish", {}),
    ("gelu", {"approximate": "none"}),
    ("gelu", {"approximate": "tanh"}),
    ("clip_by_attributes", {"min": -1.0, "max": 2.0}),
    ("reciprocal", {}),
    ("negative", {}),
    ("absolute", {}),
    ("relu", {}),
]


@pytest.mark.parametrize("target", TARGETS)
def test_every_formula_of_one_input_agrees_with_numpy_in_float64(target):
    listed = tuple(
        Instruction(name, (0,), tuple(attributes.items())) for name, attributes in UNARY
    )
    outs = tuple((i + 1, "float") for i in range(len(listed)))
    expression = Expression(("float",), listed, outs)
    function = compiled(
        lambda m, x: evaluate(expression, [x], m),
        ["float"],
        ["float"] * len(outs),
        named(target),
    )
    x = np.concatenate([uniform(-20, 20), logarithmic(-30, 6), [np.nan]])
    x = x.astype(np.float32)
    exact = x.astype(np.float64)
    for (name, attributes), got in zip(UNARY, function(x), strict=True):
        with np.errstate(all="ignore"):
            want = getattr(formulas, name)(math_of(np), exact, **attributes)
        np.testing.assert_allclose(got, want, 2e-6, 4e-7, err_msg=name)


@pytest.mark.parametrize("element", ["float", "double", "i64", "i32", "i8"])
def test_arithmetic_and_comparisons_hold_for_every_element_type(element):
    names = ("add", "subtract", "multiply", "maximum", "minimum")
    tests = ("equal", "less", "less_or_equal", "greater", "greater_or_equal")
    listed = [Instruction(name, (0, 1)) for name in (*names, *tests)]
    listed += [Instruction("absolute", (0,)), Instruction("negative", (0,))]
    listed += [Instruction("where", (2 + len(names), 0, 1))]
    types = [element] * len(names) + ["i1"] * len(tests) + [element] * 3
    results = tuple((i + 2, type) for i, type in enumerate(types))
    expression = Expression((element, element), tuple(listed), results)
    function = compiled(
        lambda m, a, b: evaluate(expression, [a, b], m), [element] * 2, types, host()
    )
    random = np.random.default_rng(2)
    a, b = random.integers(-100, 100, (2, 333)).astype(DTYPES[element])
    b[::7] = a[::7]
    want = [a + b, a - b, a * b, np.maximum(a, b), np.minimum(a, b)]
    want += [
        a == b,
        a < b,
        a <= b,
        a > b,
        a >= b,
        np.abs(a),
        -a,
        np.where(a == b, a, b),
    ]
    for got, wanted in zip(function(a, b), want, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_functions_that_are_no_formulas_are_operations_too():
    listed = tuple(Instruction(name, (0,)) for name in ("sin", "sign", "trunc"))
    listed += (Instruction("constant", (), (("value", 2.5), ("type", "float"))),)
    listed += (Instruction("pow", (0, 4)),)
    expression = Expression(("float",), listed, ((5, "float"), (1, "float")))
    function = compiled(
        lambda m, x: evaluate(expression, [x], m), ["float"], ["float"] * 2, host()
    )
    x = uniform(0, 3)
    power, sine = function(x)
    np.testing.assert_allclose(power, x.astype(np.float64) ** 2.5, 1e-7)
    np.testing.assert_allclose(sine, np.sin(x.astype(np.float64)), 2e-7)


def test_booleans_are_combined_and_compared():
    operations = ("and", "or", "xor", "equal", "maximum", "minimum")
    listed = [Instruction(name, (0, 1)) for name in operations]
    listed += [Instruction("not", (0,))]
    results = tuple((i + 2, "i1") for i in range(len(listed)))
    expression = Expression(("i1", "i1"), tuple(listed), results)
    function = compiled(
        lambda m, a, b: evaluate(expression, [a, b], m),
        ["i1", "i1"],
        ["i1"] * len(listed),
        host(),
    )
    a, b = np.random.default_rng(3).integers(0, 2, (2, 99)).astype(bool)
    want = [a & b, a | b, a ^ b, a == b, a | b, a & b, ~a]
    for got, wanted in zip(function(a, b), want, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("target", TARGETS)
def test_extremes_propagate_nan_from_either_side(target):
    def write(m, a, b):
        return [m.maximum(a, b), m.minimum(a, b), m.maximum(a, 0), m.minimum(0, a)]

    function = compiled(write, ["float"] * 2, ["float"] * 4, named(target))
    a = np.repeat(SPECIAL, len(SPECIAL))
    b = np.tile(SPECIAL, len(SPECIAL))
    want = [np.maximum(a, b), np.minimum(a, b), np.maximum(a, 0), np.minimum(a, 0)]
    for got, wanted in zip(function(a, b), want, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["half", "bfloat"])
def test_narrow_floats_are_rounded_to_nearest_even(element, target):
    dtype = DTYPES[element]
    narrowed = compiled(lambda m, x: [x], ["float"], [element], named(target))
    middle = np.arange(65536, dtype=np.uint16).view(dtype).astype(np.float32)
    x = np.concatenate(
        [logarithmic(-160, 128), logarithmic(-27, 17), SPECIAL, middle]
        + [np.nextafter(middle, np.float32(s)) for s in (np.inf, -np.inf)]
    ).astype(np.float32)
    halves = (x[:-1] / 2 + x[1:] / 2).astype(np.float32)
    x = np.concatenate([x, halves])
    (got,) = narrowed(x)
    with np.errstate(all="ignore"):
        want = x.astype(dtype)
    known = ~np.isnan(x)
    assert np.array_equal(got[known].view(np.uint16), want[known].view(np.uint16))
    assert np.isnan(got[~known].astype(np.float32)).all()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("element", ["half", "bfloat"])
def test_every_narrow_float_is_widened_exactly(element, target):
    widened = compiled(lambda m, x: [x], [element], ["float"], named(target))
    x = np.arange(65536, dtype=np.uint16).view(DTYPES[element])
    np.testing.assert_array_equal(widened(x)[0], x.astype(np.float32))


@pytest.mark.parametrize("target", TARGETS)
def test_conversions_cut_and_compare_with_zero(target):
    def write(m, x):
        outs = [m.convert(x, e) for e in ("i64", "i32", "i8", "i1", "double")]
        return [*outs, m.convert(m.convert(x, "i64"), "float")]

    results = ["i64", "i32", "i8", "i1", "double", "float"]
    function = compiled(write, ["float"], results, named(target))
    x = np.concatenate([uniform(-100, 100), [0, -0.0, 0.5, -0.5]]).astype(np.float32)
    cut = np.trunc(x)
    for got, element in zip(function(x), results, strict=True):
        want = {"i1": x != 0, "double": x, "float": cut}.get(element, cut)
        np.testing.assert_array_equal(got, want.astype(DTYPES[element]))


@pytest.mark.skipif(host().name != "avx512", reason="counts AVX-512 instructions")
@pytest.mark.parametrize(
    ("name", "most"),
    [("exp", 14), ("weight", 10), ("log", 16), ("tanh", 20), ("erf", 27)],
)
def test_a_function_takes_few_instructions(name, most):
    module = Module()
    f = Function(module, "counted", [("<16 x float>", "x")], "<16 x float>")
    f.ret(getattr(VectorMath(f, host()), name)(f.parameters[0]))
    text = machine.assembly(module.text(), host()).split("counted:")[1]
    lines = [line.strip() for line in text.split("retq")[0].splitlines()]
    arithmetic = [
        line for line in lines if line.startswith("v") and "broadcast" not in line
    ]
    moves = [line for line in arithmetic if line.startswith("vmov")]
    assert 0 < len(arithmetic) - len(moves) <= most
