"""Where MIL is another function than ONNX, or leaves open what ONNX says."""

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import SUBJECT, agrees, model, program, subject
from mil_evaluator import engine  # noqa: F401  (fills the table)
from mil_evaluator.packages import Package
from mil_evaluator.registry import OPERATIONS

RNG = np.random.default_rng(11)


def refused(source, reason, **options):
    """Assert that no node is owned, with a reason."""
    opened = subject(**options).open(source, cache=False)
    assert not opened.owned
    assert not opened.faults
    assert any(reason in told for told in opened.refusals), opened.refusals


def drawn(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


# images sampled at places

GRID = (
    "(float[1,2,3,4] x, float[1,5,6,2] g) => (float[1,2,5,6] y)"
    '{ y = GridSample<padding_mode="%s", align_corners=%d>(x, g) }'
)


def test_reflection_about_the_edges_of_pixels_is_refused():
    refused(model(GRID % ("reflection", 0)), "reflection about the edges")


@pytest.mark.parametrize("align", [0, 1])
@pytest.mark.parametrize("mode", ["zeros", "border", "reflection"])
def test_places_outside_of_an_image_are_padded_as_onnx_has_it(mode, align):
    if (mode, align) != ("reflection", 0):
        feed = {"x": drawn(1, 2, 3, 4), "g": 3 * drawn(1, 5, 6, 2)}
        agrees(model(GRID % (mode, align)), feed, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("mode", "wanted"),
    [
        ("constant", [0, 0, 0, 1, 2, 3, 0, 0, 0]),
        ("border", [1, 1, 1, 1, 2, 3, 3, 3, 3]),
        ("reflection", [2, 3, 2, 1, 2, 3, 2, 1, 2]),
        ("symmetric", [3, 2, 1, 1, 2, 3, 3, 2, 1]),
    ],
)
def test_the_evaluator_pads_images_as_mils_examples_do(mode, wanted):
    image = np.array([1, 2, 3], np.float32).reshape(1, 1, 1, 3)
    places = np.zeros((1, 1, 9, 2), np.float32)
    places[..., 0] = np.arange(-3, 6) - 1
    made = OPERATIONS["resample"](
        image, places, "bilinear", mode, 0, "normalized_minus_one_to_one", True
    )
    np.testing.assert_allclose(made.reshape(-1), wanted, atol=1e-6)


# shapes known at run time


@pytest.mark.parametrize(
    ("rank", "shape"),
    [(2, [0, 3, -1]), (2, [0, 0, 1]), (3, [0, -1]), (3, [0, 0, 4]), (3, [-1, 0, 4])],
)
def test_zeros_of_a_shape_known_at_run_time_keep_axes_from_the_first(rank, shape):
    dims, out = "2,6,4"[: 2 * rank - 1], ",".join("abc"[: len(shape)])
    text = f"(float[{dims}] x, int64[{len(shape)}] s) => (float[{out}] y)"
    source = model(f"{text} {{ r = Relu(x) y = Reshape(r, s) }}")
    x = drawn(*(2, 6, 4)[:rank])
    opened = SUBJECT.open(source, cache=False)
    (y,) = opened({"x": x, "s": np.array(shape)})
    (want,) = SUBJECT.alone(source)({"x": x, "s": np.array(shape)})
    np.testing.assert_array_equal(y, want)
    assert [node.op_type for node in opened.owned].count("Reshape") == 1
    assert not opened.faults


def test_a_zero_joined_to_sizes_keeps_an_axis():
    source = model(
        "(float[n,6,4,2] x) => (float[n,k,l] y) <int64[2] z = {0, -1}> {"
        " s = Shape<start=0, end=1>(x) j = Concat<axis=0>(s, z) y = Reshape(x, j) }"
    )
    opened = agrees(source, {"x": drawn(3, 6, 4, 2)}, DimBounds="n=1..8")
    assert len(opened.owned) == len(opened.nodes)


def test_the_evaluator_counts_the_axes_of_zeros_from_the_last():
    x = np.zeros((2, 50))
    assert OPERATIONS["reshape"](x, [1, 0, -1, 0]).shape == (1, 1, 2, 50)


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 9), (1, 3), (2, 5), (-2, 9), (-9, 2), (-3, -1), (1, 2)]
)
def test_parts_of_an_open_axis_end_where_it_ends(start, stop):
    source = model(
        f"(float[n,4] x) => (float[m,2] y) <int64[2] b = {{{start}, 1}},"
        f"int64[2] e = {{{stop}, 3}}> {{ r = Relu(x) y = Slice(r, b, e) }}"
    )
    feeds = [{"x": drawn(size, 4)} for size in (3, 4, 8)]
    agrees(source, *feeds, DimBounds="n=3..8")


