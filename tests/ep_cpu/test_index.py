"""Gathers, scatters, conditions and orders against the peers and by rule."""

import ml_dtypes
import numpy as np
import pytest
from evaluate import run_node
from hypothesis import given
from hypothesis import strategies as st
from peers import by_onnxruntime
from runtime.errors import EngineError, LimitExceeded

SEEDS = st.integers(0, 999)
SHAPES = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)
DTYPES = st.sampled_from(
    [np.float32, np.float16, ml_dtypes.bfloat16, np.bool_, np.uint64, np.int8, object]
)
REDUCE = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}


def longs(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def drawn(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def some(random: np.random.Generator, shape, dtype=np.float32) -> np.ndarray:
    """Return random elements of a type, with repetitions."""
    numbers = random.integers(0, 6, shape)
    if dtype is object:
        return np.array([f"s{n}" for n in numbers.reshape(-1)], object).reshape(shape)
    return numbers.astype(dtype)


def places(random: np.random.Generator, shape, size, dtype=np.int64) -> np.ndarray:
    """Return random legal indices, negative ones among them."""
    return random.integers(-size, size, shape).astype(dtype)


def assert_same(got: np.ndarray, want: np.ndarray) -> None:
    assert isinstance(got, np.ndarray)
    assert (got.shape, got.dtype) == (want.shape, want.dtype)
    assert got.tolist() == want.tolist()


# Gathering ----------------------------------------------------------------------------


@given(
    SEEDS,
    SHAPES,
    st.lists(st.integers(0, 3), max_size=3),
    DTYPES,
    st.sampled_from([np.int32, np.int64]),
    st.booleans(),
)
def test_gather_takes_slices(seed, shape, where, dtype, kind, strided):
    random = drawn(seed)
    x = some(random, shape, dtype)
    x = x.T if strided else x
    axis = int(random.integers(-x.ndim, x.ndim))
    index = places(random, where, x.shape[axis], kind)
    got = run_node("Gather", [x, index], {"axis": axis})[0]
    assert_same(got, np.asarray(np.take(x, index, axis=axis), x.dtype))


@given(SEEDS, SHAPES, DTYPES)
def test_gather_elements_takes_one_element_per_index(seed, shape, dtype):
    random = drawn(seed)
    x = some(random, shape, dtype)
    axis = int(random.integers(-x.ndim, x.ndim))
    fewer = [int(random.integers(0, size + 1)) for size in shape]
    fewer[axis] = int(random.integers(0, 6))
    index = places(random, fewer, shape[axis])
    got = run_node("GatherElements", [x, index], {"axis": axis})[0]
    want = np.empty(fewer, x.dtype)
    for place in np.ndindex(*fewer):
        source = list(place)
        source[axis] = index[place]
        want[place] = x[tuple(source)]
    assert_same(got, want)


@given(SEEDS, SHAPES, DTYPES)
def test_gather_nd_follows_tuples(seed, shape, dtype):
    random = drawn(seed)
    x = some(random, shape, dtype)
    batch = int(random.integers(0, x.ndim))
    depth = int(random.integers(1, x.ndim - batch + 1))
    lead = (*shape[:batch], *random.integers(0, 4, random.integers(0, 3)))
    columns = [places(random, lead, size) for size in shape[batch : batch + depth]]
    index = np.stack(columns, axis=-1)
    got = run_node("GatherND", [x, index], {"batch_dims": batch})[0]
    want = np.empty((*lead, *shape[batch + depth :]), x.dtype)
    for place in np.ndindex(*lead):
        want[place] = x[(*place[:batch], *index[place])]
    assert_same(got, want)
    if batch == 0:
        assert_same(run_node("GatherND", [x, index], {}, 11)[0], want)


@pytest.mark.parametrize(
    ("op", "index"),
    [
        ("Gather", longs(3)),
        ("Gather", longs(-4)),
        ("Gather", np.array(3)),
        ("GatherElements", longs(0, 3).reshape(2, 1)),
        ("GatherElements", longs(0, -4).reshape(2, 1)),
        ("GatherND", longs(3).reshape(1, 1)),
        ("GatherND", longs(0, -3).reshape(1, 2)),
        ("ScatterElements", longs(3).reshape(1, 1)),
        ("ScatterElements", longs(-4).reshape(1, 1)),
        ("ScatterND", longs(0, 2).reshape(1, 2)),
    ],
)
def test_an_index_out_of_bounds_is_an_error(op, index):
    x = np.zeros((3, 2), np.float32)
    update = {"ScatterElements": [np.zeros((1, 1), np.float32)]}
    update["ScatterND"] = [np.zeros(1, np.float32)]
    with pytest.raises(EngineError, match="out of bounds"):
        run_node(op, [x, index, *update.get(op, [])])


def test_indices_must_fit_the_data():
    x = np.zeros((3, 2), np.float32)
    for op, index, attributes in (
        ("Gather", longs(0), {"axis": 2}),
        ("GatherElements", longs(0), {}),
        ("GatherElements", np.zeros((1, 3), np.int64), {}),
        ("GatherND", np.zeros((1, 3), np.int64), {}),
        ("GatherND", np.zeros((1, 0), np.int64), {}),
        ("GatherND", np.zeros((2, 1), np.int64), {"batch_dims": 1}),
    ):
        with pytest.raises(EngineError):
            run_node(op, [x, index], attributes)


# Scattering ---------------------------------------------------------------------------


def distinct_places(random, shape, axis):
    """Return indices in which no element is named twice."""
    fewer = [int(random.integers(0, size + 1)) for size in shape]
    order = random.permuted(
        np.broadcast_to(np.arange(shape[axis]), (*shape, shape[axis])), axis=-1
    )
    index = np.moveaxis(order, -1, axis).take(0, axis % len(shape) + 1)
    index = index[tuple(slice(size) for size in fewer)]
    return np.where(random.random(index.shape) < 0.5, index, index - shape[axis])


@given(SEEDS, SHAPES, DTYPES)
def test_scatter_undoes_gather(seed, shape, dtype):
    random = drawn(seed)
    x = some(random, shape, dtype)
    axis = int(random.integers(-x.ndim, x.ndim))
    index = distinct_places(random, shape, axis)
    updates = some(random, index.shape, dtype)
    want = x.copy()
    for place in np.ndindex(*index.shape):
        target = list(place)
        target[axis] = index[place]
        want[tuple(target)] = updates[place]
    before = x.copy()
    for op, opset in (("Scatter", 9), ("ScatterElements", 11), ("ScatterElements", 18)):
        got = run_node(op, [x, index, updates], {"axis": axis}, opset)[0]
        assert_same(got, want)
    assert_same(x, before)


@given(SEEDS, SHAPES, st.sampled_from(sorted(REDUCE)))
def test_scatter_elements_combines_repeated_places(seed, shape, reduction):
    random = drawn(seed)
    x = some(random, shape)
    axis = int(random.integers(-x.ndim, x.ndim))
    fewer = [int(random.integers(0, size + 1)) for size in shape]
    fewer[axis] = 5
    index = places(random, fewer, shape[axis])
    updates = some(random, fewer)
    want = x.copy()
    for place in np.ndindex(*fewer):
        target = list(place)
        target[axis] = index[place]
        want[tuple(target)] = REDUCE[reduction](want[tuple(target)], updates[place])
    attributes = {"axis": axis, "reduction": reduction}
    assert_same(run_node("ScatterElements", [x, index, updates], attributes)[0], want)


@given(SEEDS, SHAPES, DTYPES, st.sampled_from(["none", *REDUCE]), st.booleans())
def test_scatter_nd_writes_or_combines_slices(seed, shape, dtype, reduction, repeated):
    random = drawn(seed)
    dtype = np.float32 if dtype in (object, np.bool_) else dtype
    x = some(random, shape, dtype)
    depth = int(random.integers(0, x.ndim + 1))
    heads = list(np.ndindex(*shape[:depth]))
    count = int(random.integers(0, min(len(heads), 8) + 1))
    chosen = random.choice(len(heads), count, replace=repeated and reduction != "none")
    index = np.array([heads[i] for i in chosen], np.int64).reshape(count, depth)
    index = np.where(random.random(index.shape) < 0.5, index, index - shape[:depth])
    updates = some(random, (count, *shape[depth:]), dtype)
    want = x.astype(np.int64)
    combined = REDUCE.get(reduction, lambda old, new: new)
    for place, update in zip(index, updates.astype(np.int64), strict=True):
        want[tuple(place)] = combined(want[tuple(place)], update)
    got = run_node("ScatterND", [x, index, updates], {"reduction": reduction})[0]
    assert_same(got, want.astype(dtype))


def test_scatter_reductions_of_opset_16_and_of_strings():
    x, index = np.float32([1, 2]), longs(0)
    got = run_node("ScatterElements", [x, index, x[:1]], {"reduction": "mul"}, 16)[0]
    assert_same(got, x)
    text = np.array(["a", "b"], object)
    for reduction in ("add", "sum"):
        with pytest.raises(EngineError, match="reduction"):
            run_node(
                "ScatterElements", [text, index, text[:1]], {"reduction": reduction}
            )


def test_half_precision_is_added_up_in_float32():
    x = np.array([2048], np.float16)
    ones = np.ones(8, np.float16)
    index = np.zeros(8, np.int64)
    got = run_node("ScatterElements", [x, index, ones], {"reduction": "add"})[0]
    assert_same(got, np.array([2056], np.float16))


def test_updates_must_have_the_shape_of_their_places():
    x = np.zeros((3, 2), np.float32)
    with pytest.raises(EngineError, match="updates"):
        run_node("ScatterElements", [x, longs(0).reshape(1, 1), x])
    with pytest.raises(EngineError, match="updates"):
        run_node("ScatterND", [x, longs(0).reshape(1, 1), x])


@given(SEEDS, st.sampled_from(["linear", "circular"]), st.sampled_from([1, -2, 2]))
def test_tensor_scatter_follows_the_standards_loop(seed, mode, axis):
    random = drawn(seed)
    shape = [3, 5, 4]
    cache = random.random(shape, np.float32)
    longest = shape[axis]
    length = int(random.integers(0, longest + 1))
    shape[axis] = length
    update = random.random(shape, np.float32)
    most = longest - length + 1 if mode == "linear" else 3 * longest
    starts = random.integers(0, most, 3)
    want = cache.copy()
    for batch in range(3):
        for step in range(length):
            place = (starts[batch] + step) % longest
            target, source = [batch, slice(None)], [batch, slice(None)]
            at = axis % 3
            target.insert(at, place)
            source.insert(at, step)
            want[tuple(target)] = update[tuple(source)]
    got = run_node(
        "TensorScatter", [cache, update, starts], {"mode": mode, "axis": axis}
    )[0]
    assert_same(got, want)


def test_tensor_scatter_starts_at_0_and_stays_inside():
    cache, update = np.zeros((1, 3, 2), np.float32), np.ones((1, 2, 2), np.float32)
    got = run_node("TensorScatter", [cache, update])[0]
    assert got[0, :, 0].tolist() == [1, 1, 0]
    for start in (2, -1):
        with pytest.raises(EngineError, match="leaves the cache"):
            run_node("TensorScatter", [cache, update, longs(start)])
    with pytest.raises(EngineError, match="batch"):
        run_node("TensorScatter", [cache, update], {"axis": 0})


# Conditions ---------------------------------------------------------------------------


@given(
    SEEDS,
    st.lists(st.integers(0, 3), max_size=3),
    st.sampled_from([np.int64, np.float32, np.uint8]),
    st.sampled_from([np.float32, np.int64, object]),
)
def test_one_hot_agrees_with_its_rule(seed, shape, kind, dtype):
    random = drawn(seed)
    depth = int(random.integers(0, 5))
    lowest = 0 if kind is np.uint8 else -6
    index = random.integers(lowest, 7, shape).astype(kind)
    values = np.array(["off", "on"], object) if dtype is object else dtype([2, 7])
    axis = int(random.integers(-len(shape) - 1, len(shape) + 1))
    inputs = [np.asarray(index), np.array([depth], np.float32), values]
    spread = np.expand_dims(index.astype(np.int64), axis)
    steps = [1] * (len(shape) + 1)
    steps[axis] = depth
    classes = np.arange(depth).reshape(steps)
    for opset in (9, 11):
        hit = spread == classes
        if opset == 11:
            hit = hit | (spread + depth == classes)
        got = run_node("OneHot", inputs, {"axis": axis}, opset)[0]
        assert_same(got, np.where(hit, values[1], values[0]).astype(dtype))


def test_one_hot_takes_the_largest_unsigned_index_for_outside():
    index = np.array([2**64 - 1, 1], np.uint64)
    got = run_node("OneHot", [index, np.array(2), np.float32([0, 1])])[0]
    assert got.tolist() == [[0, 0], [0, 1]]


def test_one_hot_of_half_indices_keeps_the_type_of_its_values():
    index = np.array([1], np.float16)
    got = run_node("OneHot", [index, np.array(2), np.float32([0, 1e6])])[0]
    assert_same(got, np.float32([[0, 1e6]]))


def test_one_hot_refuses_what_no_machine_can_hold():
    with pytest.raises(LimitExceeded):
        run_node("OneHot", [longs(0), np.array(2**60), np.float32([0, 1])])
    with pytest.raises(EngineError, match="cannot have the shape"):
        run_node("OneHot", [longs(0), np.array(-1), np.float32([0, 1])])


@given(SEEDS, st.lists(st.integers(0, 3), min_size=1, max_size=3), DTYPES)
def test_non_zero_lists_coordinates(seed, shape, dtype):
    x = drawn(seed).integers(0, 2, shape).astype(dtype)
    if dtype is object:
        x = np.where(x.astype(bool), "a", "").astype(object)
    got = run_node("NonZero", [x])[0]
    assert_same(got, np.array(np.nonzero(x), np.int64).reshape(len(shape), -1))


def test_non_zero_of_a_scalar_has_no_rows():
    assert run_node("NonZero", [np.array(3)])[0].shape == (0, 1)
    assert run_node("NonZero", [np.array(0)])[0].shape == (0, 0)


@given(SEEDS, SHAPES, DTYPES)
def test_compress_is_numpys(seed, shape, dtype):
    random = drawn(seed)
    x = some(random, shape, dtype)
    axis = int(random.integers(-x.ndim, x.ndim))
    condition = random.random(random.integers(0, shape[axis] + 1)) < 0.5
    got = run_node("Compress", [x, condition], {"axis": axis})[0]
    assert_same(got, np.compress(condition, x, axis))
    assert_same(run_node("Compress", [x, condition])[0], np.compress(condition, x))


def test_a_condition_true_beyond_the_axis_is_an_error():
    with pytest.raises(EngineError, match="condition"):
        run_node("Compress", [np.float32([1]), np.array([True, True])], {"axis": 0})


# Orders -------------------------------------------------------------------------------


def ordered(row: np.ndarray, largest: bool) -> list[int]:
    """The order of a row by rule: best first, the lower index among equals."""
    sign = -1 if largest else 1
    return sorted(range(len(row)), key=lambda i: (sign * float(row[i]), i))


@given(SEEDS, SHAPES, st.booleans(), st.integers(1, 60), st.data())
def test_top_k_prefers_the_lower_index(seed, shape, largest, length, data):
    random = drawn(seed)
    axis = int(random.integers(-len(shape), len(shape)))
    whole = list(shape)
    whole[axis] = length
    dtype = data.draw(
        st.sampled_from(
            [np.float32, np.float16, ml_dtypes.bfloat16, np.uint8, np.int64]
        )
    )
    x = random.integers(0, 9, whole).astype(dtype)
    k = data.draw(st.integers(0, length))
    values, index = run_node(
        "TopK", [x, longs(k)], {"axis": axis, "largest": int(largest)}, outputs=2
    )
    rows, found = np.moveaxis(x, axis, -1), np.moveaxis(index, axis, -1)
    for place in np.ndindex(*rows.shape[:-1]):
        assert found[place].tolist() == ordered(rows[place], largest)[:k]
    assert index.dtype == np.int64
    assert_same(values, np.take_along_axis(x, index, axis))


@given(SEEDS, st.integers(1, 40), st.booleans())
def test_unsorted_top_k_finds_the_same_elements(seed, k, largest):
    x = drawn(seed).integers(0, 9, (3, 40)).astype(np.float32)
    attributes = {"largest": int(largest)}
    want = run_node("TopK", [x, longs(k)], attributes, outputs=2)[1]
    got = run_node("TopK", [x, longs(k)], attributes | {"sorted": 0}, outputs=2)[1]
    assert_same(np.sort(got), np.sort(want))


@given(SEEDS, st.sampled_from([1, 2, 9, 39]), st.booleans())
def test_top_k_agrees_with_onnxruntime(seed, k, largest):
    x = drawn(seed).integers(0, 9, (2, 40, 2)).astype(np.float32)
    attributes = {"largest": int(largest), "axis": 1}
    inputs = [x, longs(k)]
    want = by_onnxruntime("TopK", inputs, attributes, 11, outputs=2)
    got = run_node("TopK", inputs, attributes, 11, outputs=2)
    for ours, theirs in zip(got, want, strict=True):
        assert_same(ours, theirs)


def test_nan_is_larger_than_every_number():
    x = np.float32([1, np.nan, 3, np.nan, 2, 0, 0, 0, 0, 0, 0, 0])
    for k in (1, 2, 3, 12):
        index = run_node("TopK", [x, longs(k)], outputs=2)[1]
        assert index.tolist() == [1, 3, 2, 4, 0, 5, 6, 7, 8, 9, 10, 11][:k]
        index = run_node("TopK", [x, longs(k)], {"largest": 0}, outputs=2)[1]
        assert index.tolist() == [5, 6, 7, 8, 9, 10, 11, 0, 4, 2, 1, 3][:k]


def test_older_top_k():
    x = np.float32([[1, 3, 2]])
    for opset, inputs, attributes in ((1, [x], {"k": 2}), (10, [x, longs(2)], {})):
        values, index = run_node("TopK", inputs, attributes, opset, outputs=2)
        assert (values.tolist(), index.tolist()) == ([[3, 2]], [[1, 2]])


def test_top_k_of_too_many_is_refused():
    for k in (4, -1):
        with pytest.raises(EngineError, match="k is"):
            run_node("TopK", [np.float32([1, 2, 3]), longs(k)], outputs=2)


def unique_by_rule(
    keys: list, in_order: bool
) -> tuple[list[int], list[int], list[int]]:
    """First places, place of each, and counts of equal keys."""
    groups: dict = {}
    for index, key in enumerate(keys):
        groups.setdefault(key, []).append(index)
    names = sorted(groups) if in_order else list(groups)
    first = [groups[name][0] for name in names]
    return first, [names.index(key) for key in keys], [len(groups[n]) for n in names]


@given(SEEDS, SHAPES, DTYPES, st.booleans(), st.booleans())
def test_unique_finds_elements_or_subtensors(seed, shape, dtype, in_order, flat):
    random = drawn(seed)
    shape = [size + int(random.integers(0, 3)) for size in shape]
    x = some(random, shape, dtype)
    x = x if dtype is object else (random.integers(0, 2, shape)).astype(dtype)
    axis = int(random.integers(-x.ndim, x.ndim))
    attributes = {"sorted": int(in_order)} | ({} if flat else {"axis": axis})
    got = run_node("Unique", [x], attributes, outputs=4)
    if flat:
        keys, source, along = x.reshape(-1).tolist(), x.reshape(-1), 0
    else:
        parts = np.moveaxis(x, axis, 0).reshape(x.shape[axis], -1)
        keys, source, along = [tuple(part.tolist()) for part in parts], x, axis
    first, inverse, counts = unique_by_rule(keys, in_order)
    assert_same(got[0], np.take(source, first, along))
    for ours, want in zip(got[1:], (first, inverse, counts), strict=True):
        assert_same(ours, longs(*want))
    assert_same(run_node("Unique", [x], attributes)[0], got[0])


def test_nan_is_found_once():
    got = run_node("Unique", [np.float32([1, np.nan, np.nan, 0])], outputs=4)
    assert got[0].tolist()[:2] == [0, 1]
    assert [part.tolist() for part in got[1:]] == [[3, 0, 1], [1, 2, 2, 0], [1, 1, 2]]
    rows = np.float32([[1, np.nan], [1, np.nan]])
    assert run_node("Unique", [rows], {"axis": 0})[0].shape == (1, 2)


@pytest.mark.parametrize(
    ("shape", "axis", "count"),
    [((0,), None, 0), ((), None, 1), ((0, 3), 0, 0), ((0, 3), 1, 1)],
)
def test_unique_of_nothing(shape, axis, count):
    attributes = {} if axis is None else {"axis": axis}
    got = run_node("Unique", [np.zeros(shape, np.float32)], attributes, outputs=4)
    assert got[1].shape == got[3].shape == (count,)
