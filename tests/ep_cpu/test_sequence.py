"""Sequences and optionals by rule."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from evaluate import run_model, run_node
from hypothesis import given
from hypothesis import strategies as st
from runtime.errors import EngineError

ITEMS = st.lists(st.integers(-9, 9), max_size=5)


def arrays(numbers: list[int]) -> list[np.ndarray]:
    return [np.array([number], np.float16) for number in numbers]


def numbers_of(sequence: list[np.ndarray]) -> list[int]:
    assert isinstance(sequence, list)
    return [int(array[0]) for array in sequence]


@given(ITEMS.filter(bool))
def test_construct_keeps_order_and_types(items):
    got = run_node("SequenceConstruct", arrays(items))[0]
    assert numbers_of(got) == items
    assert {array.dtype for array in got} == {np.dtype(np.float16)}


def test_an_empty_sequence_is_an_empty_list():
    assert run_node("SequenceEmpty", [])[0] == []
    assert run_node("SequenceEmpty", [], {"dtype": 7})[0] == []


@given(ITEMS)
def test_length_is_an_int64_scalar(items):
    got = run_node("SequenceLength", [arrays(items)])[0]
    assert (got.dtype, got.shape, int(got)) == (np.int64, (), len(items))


@given(ITEMS, st.integers(-6, 6), st.sampled_from([np.int32, np.int64]))
def test_positions_count_from_either_end_or_are_refused(items, position, kind):
    place, sequence = np.array(position, kind), arrays(items)
    if -len(items) <= position < len(items):
        assert run_node("SequenceAt", [sequence, place])[0] is sequence[position]
        erased = run_node("SequenceErase", [sequence, place])[0]
        assert numbers_of(erased) == [
            item for i, item in enumerate(items) if i != position % len(items)
        ]
    else:
        for op in ("SequenceAt", "SequenceErase"):
            with pytest.raises(EngineError, match="position"):
                run_node(op, [sequence, place])
    new = np.array([50], np.float16)
    if -len(items) <= position <= len(items):
        want = items.copy()
        want.insert(position, 50)
        assert numbers_of(run_node("SequenceInsert", [sequence, new, place])[0]) == want
    else:
        with pytest.raises(EngineError, match="position"):
            run_node("SequenceInsert", [sequence, new, place])
    assert numbers_of(sequence) == items


def test_the_end_is_the_default_position():
    sequence = arrays([1, 2])
    new = np.array([3], np.float16)
    assert numbers_of(run_node("SequenceInsert", [sequence, new])[0]) == [1, 2, 3]
    assert numbers_of(run_node("SequenceErase", [sequence])[0]) == [1]
    with pytest.raises(EngineError):
        run_node("SequenceErase", [[]])


@given(st.integers(0, 5), st.integers(-2, 1), st.integers(1, 6))
def test_split_by_one_length_leaves_the_rest_last(size, axis, part):
    shape = [2, 2]
    shape[axis] = size
    x = np.arange(2 * size).reshape(shape)
    got = run_node("SplitToSequence", [x, np.array(part)], {"axis": axis})[0]
    lengths = [array.shape[axis] for array in got]
    assert lengths == [min(part, size - i) for i in range(0, size, part)]
    if got:
        joined = run_node("ConcatFromSequence", [got], {"axis": axis})[0]
        assert joined.tolist() == x.tolist()


@given(st.lists(st.integers(0, 3), min_size=1, max_size=4))
def test_split_by_lengths_ignores_keepdims(lengths):
    x = np.arange(sum(lengths)).astype(ml_dtypes.bfloat16)
    for kind in (np.int32, np.int64):
        split = np.array(lengths, kind)
        got = run_node("SplitToSequence", [x, split], {"keepdims": 0})[0]
        assert [array.size for array in got] == lengths
        assert np.concatenate(got).tolist() == x.tolist()


def test_split_into_single_slices_may_drop_the_axis():
    x = np.array([["a", "b"], ["c", "d"]], object)
    got = run_node("SplitToSequence", [x], {"axis": 1})[0]
    assert [array.shape for array in got] == [(2, 1), (2, 1)]
    got = run_node("SplitToSequence", [x], {"axis": 1, "keepdims": 0})[0]
    assert [array.tolist() for array in got] == [["a", "c"], ["b", "d"]]
    got = run_node("SplitToSequence", [x[0]], {"keepdims": 0})[0]
    assert [(array.shape, array.item()) for array in got] == [((), "a"), ((), "b")]


def test_bad_splits_are_refused():
    for split in (np.array(0), np.array([1, 1]), np.array([4, -1])):
        with pytest.raises(EngineError):
            run_node("SplitToSequence", [np.arange(3), split])


@given(st.integers(-3, 2), st.integers(1, 3))
def test_stacking_makes_a_new_axis(axis, count):
    parts = [np.full((2, 3), i, np.float32) for i in range(count)]
    got = run_node("ConcatFromSequence", [parts], {"axis": axis, "new_axis": 1})[0]
    assert got.tolist() == np.stack(parts, axis).tolist()


def test_nothing_cannot_be_joined():
    with pytest.raises(EngineError, match="empty"):
        run_node("ConcatFromSequence", [[]], {"axis": 0})


def test_an_optional_is_a_value_or_none():
    x = np.float32([1])
    assert run_node("Optional", [x])[0] is not None
    sequence = [x]
    assert run_node("Optional", [sequence])[0] is sequence
    of_floats = onnx.helper.make_tensor_type_proto(1, [])
    assert run_node("Optional", [], {"type": of_floats})[0] is None


def test_elements_of_optionals():
    x = np.float32([1])
    for opset in (15, 18):
        got = run_node("OptionalHasElement", [x], {}, opset)[0]
        assert (got.dtype, got.shape, bool(got)) == (np.bool_, (), True)
        assert run_node("OptionalGetElement", [[x]], {}, opset)[0] == [x]
    assert not run_node("OptionalHasElement", [])[0]


def test_an_empty_optional_has_no_element_to_get():
    text = """
    <ir_version: 10, opset_import: ["" : 18]>
    g () => (bool has, float[1] got) {
        nothing = Optional ()
        has = OptionalHasElement (nothing)
        got = OptionalGetElement (nothing)
    }
    """
    model = onnx.parser.parse_model(text)
    of_floats = onnx.helper.make_tensor_type_proto(1, [])
    given_type = onnx.helper.make_attribute("type", of_floats)
    model.graph.node[0].attribute.append(given_type)
    with pytest.raises(EngineError, match="empty"):
        run_model(model, [])
