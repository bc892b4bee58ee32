"""Shapes, joins, cuts, pads and rearrangements against the peers and by rule."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from evaluate import run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime, by_reference
from runtime.errors import EngineError, LimitExceeded

SEEDS = st.integers(0, 999)
SHAPES = st.lists(st.integers(0, 4), max_size=4).map(tuple)
DTYPES = st.sampled_from(
    [
        np.float32,
        np.float16,
        ml_dtypes.bfloat16,
        ml_dtypes.float8_e4m3fn,
        ml_dtypes.int4,
        np.bool_,
        np.int8,
        np.uint64,
        np.complex64,
        object,
    ]
)


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def counting(shape, dtype=np.float32) -> np.ndarray:
    """Return an array whose elements differ, as far as the type can tell them apart."""
    size = int(np.prod(shape, dtype=np.int64))
    if dtype is object:
        return np.array([f"s{i}" for i in range(size)], object).reshape(shape)
    return (np.arange(size) % 7).astype(dtype).reshape(shape)


def assert_same(got: np.ndarray, want: np.ndarray) -> None:
    """Same shape, type and elements, whatever the type."""
    assert isinstance(got, np.ndarray)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert got.tolist() == want.tolist()


# Describing ---------------------------------------------------------------------------


@given(SHAPES, DTYPES)
def test_identity_shape_and_size_take_every_type(shape, dtype):
    x = counting(shape, dtype)
    assert_same(run_node("Identity", [x])[0], x)
    assert_same(run_node("Shape", [x], {}, 13)[0], longs(*shape))
    assert_same(run_node("Size", [x])[0], np.array(x.size))


@given(SHAPES, st.integers(-6, 6), st.none() | st.integers(-6, 6))
def test_shape_clamps_start_and_end(shape, start, end):
    given_ = {"start": start} | ({} if end is None else {"end": end})
    want = by_onnxruntime("Shape", [counting(shape)], given_, 15)[0]
    assert_same(run_node("Shape", [counting(shape)], given_, 15)[0], want)


# Making -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "want"),
    [
        ({"value_int": 3}, np.array(3, np.int64)),
        ({"value_ints": [1, -2]}, longs(1, -2)),
        ({"value_float": 0.5}, np.array(0.5, np.float32)),
        ({"value_floats": [0.5, 1.5]}, np.array([0.5, 1.5], np.float32)),
        ({"value_string": "é"}, np.array("é", object)),
        ({"value_strings": ["a", ""]}, np.array(["a", ""], object)),
    ],
)
def test_constant_has_the_type_of_its_attribute(attributes, want):
    assert_same(run_node("Constant", [], attributes, 13)[0], want)


def test_constant_is_a_tensor_in_every_opset():
    value = onnx.numpy_helper.from_array(np.float16([[1, 2]]))
    for opset in (1, 9, 11, 12, 25):
        got = run_node("Constant", [], {"value": value}, opset)[0]
        assert_same(got, np.float16([[1, 2]]))


def test_a_sparse_constant_is_made_dense():
    values = onnx.numpy_helper.from_array(np.float32([5, 7]), "v")
    where = onnx.numpy_helper.from_array(longs(1, 5))
    sparse = onnx.helper.make_sparse_tensor(values, where, [2, 3])
    got = run_node("Constant", [], {"sparse_value": sparse}, 11)[0]
    assert_same(got, np.float32([[0, 5, 0], [0, 0, 7]]))


def test_constant_wants_exactly_one_value():
    with pytest.raises(EngineError, match="one value attribute"):
        run_node("Constant", [], {"value_int": 1, "value_float": 1.0}, 13)
    with pytest.raises(EngineError, match="found 0"):
        run_node("Constant", [], {}, 13)


@given(SHAPES, st.sampled_from([0, 3]), st.sampled_from(["float16", "int8", "bool"]))
def test_constant_of_shape_repeats_one_element(shape, number, dtype):
    value = np.array([number]).astype(dtype)
    attributes = {"value": onnx.numpy_helper.from_array(value)}
    got = run_node("ConstantOfShape", [longs(*shape)], attributes)[0]
    assert_same(got, np.full(shape, value[0]))


def test_constant_of_shape_is_float_zero_by_default():
    assert_same(run_node("ConstantOfShape", [longs()])[0], np.array(0, np.float32))


def test_negative_zero_stays_negative():
    value = onnx.numpy_helper.from_array(np.float32([-0.0]))
    got = run_node("ConstantOfShape", [longs(2)], {"value": value})[0]
    assert np.signbit(got).all()


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(-4, 4).filter(bool))
def test_an_integer_range_is_pythons(start, limit, delta):
    for dtype in (np.int16, np.int32, np.int64):
        inputs = [np.array(number, dtype) for number in (start, limit, delta)]
        want = np.array(range(start, limit, delta), dtype)
        assert_same(run_node("Range", inputs, {}, 11)[0], want)


@given(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.1, 3), st.booleans())
def test_a_float_range_agrees_with_onnxruntime(start, limit, delta, down):
    for dtype in (np.float32, np.float64):
        numbers = (start, limit, -delta if down else delta)
        inputs = [np.array(number, dtype) for number in numbers]
        want = by_onnxruntime("Range", inputs, {}, 11)[0]
        got = run_node("Range", inputs, {}, 11)[0]
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_an_integer_range_is_exact_beyond_float_precision():
    start = 2**53 + 1
    inputs = [np.array(n) for n in (start, start + 3, 1)]
    assert_same(run_node("Range", inputs)[0], longs(start, start + 1, start + 2))


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_half_range_does_not_stand_still(dtype):
    first = 2048 if dtype is np.float16 else 256
    inputs = [np.array(n, dtype) for n in (first, first + 8, 1)]
    got = run_node("Range", inputs, {}, 27)[0]
    assert_same(got, np.arange(first, first + 8, dtype=np.float32).astype(dtype))


def test_a_range_without_end_or_step_is_refused():
    one = np.float32(1)
    for limit, delta in ((5, 0), (np.inf, 1), (np.nan, 1)):
        with pytest.raises(EngineError):
            run_node("Range", [one, np.float32(limit), np.float32(delta)])
    with pytest.raises(LimitExceeded):
        run_node("Range", [np.array(n) for n in (0, 2**62, 1)])


@given(st.integers(0, 4), st.integers(0, 4), st.integers(-6, 6))
def test_eye_like_marks_one_diagonal(rows, columns, k):
    x = np.ones((rows, columns), np.float32)
    for dtype, code in ((np.int32, 6), (np.float16, 10), (np.bool_, 9)):
        got = run_node("EyeLike", [x], {"k": k, "dtype": code})[0]
        assert_same(got, np.eye(rows, columns, k).astype(dtype))
    assert run_node("EyeLike", [x.astype(np.float64)])[0].dtype == np.float64


# Reshaping ----------------------------------------------------------------------------


@given(SHAPES, st.data(), DTYPES)
def test_reshape_keeps_or_infers_dims(shape, data, dtype):
    x = counting(shape, dtype)
    wanted = list(data.draw(st.permutations(shape)))
    if wanted and x.size:
        wanted[data.draw(st.integers(0, len(wanted) - 1))] = -1
        assert_same(run_node("Reshape", [x, longs(*wanted)])[0], x.reshape(wanted))
    kept = longs(*(0 for _ in shape))
    assert_same(run_node("Reshape", [x, kept], {}, 5)[0], x)


def test_reshape_of_opset_1_has_an_attribute():
    x = counting((2, 3))
    assert_same(run_node("Reshape", [x], {"shape": [0, -1]}, 1)[0], x)


def test_allowzero_makes_zero_a_size():
    x = counting((0, 3))
    got = run_node("Reshape", [x, longs(3, 0)], {"allowzero": 1})[0]
    assert got.shape == (3, 0)


@pytest.mark.parametrize(
    ("shape", "wanted", "allowzero"),
    [
        ((4,), (3,), 0),
        ((4,), (-1, -1), 0),
        ((4,), (-2,), 0),
        ((4,), (4, 0), 0),
        ((4,), (3, -1), 0),
        ((0, 4), (0, -1), 0),
        ((0, 4), (0, -1), 1),
        ((4,), (0,), 1),
    ],
)
def test_impossible_shapes_are_refused(shape, wanted, allowzero):
    with pytest.raises(EngineError):
        run_node("Reshape", [counting(shape), longs(*wanted)], {"allowzero": allowzero})


@given(SHAPES, st.data())
def test_flatten_cuts_the_shape_in_two(shape, data):
    axis = data.draw(st.integers(-len(shape), len(shape)))
    x = counting(shape)
    want = by_onnxruntime("Flatten", [x], {"axis": axis}, 13)[0]
    assert_same(run_node("Flatten", [x], {"axis": axis}, 13)[0], want)


@given(SHAPES, st.sets(st.integers(0, 5), max_size=2), st.booleans())
def test_unsqueeze_is_undone_by_squeeze(shape, places, backward):
    rank = len(shape) + len(places)
    axes = [place % rank for place in places]
    if len(set(axes)) < len(axes):
        axes = [0, rank - 1]
    if backward:
        axes = [axis - rank for axis in reversed(axes)]
    x = counting(shape)
    wide = run_node("Unsqueeze", [x, longs(*axes)])[0]
    assert_same(wide, np.expand_dims(x, tuple(axes)))
    assert_same(run_node("Squeeze", [wide, longs(*axes)])[0], x)
    if axes:
        assert_same(run_node("Unsqueeze", [x], {"axes": axes}, 11)[0], wide)
        assert_same(run_node("Squeeze", [wide], {"axes": axes}, 11)[0], x)


def test_squeeze_without_axes_drops_all_ones_and_with_none_named_nothing():
    x = counting((1, 3, 1))
    assert run_node("Squeeze", [x])[0].shape == (3,)
    assert run_node("Squeeze", [x, longs()])[0].shape == (1, 3, 1)


def test_axes_are_checked():
    x = counting((1, 3))
    for op, axes in (
        ("Squeeze", (1,)),
        ("Squeeze", (2,)),
        ("Squeeze", (0, -2)),
        ("Unsqueeze", (0, 0)),
        ("Unsqueeze", (3,)),
    ):
        with pytest.raises(EngineError):
            run_node(op, [x, longs(*axes)])


@given(SHAPES, DTYPES, st.data())
def test_transpose_permutes(shape, dtype, data):
    x = counting(shape, dtype)
    perm = data.draw(st.permutations(range(len(shape))))
    assert_same(run_node("Transpose", [x])[0], x.T)
    if perm:
        got = run_node("Transpose", [x], {"perm": perm})[0]
        assert_same(got, np.transpose(x, perm))


def test_a_perm_that_is_no_permutation_is_refused():
    for perm in ([0, 0], [0], [0, -1]):
        with pytest.raises(EngineError, match="permutation"):
            run_node("Transpose", [counting((2, 3))], {"perm": perm})


def test_moves_without_change_of_order_are_views():
    x = counting((4, 6))
    for got in (
        run_node("Reshape", [x, longs(2, -1)])[0],
        run_node("Transpose", [x])[0],
        run_node("Slice", [x, longs(1), longs(3)])[0],
        run_node("Split", [x], {"num_outputs": 2}, outputs=2)[1],
        run_node("Expand", [x, longs(5, 1, 1)])[0],
        run_node("Gather", [x, np.array(1)])[0],
    ):
        assert np.shares_memory(got, x)


# Joining and cutting ------------------------------------------------------------------


@given(SHAPES.filter(bool), st.data(), DTYPES)
def test_concat_and_split_undo_each_other(shape, data, dtype):
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    lengths = data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4))
    whole = list(shape)
    whole[axis] = sum(lengths)
    x = counting(whole, dtype)
    count = len(lengths)
    parts = run_node("Split", [x, longs(*lengths)], {"axis": axis}, outputs=count)
    assert [part.shape[axis] for part in parts] == lengths
    assert_same(run_node("Concat", parts, {"axis": axis})[0], x)
    old = run_node("Split", [x], {"axis": axis, "split": lengths}, 11, outputs=count)
    for part, same in zip(parts, old, strict=True):
        assert_same(part, same)


def test_concat_of_opset_1_joins_along_axis_1():
    x = counting((2, 3))
    assert run_node("Concat", [x, x], {}, 1)[0].shape == (2, 6)


def test_split_of_opset_1_takes_lengths_in_the_datas_type():
    got = run_node("Split", [counting((3,)), np.float32([1, 2])], {}, 1, outputs=2)
    assert [part.shape for part in got] == [(1,), (2,)]


def test_parts_are_equal_unless_their_number_says_otherwise():
    x = counting((6,))
    for opset in (2, 13, 18):
        parts = run_node("Split", [x], {}, opset, outputs=3)
        assert [part.size for part in parts] == [2, 2, 2]
    for size, count, want in ((7, 3, [3, 3, 1]), (5, 4, [2, 2, 1, 0])):
        parts = run_node(
            "Split", [counting((size,))], {"num_outputs": count}, outputs=count
        )
        assert [part.size for part in parts] == want


def test_wrong_lengths_of_a_split_are_refused():
    x = counting((5,))
    for lengths in ((2, 2), (6, -1), (5,)):
        with pytest.raises(EngineError):
            run_node("Split", [x, longs(*lengths)], {}, outputs=2)
    with pytest.raises(EngineError, match="equal parts"):
        run_node("Split", [x], {}, 13, outputs=2)
    with pytest.raises(EngineError, match="num_outputs"):
        run_node("Split", [x], {"num_outputs": 3}, outputs=2)


EDGES = st.integers(-7, 7) | st.sampled_from([2**63 - 1, -(2**63)])
STEPS = st.integers(-3, 3).filter(bool) | st.sampled_from([2**63 - 1, -(2**63) + 1])


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), st.data(), DTYPES)
def test_slice_agrees_with_onnxruntime(shape, data, dtype):
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
    axes = [a if data.draw(st.booleans()) else a - rank for a in axes]
    starts, ends, steps = (
        [data.draw(of) for _ in axes] for of in (EDGES, EDGES, STEPS)
    )
    # onnxruntime takes the largest end for the beginning when a slice runs backward
    pairs = zip(ends, steps, strict=True)
    ends = [min(end, 99) if step < 0 else end for end, step in pairs]
    x = counting(shape)
    inputs = [x, *(longs(*numbers) for numbers in (starts, ends, axes, steps))]
    want = by_onnxruntime("Slice", inputs, {}, 13)[0]
    assert_same(run_node("Slice", inputs)[0], want)
    typed = run_node("Slice", [counting(shape, dtype), *inputs[1:]])[0]
    assert typed.shape == want.shape
    forward = {"starts": starts, "ends": ends, "axes": axes}
    want = by_onnxruntime("Slice", [*inputs[:4]], {}, 13)[0]
    assert_same(run_node("Slice", [x], forward, 1)[0], want)


def test_slice_of_a_scalar_with_nothing_to_cut_is_the_scalar():
    got = run_node("Slice", [np.array("a", object), longs(), longs()])[0]
    assert_same(got, np.array("a", object))


def test_a_backward_slice_from_before_the_beginning_takes_element_0():
    x = counting((5,))
    got = run_node("Slice", [x, longs(-9), longs(-99), longs(0), longs(-1)])[0]
    assert_same(got, x[:1])


def test_bad_slices_are_refused():
    x = counting((5,))
    for axes, steps in (((0,), (0,)), ((1,), (1,)), ((0, 0), (1, 1))):
        count = longs(*[1] * len(axes))
        with pytest.raises(EngineError):
            run_node("Slice", [x, count, count, longs(*axes), longs(*steps)])
    with pytest.raises(EngineError, match="elements"):
        run_node("Slice", [x, longs(1), longs(1, 2)])


# Growing ------------------------------------------------------------------------------


@given(SHAPES, st.data(), DTYPES)
def test_expand_broadcasts_both_ways(shape, data, dtype):
    wanted = [data.draw(st.sampled_from([dim, 1])) for dim in shape]
    kept = tuple(data.draw(st.sampled_from([dim, 1])) for dim in shape)
    more = data.draw(st.lists(st.integers(0, 2), max_size=2))
    wanted = [*more, *wanted]
    x = counting(kept, dtype)
    want = np.broadcast_to(x, np.broadcast_shapes(kept, tuple(wanted)))
    assert_same(run_node("Expand", [x, longs(*wanted)])[0], want)


def test_expand_to_what_does_not_broadcast_is_refused():
    for wanted in ((2,), (-1,), (3, -1)):
        with pytest.raises(EngineError):
            run_node("Expand", [counting((3,)), longs(*wanted)])


@given(SHAPES, st.data(), DTYPES)
def test_tile_repeats_as_numpy_does(shape, data, dtype):
    repeats = [data.draw(st.integers(0, 3)) for _ in shape]
    x = counting(shape, dtype)
    got = run_node("Tile", [x, longs(*repeats)])[0]
    assert_same(got, np.tile(x, repeats))


def test_tile_of_opset_1_repeats_along_one_axis():
    x = counting((2, 3))
    got = run_node("Tile", [x, np.float32(2), np.float32(1)], {}, 1)[0]
    assert_same(got, np.tile(x, (1, 2)))


def test_results_too_large_for_the_machine_are_refused_before_memory_is_touched():
    huge, x = 2**40, counting((2, 2))
    for op, inputs in (
        ("Tile", [x, longs(huge, huge)]),
        ("Expand", [x, longs(huge, 2, 2)]),
        ("ConstantOfShape", [longs(huge, huge)]),
        ("Pad", [x, longs(huge, huge, 0, 0)]),
        ("CenterCropPad", [x, longs(huge, huge)]),
    ):
        with pytest.raises(LimitExceeded):
            run_node(op, inputs)


@given(
    st.lists(st.integers(4, 6), min_size=1, max_size=3),
    st.sampled_from(["constant", "reflect", "edge", "wrap"]),
    st.data(),
)
def test_pad_agrees_with_onnxruntime(shape, mode, data):
    rank = len(shape)
    axes = data.draw(st.lists(st.integers(0, rank - 1), unique=True, min_size=1))
    pads = [data.draw(st.integers(-1, shape[a] - 3)) for a in (*axes, *axes)]
    axes = [a if data.draw(st.booleans()) else a - rank for a in axes]
    inputs = [counting(shape), longs(*pads), np.array(9, np.float32), longs(*axes)]
    want = by_onnxruntime("Pad", inputs, {"mode": mode}, 19)[0]
    assert_same(run_node("Pad", inputs, {"mode": mode}, 19)[0], want)


@given(
    st.lists(st.integers(1, 4), max_size=3),
    st.sampled_from(["constant", "reflect", "edge", "wrap"]),
    DTYPES,
    st.data(),
)
def test_pad_without_cuts_is_numpys(shape, mode, dtype, data):
    pair = st.tuples(st.integers(0, 6), st.integers(0, 6))
    widths = [data.draw(pair) for _ in shape]
    x = counting(shape, dtype)
    pads = longs(*(b for b, _ in widths), *(a for _, a in widths))
    places = np.arange(x.size).reshape(shape) + 1
    places = np.pad(places, widths, mode) if shape else places
    zero = np.full(1, "" if dtype is object else 0, x.dtype)
    want = np.concatenate([zero, x.reshape(-1)])[places]
    assert_same(run_node("Pad", [x, pads], {"mode": mode})[0], want)


def test_older_pads_are_attributes():
    x = counting((2, 2))
    want = np.pad(x, ((0, 1), (2, 0)), constant_values=5)
    pads = [0, 2, 1, 0]
    assert_same(run_node("Pad", [x], {"paddings": pads, "value": 5.0}, 1)[0], want)
    assert_same(run_node("Pad", [x], {"pads": pads, "value": 5.0}, 2)[0], want)
    got = run_node("Pad", [x, longs(*pads), np.float32([5])], {}, 11)[0]
    assert_same(got, want)


def test_a_pad_may_cut_more_than_there_is_when_the_rest_is_constant():
    got = run_node("Pad", [counting((5,)), longs(-7, 4), np.float32(8)])[0]
    assert_same(got, np.float32([8, 8]))


def test_bad_pads_are_refused():
    x = counting((2, 0))
    for pads, mode in (
        ((0, 0, 0), "constant"),
        ((-2, 0, -1, 0), "constant"),
        ((0, 1, 0, 0), "edge"),
        ((0, 0, 0, 0), "mirror"),
    ):
        with pytest.raises(EngineError):
            run_node("Pad", [x, longs(*pads)], {"mode": mode})


@given(st.lists(st.integers(0, 5), min_size=1, max_size=3), DTYPES, st.data())
def test_center_crop_pad_keeps_the_middle(shape, dtype, data):
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), unique=True, min_size=1))
    wanted = [data.draw(st.integers(0, 7)) for _ in axes]
    x = counting(shape, dtype)
    got = run_node("CenterCropPad", [x, longs(*wanted)], {"axes": axes})[0]
    want = x
    for axis, size in zip(axes, wanted, strict=True):
        dim = want.shape[axis]
        start = max(dim - size, 0) // 2
        want = want.take(np.arange(start, start + min(dim, size)), axis)
        fill = max(size - dim, 0)
        widths = [(0, 0)] * x.ndim
        widths[axis] = (fill // 2, fill - fill // 2)
        zero = "" if dtype is object else 0
        whole = [d + sum(w) for d, w in zip(want.shape, widths, strict=True)]
        grown = np.full(whole, zero, x.dtype)
        middle = [slice(b, b + d) for d, (b, _) in zip(want.shape, widths, strict=True)]
        grown[tuple(middle)] = want
        want = grown
    assert_same(got, want)


# Rearranging --------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 4), min_size=2, max_size=4),
    st.integers(-6, 6) | st.sampled_from([2**62, -(2**62)]),
    st.booleans(),
)
def test_trilu_keeps_a_triangle(shape, k, upper):
    x = counting(shape) + 1
    rows, columns = np.ogrid[: shape[-2], : shape[-1]]
    kept = columns - rows >= k if upper else columns - rows <= k
    got = run_node("Trilu", [x, np.array(k)], {"upper": int(upper)})[0]
    assert_same(got, np.where(kept, x, 0).astype(x.dtype))


def test_trilu_keeps_the_main_triangle_by_default_in_every_type():
    for dtype in (np.bool_, ml_dtypes.bfloat16, np.uint64):
        x = np.ones((2, 3, 3), dtype)
        assert_same(run_node("Trilu", [x])[0], np.triu(np.ones_like(x)).astype(dtype))


@given(st.integers(0, 2), st.integers(1, 3), st.integers(1, 3), DTYPES)
def test_depth_to_space_is_undone_by_space_to_depth(batch, depth, block, dtype):
    x = counting((batch, depth * block * block, 2, 3), dtype)
    for mode in ("DCR", "CRD"):
        attributes = {"blocksize": block, "mode": mode}
        y = run_node("DepthToSpace", [x], attributes)[0]
        assert y.shape == (batch, depth, 2 * block, 3 * block)
        assert_same(run_node("SpaceToDepth", [y], attributes, 28)[0], x)
    old = run_node("DepthToSpace", [x], {"blocksize": block}, 1)[0]
    assert_same(run_node("SpaceToDepth", [old], {"blocksize": block}, 1)[0], x)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_to_space_agrees_with_onnxruntime(mode):
    x = np.arange(96, dtype=np.float32).reshape(1, 8, 3, 4)
    attributes = {"blocksize": 2, "mode": mode}
    want = by_onnxruntime("DepthToSpace", [x], attributes, 13)[0]
    assert_same(run_node("DepthToSpace", [x], attributes, 13)[0], want)


def test_blocks_must_fit():
    for op, shape, block in (
        ("DepthToSpace", (1, 3, 2, 2), 2),
        ("SpaceToDepth", (1, 3, 2, 3), 2),
        ("SpaceToDepth", (3, 2, 2), 2),
        ("DepthToSpace", (1, 4, 2, 2), 0),
    ):
        with pytest.raises(EngineError):
            run_node(op, [counting(shape)], {"blocksize": block})


@given(st.integers(1, 4), st.integers(1, 4), st.booleans(), DTYPES, st.data())
def test_reverse_sequence_reverses_each_beginning(
    steps, batch, time_first, dtype, data
):
    shape = (steps, batch, 2) if time_first else (batch, steps, 2)
    x = counting(shape, dtype)
    lengths = [data.draw(st.integers(0, steps)) for _ in range(batch)]
    attributes = {"time_axis": int(not time_first), "batch_axis": int(time_first)}
    got = run_node("ReverseSequence", [x, longs(*lengths)], attributes)[0]
    want = x.copy()
    for index, length in enumerate(lengths):
        if time_first:
            want[:length, index] = x[:length, index][::-1]
        else:
            want[index, :length] = x[index, :length][::-1]
    assert_same(got, want)


def test_reverse_sequence_checks_lengths_and_axes():
    x = counting((2, 3))
    for lengths, attributes in (
        ((3, 0, 0), {}),
        ((-1, 0, 0), {}),
        ((1, 1), {}),
        ((1, 1, 1), {"time_axis": 1}),
    ):
        with pytest.raises(EngineError):
            run_node("ReverseSequence", [x, longs(*lengths)], attributes)


def test_a_chain_of_views_still_gives_the_right_numbers():
    """Transpose, Slice backward, Reshape and Expand one after another."""
    text = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[3, 4] x) => (float[2, 4, 2] y) {
        start = Constant <value_ints = [-1]> ()
        end = Constant <value_ints = [-9]> ()
        one = Constant <value_ints = [1]> ()
        minus = Constant <value_ints = [-2]> ()
        shape = Constant <value_ints = [2, 1, 1]> ()
        t = Transpose (x)
        s = Slice (t, start, end, one, minus)
        y = Expand (s, shape)
    }
    """
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    got = run_model(onnx.parser.parse_model(text), [x])[0]
    assert_same(got, np.broadcast_to(x.T[:, ::-2], (2, 4, 2)))


def test_the_reference_agrees_on_center_crop_pad():
    x = counting((5, 4))
    want = by_reference("CenterCropPad", [x, longs(2, 7)], {}, 18)[0]
    assert_same(run_node("CenterCropPad", [x, longs(2, 7)], {}, 18)[0], want)
