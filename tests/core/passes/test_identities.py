"""Nodes that give back what they were given go."""

from __future__ import annotations

import numpy as np
import pytest
from models import BOOL, FLOAT, INT64, model, node
from onnx import TensorProto
from simplified import operators, same

RNG = np.random.default_rng(0)
ONLY = ("identities", "constants", "shapes", "deadcode", "modernize")
HALF, DOUBLE, INT32 = TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.INT32


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


def between(*nodes, shape=(2, 3, 4), kind=FLOAT, into=FLOAT, last="m", **constants):
    """Return a model with nodes between two others, from "a" to "m"."""
    return model(
        [
            node("Neg" if kind != BOOL else "Not", ["x"], ["a"]),
            *nodes,
            node("Sign" if into != BOOL else "Not", [last], ["y"]),
        ],
        {"x": (kind, list(shape))},
        {"y": (into, None)},
        constants,
        opset=18,
    )


def feed(shape, kind):
    """Return an input for a model of `between`."""
    sizes = [3 if isinstance(dim, str) else dim for dim in shape]
    if kind == BOOL:
        return RNG.random(sizes) > 0.5
    types = {FLOAT: np.float32, INT64: np.int64, INT32: np.int32, HALF: np.float16}
    return (RNG.standard_normal(sizes) * 9).astype(types[kind])


def left(proto, shape=(2, 3, 4), kind=FLOAT):
    """Return the operators that are left between the two others."""
    counted = operators(same(proto, [feed(shape, kind)], ONLY).graph)
    ends = {"Neg": 1, "Sign": 1, "Not": 2}
    for op, count in ends.items():
        if op in counted:
            counted[op] -= min(count, counted[op])
    return +counted


GONE = {
    "identity": [node("Identity", ["a"], ["m"])],
    "dropout": [node("Dropout", ["a"], ["m"])],
    "dropout of a ratio": [node("Dropout", ["a", "half"], ["m"])],
    "dropout, told not to train": [node("Dropout", ["a", "half", "no"], ["m"])],
    "concat of one": [node("Concat", ["a"], ["m"], axis=1)],
    "split into one": [node("Split", ["a"], ["m"], axis=1, num_outputs=1)],
    "clip without bounds": [node("Clip", ["a"], ["m"])],
    "cast to the same type": [node("Cast", ["a"], ["m"], to=FLOAT)],
    "cast there and back": [
        node("Cast", ["a"], ["b"], to=DOUBLE),
        node("Cast", ["b"], ["m"], to=FLOAT),
    ],
    "transpose of nothing": [node("Transpose", ["a"], ["m"], perm=[0, 1, 2])],
    "transpose there and back": [
        node("Transpose", ["a"], ["b"], perm=[1, 2, 0]),
        node("Transpose", ["b"], ["m"], perm=[2, 0, 1]),
    ],
    "reshape to the same shape": [node("Reshape", ["a", "same"], ["m"])],
    "reshape there and back": [
        node("Reshape", ["a", "flat"], ["b"]),
        node("Reshape", ["b", "same"], ["m"]),
    ],
    "unsqueeze and squeeze": [
        node("Unsqueeze", ["a", "one"], ["b"]),
        node("Squeeze", ["b", "one"], ["m"]),
    ],
    "flatten and reshape": [
        node("Flatten", ["a"], ["b"]),
        node("Reshape", ["b", "same"], ["m"]),
    ],
    "expand to the same shape": [node("Expand", ["a", "same"], ["m"])],
    "expand by ones": [node("Expand", ["a", "one"], ["m"])],
    "slice of everything": [node("Slice", ["a", "zero", "big", "one"], ["m"])],
    "pad by nothing": [node("Pad", ["a", "zeros"], ["m"])],
    "tile once": [node("Tile", ["a", "ones"], ["m"])],
    "plus 0": [node("Add", ["a", "f0"], ["m"])],
    "0 plus": [node("Add", ["f0", "a"], ["m"])],
    "plus a row of 0": [node("Add", ["a", "row"], ["m"])],
    "minus 0": [node("Sub", ["a", "f0"], ["m"])],
    "times 1": [node("Mul", ["a", "f1"], ["m"])],
    "1 times": [node("Mul", ["f1", "a"], ["m"])],
    "by 1": [node("Div", ["a", "f1"], ["m"])],
    "neg of neg": [node("Neg", ["a"], ["b"]), node("Neg", ["b"], ["m"])],
    "where true": [node("Where", ["yes", "a", "f0"], ["m"])],
    "where false": [node("Where", ["no", "f0", "a"], ["m"])],
}
CONSTANTS = {
    "half": np.float32(0.5),
    "no": np.array(False),
    "yes": np.array(True),
    "same": np.array([2, 3, 4]),
    "flat": np.array([6, 4]),
    "zero": np.array([0]),
    "one": np.array([1]),
    "big": np.array([2**62]),
    "zeros": np.zeros(6, np.int64),
    "ones": np.ones(3, np.int64),
    "f0": np.float32(0),
    "f1": np.float32(1),
    "row": np.zeros(4, np.float32),
}