@pytest.mark.parametrize(("start", "stop"), [(0, 9), (-9, 2), (1, 2**31 - 1), (-2, -1)])
def test_bounds_known_at_run_time_end_where_an_axis_ends(start, stop):
    source = model(
        "(float[3,4] x, int64[1] b, int64[1] e) => (float[m,4] y)"
        "{ r = Relu(x) y = Slice(r, b, e) }"
    )
    agrees(source, {"x": drawn(3, 4), "b": np.array([start]), "e": np.array([stop])})


# look-ups


def test_tuples_of_indices_known_at_run_time_are_refused():
    refused(
        model("(float[3,4] x, int64[2,1] i) => (float[2,4] y) { y = GatherND(x, i) }"),
        "input 1 must be a constant",
    )


@pytest.mark.parametrize(("dims", "owned"), [("n", True), ("m", False)])
def test_look_ups_along_an_axis_want_the_same_open_dims(dims, owned):
    source = model(
        f"(float[n,8] x, int64[{dims},2] i) => (float[{dims},2] y)"
        "{ r = Relu(x) y = GatherElements<axis=1>(r, i) }"
    )
    opened = subject(DimBounds="n=1..8,m=1..8").open(source, cache=False)
    names = [node.op_type for node in opened.owned]
    assert ("GatherElements" in names) is owned
    feed = {"x": drawn(4, 8), "i": np.zeros((4 if owned else 2, 2), np.int64)}
    for got, want in zip(opened(feed), SUBJECT.alone(source)(feed), strict=True):
        np.testing.assert_array_equal(got, want)
    assert not opened.faults


@pytest.mark.parametrize("kind", ["uint8", "int8", "int16"])
@pytest.mark.parametrize(
    ("operator", "index"), [("ScatterElements", "{0, 0}"), ("ScatterND", "{0, 1}")]
)
def test_sums_of_narrow_integers_at_places_are_refused(operator, index, kind):
    shape = "2" if operator == "ScatterElements" else "2,1"
    text = (
        f"({kind}[3] x, {kind}[2] u) => ({kind}[3] y) <int64[{shape}] i = {index}>"
        f'{{ y = {operator}<reduction="%s">(x, i, u) }}'
    )
    for mode in ("add", "mul"):
        refused(model(text % mode), "sums and products of integers of 8 and 16 bits")
    assert SUBJECT.open(model(text % "max"), cache=False).owned


def test_places_beyond_32_bits_hit_nothing_else():
    text = "(%s) => (float[1,3] y) <%s> { y = OneHot(i, d, v) }"
    constants = "int64 d = {3}, float[2] v = {0.0, 1.0}"
    node = f"int64[1] i = {{{2**32 + 1}}}, {constants}"
    opened = SUBJECT.open(
        model(text % ("float[1] x", node)), cache=False, passes="none"
    )
    assert not opened.owned
    assert any("an int32 does not" in told for told in opened.refusals)
    for place in (2, -1, 3, -4):
        agrees(model(text % ("int64[1] i", constants)), {"i": np.array([place])})


@pytest.mark.parametrize("value", [2**31, -(2**31) - 1])
def test_numbers_beyond_32_bits_are_not_made_from_shapes(value):
    text = (
        "(float[n] x) => (int64[n] y) { s = Shape(x)"
        f" y = ConstantOfShape<value = int64[1] {{{value}}}>(s) }}"
    )
    opened = subject(DimBounds="n=1..8").open(model(text), cache=False)
    assert "ConstantOfShape" not in [node.op_type for node in opened.owned]
    (y,) = opened({"x": np.zeros(2, np.float32)})
    np.testing.assert_array_equal(y, [value, value])


# equals

TIES = np.array([[2, 7, 7, 1], [3, 3, 3, 3], [9, 1, 9, 0]], np.float32)