def used(nodes):
    """Return the constants that nodes read."""
    names = {name for item in nodes for name in item.input}
    return {name: value for name, value in CONSTANTS.items() if name in names}


@pytest.mark.parametrize("case", GONE)
def test_what_goes(case):
    assert left(between(*GONE[case], **used(GONE[case]))) == {}


STAYS = {
    "dropout in training": [node("Dropout", ["a", "half", "yes"], ["m"])],
    "concat of two": [node("Concat", ["a", "a"], ["m"], axis=1)],
    "a bound": [node("Clip", ["a", "f0"], ["m"])],
    "lossy casts": [
        node("Cast", ["a"], ["b"], to=HALF),
        node("Cast", ["b"], ["m"], to=FLOAT),
    ],
    "transpose": [node("Transpose", ["a"], ["m"], perm=[1, 0, 2])],
    "reshape": [node("Reshape", ["a", "flat"], ["m"])],
    "expand": [node("Expand", ["a", "more"], ["m"])],
    "a part": [node("Slice", ["a", "one", "big", "one"], ["m"])],
    "backwards": [node("Slice", ["a", "end", "small", "one", "back"], ["m"])],
    "pad": [node("Pad", ["a", "ones6"], ["m"])],
    "tile": [node("Tile", ["a", "twice"], ["m"])],
    "0 minus": [node("Sub", ["f0", "a"], ["m"])],
    "1 by": [node("Div", ["f1", "a"], ["m"])],
    "times 0": [node("Mul", ["a", "f0"], ["m"])],
    "plus 1": [node("Add", ["a", "f1"], ["m"])],
    "a zero of higher rank": [node("Add", ["a", "deep"], ["m"])],
    "zeros that broadcast": [node("Add", ["a", "wide"], ["m"])],
    "where mixed": [node("Where", ["mixed", "a", "f0"], ["m"])],
    "where that broadcasts": [node("Where", ["deep_yes", "a", "f0"], ["m"])],
}
CONSTANTS |= {
    "more": np.array([5, 2, 3, 4]),
    "end": np.array([-1]),
    "small": np.array([-(2**62)]),
    "back": np.array([-1]),
    "ones6": np.ones(6, np.int64),
    "twice": np.array([1, 1, 2]),
    "deep": np.zeros((1, 1, 1, 1), np.float32),
    "wide": np.zeros((5, 1, 1, 1), np.float32),
    "mixed": np.array([True, False, True, True]),
    "deep_yes": np.full((1, 1, 1, 1), True),
}


@pytest.mark.parametrize("case", STAYS)
def test_what_stays(case):
    nodes = STAYS[case]
    if case == "dropout in training":
        proto = between(*nodes, **used(nodes))
        from simplified import simplified

        assert operators(simplified(proto, ONLY).graph)["Dropout"] == 1
        return
    assert sum(left(between(*nodes, **used(nodes))).values()) == len(nodes)


def test_adding_zero_keeps_what_is_not_a_number():
    proto = between(*GONE["plus 0"], shape=(3,), f0=np.float32(0))
    same(proto, [np.float32([np.nan, np.inf, -np.inf])], ONLY)


def test_multiplying_by_zero_stays_because_of_what_is_not_a_number():
    nodes = STAYS["times 0"]
    same(
        between(*nodes, shape=(2,), **used(nodes)), [np.float32([np.nan, np.inf])], ONLY
    )


def test_a_dropout_whose_mask_is_read_stays():
    proto = model(
        [
            node("Dropout", ["x"], ["m", "mask"]),
            node("Neg", ["m"], ["y"]),
            node("Not", ["mask"], ["z"]),
        ],
        {"x": (FLOAT, [3])},
        {"y": (FLOAT, [3]), "z": (BOOL, [3])},
    )
    assert operators(same(proto, [array(3)], ONLY).graph)["Dropout"] == 1


def test_two_transposes_are_one():
    proto = between(
        node("Transpose", ["a"], ["b"], perm=[1, 2, 0]),
        node("Transpose", ["b"], ["m"], perm=[0, 2, 1]),
    )
    assert left(proto) == {"Transpose": 1}