@pytest.mark.parametrize("operator", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axis", [0, 1])
def test_the_last_of_equals_does_not_rest_on_what_mil_leaves_open(operator, keep, axis):
    shape = [3, 4]
    shape[axis : axis + 1] = [1] * keep
    dims = ",".join(map(str, shape))
    source = model(
        f"(float[3,4] x) => (int64[{dims}] y) {{ y = {operator}"
        f"<axis={axis}, keepdims={keep}, select_last_index=1>(x) }}"
    )
    agrees(source, {"x": TIES}, {"x": -TIES})


@pytest.mark.parametrize("axis", [0, 1])
def test_hardmax_marks_the_first_of_equals(axis):
    source = model(
        f"(float[3,4] x) => (float[3,4] y) {{ y = Hardmax<axis={axis}>(x) }}"
    )
    agrees(source, {"x": TIES})


@pytest.mark.parametrize(
    ("operation", "arguments"),
    [("reduce_argmax", {}), ("reduce_argmin", {}), ("topk", {"k": 2})],
)
def test_the_evaluator_does_not_answer_what_mil_leaves_open(operation, arguments):
    with pytest.raises(AssertionError, match="of equals"):
        OPERATIONS[operation](TIES, axis=1, **arguments)


# infinities

FAR = np.array([-np.inf, -3, -0.2, 0, 0.2, 3, np.inf], np.float32)


@pytest.mark.parametrize(
    "body",
    ["ThresholdedRelu<alpha=0.5>(x)", "Shrink<lambd=0.5, bias=0.25>(x)", "Asinh(x)"],
)
@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_infinities_stay_infinite(body, precision):
    source = model(f"(float[7] x) => (float[7] y) {{ y = {body} }}")
    agrees(source, {"x": FAR}, rtol=2e-3, Precision=precision)


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_infinities_may_be_marks(precision):
    source = model(
        "(int64[3] i) => (float[3,4] y) <int64 d = {4}> { y = OneHot(i, d, v) }",
        v=np.array([-np.inf, 0], np.float32),
    )
    agrees(source, {"i": np.array([0, 3, 1])}, Precision=precision)


@pytest.mark.parametrize("precision", ["FP32", "FP16"])
def test_what_lies_behind_a_sequence_is_zero_even_if_it_is_infinite(precision):
    w, r = np.eye(2, dtype=np.float32)[None], np.zeros((1, 2, 2), np.float32)
    source = model(
        "(float[3,2,2] x, int32[2] n) => (float[3,1,2,2] y, float[1,2,2] h)"
        '{ y, h = RNN<hidden_size=2, activations=["Relu"]>(x, w, r, , n) }',
        w=w, r=r,
    )  # fmt: skip
    x = np.ones((3, 2, 2), np.float32)
    x[2] = np.inf
    agrees(source, {"x": x, "n": np.array([2, 1], np.int32)}, Precision=precision)


# halves

LARGE = np.array([1, 1.5, 20, 300, 1000, 30_000, 65_504], np.float16)


@pytest.mark.parametrize("operator", ["Asinh", "Acosh"])
def test_hyperbolic_areas_of_large_halves_are_numbers(operator):
    source = model(f"(float16[7] x) => (float16[7] y) {{ y = {operator}(x) }}")
    agrees(source, {"x": LARGE}, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("operator", ["Asinh", "Acosh"])
def test_hyperbolic_areas_are_as_exact_as_before(operator):
    source = model(f"(float[9] x) => (float[9] y) {{ y = {operator}(x) }}")
    x = np.array([1, 1.001, 1.1, 2, 900, 1023, 1025, 1e6, 1e30], np.float32)
    made = SUBJECT.open(source, cache=False)
    assert made.owned
    want = getattr(np, f"arc{operator[1:]}")(x.astype(np.float64))
    np.testing.assert_allclose(made({"x": x})[0], want, rtol=2e-6)


NORMS = {
    "layer": "(KIND[2,8] x, KIND[8] s) => (KIND[2,8] y, float[2,1] m, float[2,1] d)"
    "{ y, m, d = LayerNormalization<axis=1>(x, s) }",
    "group": "(KIND[2,8,4] x, KIND[8] s) => (KIND[2,8,4] y)"
    "{ y = GroupNormalization<num_groups=2>(x, s, s) }",
    "square": "(KIND[2,8] x, KIND[8] s) => (KIND[2,8] y)"
    "{ y = RMSNormalization<axis=1>(x, s) }",
    "variance": "(KIND[2,8] x) => (KIND[2,8] y)"
    "{ y = MeanVarianceNormalization<axes=[1]>(x) }",
    "instance": "(KIND[2,8,4] x, KIND[8] s) => (KIND[2,8,4] y)"
    "{ y = InstanceNormalization(x, s, s) }",
}


@pytest.mark.parametrize("name", sorted(NORMS))
@pytest.mark.parametrize(
    ("kind", "precision"), [("float16", "FP32"), ("float", "FP16")]
)
def test_norms_of_large_halves_are_numbers(name, kind, precision):
    text = NORMS[name].replace("KIND", kind)
    x = 1_000 * (drawn(2, 8, 4) if "[2,8,4]" in text else drawn(2, 8))
    numpy = np.float16 if kind == "float16" else np.float32
    feed = {"x": x.astype(numpy)}
    if " s)" in text:
        feed["s"] = (1 + abs(drawn(8))).astype(numpy)
    whole = model(text.replace("KIND", kind))
    wide = model(NORMS[name].replace("KIND", "float"))
    wants = SUBJECT.alone(wide)({n: a.astype(np.float32) for n, a in feed.items()})
    opened = subject(Precision=precision).open(whole, cache=False)
    assert len(opened.owned) == len(opened.nodes)
    for got, want in zip(opened(feed), wants, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-2, atol=1e-2)
    assert not opened.faults


WIDE = drawn(512, 512)
INTEGERS = {
    "MatMulInteger": ((4, 64), (64, 4), "4,64", "64,4", "4,4"),
    "ConvInteger": ((1, 4, 5, 5), (2, 4, 3, 3), "1,4,5,5", "2,4,3,3", "1,2,3,3"),
}


@pytest.mark.parametrize("operator", sorted(INTEGERS))
@pytest.mark.parametrize(("precision", "owned"), [("FP32", True), ("FP16", False)])
def test_sums_of_integers_are_exact_whatever_the_precision(operator, precision, owned):
    first, second, left, right, out = INTEGERS[operator]
    source = model(
        f"(float[64,512] x, uint8[{left}] a, uint8[{right}] b)"
        f" => (float[64,512] y, int32[{out}] z)"
        f"{{ m = MatMul(x, w) y = Relu(m) z = {operator}(a, b) }}",
        w=WIDE,
    )
    opened = subject(Precision=precision).open(source, cache=False)
    names = [node.op_type for node in opened.owned]
    assert (operator in names) is owned
    assert "MatMul" in names
    a, b = (RNG.integers(200, 256, shape).astype(np.uint8) for shape in (first, second))
    feed = {"x": drawn(64, 512), "a": a, "b": b}
    y, z = opened(feed)
    wants = SUBJECT.alone(source)(feed)
    np.testing.assert_array_equal(z, wants[1])
    np.testing.assert_allclose(y, wants[0], rtol=2e-2, atol=0.2)
    assert not opened.faults
    if not owned:
        assert any("not exact in float16" in told for told in opened.refusals)


# windows and joints


@pytest.mark.parametrize("pads", [(1, 0), (0, 2), (2, 2), (1, 1)])
def test_padding_of_transposed_convolutions_is_cut_off_unless_it_is_even(pads):
    text = (
        "(float[1,2,5] x) => (float[1,3,k] y)"
        f"{{ y = ConvTranspose<strides=[2], pads=[{pads[0]},{pads[1]}]>(x, w) }}"
    )
    source = model(text, w=drawn(2, 3, 4))
    agrees(source, {"x": drawn(1, 2, 5)}, rtol=1e-4, atol=1e-5)
    made, _ = program(source)
    operations = Package(made.package).operations
    (one,) = [op for op in operations if op.kind == "conv_transpose"]
    assert ("slice_by_index" in {op.kind for op in operations}) is (pads[0] != pads[1])
    assert (str(_text(operations, one.arguments["pad_type"])) == "valid") is (
        pads[0] != pads[1]
    )


def _text(operations, argument):
    """Return the text that an argument names."""
    for operation in operations:
        if any(result.name == argument.text for result in operation.results):
            return operation.arguments["val"]
    raise AssertionError(argument)


def test_operands_without_elements_are_left_out_of_a_joint():
    source = model(
        "(float[2,3] x) => (float[4,3] y) { y = Concat<axis=0>(x, e, x) }",
        e=np.zeros((0, 3), np.float32),
    )
    made, _ = program(source, {"passes": "none"})
    package = Package(made.package)
    shapes = [one.shape for op in package.operations for one in op.results]
    assert not [shape for shape in shapes if 0 in shape]
    agrees(source, {"x": drawn(2, 3)})


def test_a_constant_without_elements_reaches_no_program():
    refused(
        model(
            "(float[1] x) => (float[k] y) { y = Mul(x, e) }", e=np.zeros(0, np.float32)
        ),
        "a value has no elements",
    )


@pytest.mark.parametrize(("mode", "owned"), [("reflect", 2), ("edge", 3)])
def test_no_more_is_mirrored_than_there_is(mode, owned):
    for count in (owned, owned + 1):
        source = model(
            f"(float[3] x) => (float[k] y) <int64[2] p = {{{count}, 0}}>"
            f'{{ y = Pad<mode="{mode}">(x, p) }}'
        )
        if count == owned:
            agrees(source, {"x": drawn(3)})
        else:
            refused(source, "within the size of an axis only")


def test_bounds_of_clip_leave_what_is_no_number():
    source = model(
        "(float[3] x) => (float[3] y) <float l = {-1.0}, float h = {1.0}>"
        "{ y = Clip(x, l, h) }"
    )
    agrees(source, {"x": np.array([np.nan, 2, -2], np.float32)})