def test_a_transpose_without_an_order_reverses():
    proto = between(node("Transpose", ["a"], ["b"]), node("Transpose", ["b"], ["m"]))
    assert left(proto) == {}


def test_a_reshape_reads_ahead_of_other_reshapes():
    nodes = [
        node("Reshape", ["a", "flat"], ["b"]),
        node("Unsqueeze", ["b", "one"], ["c"]),
        node("Reshape", ["c", "other"], ["m"]),
    ]
    constants = {**used(nodes), "other": np.array([4, -1])}
    assert left(between(*nodes, **constants)) == {"Reshape": 1}


def test_a_zero_in_a_shape_is_its_own_inputs_dim():
    """Reshape to (6, 4), then to (0, 2, 2): 0 stands for 6, not for the first 2."""
    nodes = [
        node("Reshape", ["a", "flat"], ["b"]),
        node("Reshape", ["b", "copy"], ["m"]),
    ]
    constants = {**used(nodes), "copy": np.array([0, 2, 2])}
    assert left(between(*nodes, **constants)) == {"Reshape": 2}


def test_shapes_with_symbols():
    proto = between(
        node("Unsqueeze", ["a", "one"], ["b"]),
        node("Slice", ["b", "zero", "big", "one"], ["c"]),
        node("Squeeze", ["c", "one"], ["m"]),
        shape=("n", 3),
        one=np.array([1]),
        zero=np.array([0]),
        big=np.array([2**62]),
    )
    assert left(proto, ("n", 3)) == {}


@pytest.mark.parametrize(
    ("op", "operand"), [("Add", "z"), ("Mul", "z"), ("Greater", "z"), ("Pow", "z")]
)
def test_an_operand_need_not_be_expanded_before_it_is_broadcast(op, operand):
    proto = model(
        [
            node("Shape", ["x"], ["s"]),
            node("Expand", [operand, "s"], ["e"]),
            node(op, ["x", "e"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 3]), "z": (FLOAT, [1, 3])},
        {"y": (BOOL if op == "Greater" else FLOAT, ["n", 3])},
    )
    feeds = [np.abs(array(4, 3)), array(1, 3)]
    assert operators(same(proto, feeds, ONLY).graph) == {op: 1}


def test_the_operand_that_makes_the_shape_stays_expanded():
    proto = model(
        [
            node("Shape", ["x"], ["s"]),
            node("Expand", ["z", "s"], ["e"]),
            node("Expand", ["w", "s"], ["f"]),
            node("Add", ["e", "f"], ["y"]),
            node("Neg", ["x"], ["o"]),
        ],
        {"x": (FLOAT, ["n", 3]), "z": (FLOAT, [1, 3]), "w": (FLOAT, [1, 3])},
        {"y": (FLOAT, ["n", 3]), "o": (FLOAT, ["n", 3])},
    )
    feeds = [array(4, 3), array(1, 3), array(1, 3)]
    assert operators(same(proto, feeds, ONLY).graph)["Expand"] == 1


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [(INT32, INT64, 1), (INT64, INT64, 0), (FLOAT, FLOAT, 1), (INT32, INT32, 2)],
)
def test_a_cast_after_a_lossless_one_reads_ahead_of_it(first, second, count):
    proto = between(
        node("Cast", ["a"], ["b"], to=first),
        node("Cast", ["b"], ["m"], to=second),
        kind=INT64 if first != INT32 or second == INT32 else INT32,
        into=second,
    )
    kind = proto.graph.input[0].type.tensor_type.elem_type
    if (first, second) == (INT32, INT32):
        count = 1
    assert sum(left(proto, kind=kind).values()) == count


def test_public_names_survive():
    proto = model(
        [
            node("Identity", ["x"], ["y"]),
            node("Neg", ["x"], ["a"]),
            node("Identity", ["a"], ["z"]),
        ],
        {"x": (FLOAT, [3])},
        {"y": (FLOAT, [3]), "z": (FLOAT, [3])},
    )
    found = same(proto, [array(3)])
    assert [value.name for value in found.graph.outputs] == ["y", "z"]
    assert operators(found.graph) == {"Identity": 1, "Neg": 1}


def test_one_value_under_two_public_names():
    proto = model(
        [
            node("Neg", ["x"], ["a"]),
            node("Identity", ["a"], ["y"]),
            node("Identity", ["a"], ["z"]),
        ],
        {"x": (FLOAT, [3])},
        {"y": (FLOAT, [3]), "z": (FLOAT, [3])},
    )
    found = same(proto, [array(3)])
    assert [value.name for value in found.graph.outputs] == ["y", "z"]
    assert operators(found.graph) == {"Identity": 1, "Neg": 1}
