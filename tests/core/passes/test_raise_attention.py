"""Attention, as torch's exporters and people write it, becomes one operator."""

from __future__ import annotations

import numpy as np
import pytest
from models import BOOL, FLOAT, model, node
from onnx import TensorProto
from simplified import loaded, operators, outputs, same, simplified

RNG = np.random.default_rng(0)
HALF = TensorProto.FLOAT16
BATCH, HEADS, QUERIES, KEYS, SIZE = 2, 4, 3, 5, 8
MINIMUM = float(np.finfo(np.float32).min)


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "scale": np.float32(SIZE**-0.5), "root": np.float32(SIZE**0.5),
    "quarter": np.float32(SIZE**-0.25), "low": np.float32(MINIMUM),
    "infinite": np.float32(-np.inf), "zero": np.float32(0), "nought": np.float32(0),
    "negative": np.float32(-1), "thousands": np.float32(-1e4), "two": np.array([2]),
}  # fmt: skip
SHAPES = {
    "q": ("batch", HEADS, "queries", SIZE),
    "k": ("batch", HEADS, "keys", SIZE),
    "v": ("batch", HEADS, "keys", SIZE),
    "mask": ("batch", 1, "queries", "keys"),
}
SIZES = {"batch": BATCH, "queries": QUERIES, "keys": KEYS, "seq": KEYS}


def lines(text):
    """Return nodes from lines such as "s = MatMul q t"; "Op/attribute=value" too."""
    nodes = []
    for line in filter(str.strip, text.splitlines()):
        names, call = line.strip().split(" = ")
        op, *inputs = call.split()
        op, *attributes = op.split("/")
        values = {}
        for entry in attributes:
            key, value = entry.split("=")
            parts = [int(part) for part in value.split(",")]
            values[key] = parts if len(parts) > 1 else parts[0]
        nodes.append(node(op, inputs, names.split(","), names, **values))
    return nodes


def written(text, results=("y",), kinds=None, constants=None, **shapes):
    """Return a model of q, k, v and a mask, as far as they are read."""
    nodes = lines(text)
    names = {name for item in nodes for name in item.input}
    names -= {name for item in nodes for name in item.output}
    shapes = {**SHAPES, **shapes}
    kinds = {"mask": FLOAT, **(kinds or {})}
    known = {**CONSTANTS, **(constants or {})}
    return model(
        nodes,
        {n: (kinds.get(n, FLOAT), list(s)) for n, s in shapes.items() if n in names},
        dict.fromkeys(results, (kinds.get("y", FLOAT), None)),
        {n: a for n, a in known.items() if n in names},
        opset=18,
    )


def feeds(proto):
    """Return random inputs; masks hide some keys, never the first."""
    made = []
    for info in proto.graph.input:
        kind = info.type.tensor_type
        shape = [d.dim_value or SIZES[d.dim_param] for d in kind.shape.dim]
        if kind.elem_type == BOOL:
            value = RNG.random(shape) > 0.4
            value[..., 0] = True
        elif info.name == "mask":
            value = np.where(RNG.random(shape) > 0.4, 0, MINIMUM).astype(np.float32)
            value[..., 0] = 0
        else:
            value = array(*shape)
        made.append(value.astype(np.float16) if kind.elem_type == HALF else value)
    return made


def raised(proto, tolerance=1e-5, inputs=None):
    """See that a model becomes attention with the same results; return the graph."""
    graph = same(proto, inputs or feeds(proto), tolerance=tolerance).graph
    assert operators(graph)["Attention"] == 1
    assert "Softmax" not in operators(graph)
    return graph


def attention(graph):
    """Return the one Attention."""
    (found,) = [n for n in graph if n.op_type == "Attention"]
    return found


def unraised(proto, tolerance=1e-5, inputs=None):
    """See that a model stays as it is."""
    found = same(proto, inputs or feeds(proto), tolerance=tolerance)
    assert "Attention" not in operators(found.graph)


PLAIN = """
    t = Transpose/perm=0,1,3,2 k
    s = MatMul q t
    p = Softmax/axis=-1 s
    y = MatMul p v
"""
SCALED = {
    "scores divided": ("s0 = MatMul q t\n s = Div s0 root", 1),
    "scores multiplied": ("s0 = MatMul q t\n s = Mul scale s0", 1),
    "queries divided": ("q0 = Div q root\n s = MatMul q0 t", 1),
    "keys multiplied": ("t0 = Mul t scale\n s = MatMul q t0", 1),
    "split between both": (
        "q0 = Mul q quarter\n t0 = Mul t quarter\n s = MatMul q0 t0",
        1,
    ),
    "twice": ("q0 = Mul q scale\n s0 = MatMul q0 t\n s = Mul s0 root", SIZE**0.5),
}


def test_without_scale_and_mask():
    graph = raised(written(PLAIN))
    (found,) = graph
    assert found.attribute("scale") == 1.0
    assert [value.name for value in found.inputs] == ["q", "k", "v"]
    assert found.outputs[0].shape == ("batch", HEADS, "queries", SIZE)
    assert found.origins == ("t", "s", "p", "y")


@pytest.mark.parametrize("spelling", SCALED)
def test_scales(spelling):
    text, factor = SCALED[spelling]
    found = attention(raised(written(PLAIN.replace("s = MatMul q t", text))))
    assert found.attribute("scale") == pytest.approx(SIZE**-0.5 * factor)


def test_a_scale_of_the_keys_before_they_are_transposed():
    text = PLAIN.replace(
        "t = Transpose/perm=0,1,3,2 k",
        "k0 = Mul k scale\n t = Transpose/perm=0,1,3,2 k0",
    )
    assert attention(raised(written(text))).inputs[1].name == "k"


MASKED = """
    t = Transpose/perm=0,1,3,2 k
    s0 = MatMul q t
    s1 = Div s0 root
    s = {0}
    p = Softmax/axis=-1 s
    y = MatMul p v
"""


@pytest.mark.parametrize("text", ["Add s1 mask", "Add mask s1"])
@pytest.mark.parametrize(
    "shape",
    [
        ("batch", 1, "queries", "keys"),
        ("batch", 1, 1, "keys"),
        ("batch", HEADS, "queries", "keys"),
        (1, 1, "queries", "keys"),
        ("queries", "keys"),
        (1, "queries", "keys"),
    ],
)
def test_masks_that_are_added(text, shape):
    found = attention(raised(written(MASKED.format(text), mask=shape)))
    assert found.inputs[3].name == "mask"


@pytest.mark.parametrize(
    ("text", "hides"),
    [
        ("Where mask s1 low", False),
        ("Where mask low s1", True),
        ("Where mask s1 infinite", False),
    ],
)
def test_masks_that_choose(text, hides):
    proto = written(MASKED.format(text), kinds={"mask": BOOL})
    inputs = feeds(proto)
    if hides:
        inputs[-1] = ~inputs[-1]
    graph = raised(proto, inputs=inputs)
    assert operators(graph) == {"Where": 1, "Attention": 1}


def test_all_keys_hidden_by_the_lowest_number_attend_alike():
    """As in the original, where every key is hidden each weighs the same."""
    for text in ("Where mask s1 low", "Add s1 mask"):
        proto = written(
            MASKED.format(text), kinds={"mask": BOOL if "Where" in text else FLOAT}
        )
        inputs = feeds(proto)
        inputs[-1][0] = MINIMUM if inputs[-1].dtype == np.float32 else False
        raised(proto, inputs=inputs)


def test_all_keys_hidden_by_infinity_give_zero():
    proto = written(MASKED.format("Add s1 mask"))
    inputs = feeds(proto)
    inputs[-1][0] = -np.inf
    before, after = (
        outputs(loaded(proto), inputs)[0],
        outputs(simplified(proto), inputs)[0],
    )
    assert np.isnan(before[0]).all()
    assert not after[0].any()
    np.testing.assert_allclose(after[1], before[1], 1e-5, 1e-6)


def test_two_masks_are_added_up():
    text = MASKED.format("Add s2 mask").replace(
        "s = ", "s2 = Where causal s1 low\n s = "
    )
    proto = written(text, kinds={"causal": BOOL}, causal=(1, 1, "queries", "keys"))
    graph = raised(proto)
    assert operators(graph) == {"Where": 1, "Add": 1, "Attention": 1}


@pytest.mark.parametrize("zero", ["zero", "nought"])
def test_the_guard_against_nan(zero):
    text = MASKED.format("Add s1 mask").replace(
        "y = MatMul p v", f"n = IsNaN p\n w = Where n {zero} p\n y = MatMul w v"
    )
    proto = written(text)
    inputs = feeds(proto)
    inputs[-1][0, 0, 1] = -np.inf
    assert operators(raised(proto, inputs=inputs)) == {"Attention": 1}


def test_dropout_of_inference():
    text = PLAIN.replace("y = MatMul p v", "d = Dropout p\n y = MatMul d v")
    assert operators(raised(written(text))) == {"Attention": 1}


def test_keys_transposed_in_one_step():
    text = PLAIN.replace("0,1,3,2", "0,2,3,1")
    graph = raised(written(text, k=("batch", "keys", HEADS, SIZE)))
    assert operators(graph) == {"Transpose": 1, "Attention": 1}
    transpose = next(iter(graph))
    assert transpose.attribute("perm") == (0, 2, 1, 3)


def test_from_projections_to_context():
    """Reshape and Transpose around it stay; the shapes are known in symbols."""
    text = "\n".join(
        f"{n}1 = Reshape {n}0 heads\n {n} = Transpose/perm=0,2,1,3 {n}1" for n in "qkv"
    )
    text += PLAIN.replace("y =", "c =")
    text += "c1 = Transpose/perm=0,2,1,3 c\n y = Reshape c1 flat"
    shape = ("batch", "seq", HEADS * SIZE)
    proto = written(
        text,
        constants={
            "heads": np.array([0, 0, HEADS, SIZE]),
            "flat": np.array([0, 0, HEADS * SIZE]),
        },
        q0=shape,
        k0=shape,
        v0=shape,
    )
    graph = raised(proto)
    assert operators(graph) == {"Reshape": 4, "Transpose": 4, "Attention": 1}


def test_past_keys_are_joined_outside():
    text = "k = Concat/axis=2 past new\n" + PLAIN
    proto = written(
        text,
        results=("y", "k"),
        past=("batch", HEADS, "past", SIZE),
        new=("batch", HEADS, "queries", SIZE),
        v=("batch", HEADS, "past + queries", SIZE),
    )
    sizes = {"past": KEYS - QUERIES, "past + queries": KEYS}
    SIZES.update(sizes)
    graph = raised(proto)
    assert operators(graph) == {"Concat": 1, "Attention": 1}


def test_a_mask_that_may_broadcast_over_keys_is_expanded():
    """The operator pads a short mask with minus infinity instead."""
    proto = written(
        MASKED.format("Add s1 mask"), mask=("batch", 1, "queries", "others")
    )
    for others in (KEYS, 1):
        SIZES["others"] = others
        graph = raised(proto)
        assert operators(graph)["Expand"] == 1


def test_a_slice_of_a_table_is_as_long_as_the_keys_or_wrong_before():
    """GPT-2's causal mask: bias[:, :, :keys, :keys] of a constant table."""
    text = """
        n = Shape/start=2/end=3 k
        c = Slice table start n axis
        t = Transpose/perm=0,1,3,2 k
        s0 = MatMul q t
        s1 = Div s0 root
        s = Where c s1 low
        p = Softmax/axis=-1 s
        y = MatMul p v
    """
    table = np.ones((1, 1, 1, 64), bool)
    proto = written(
        text,
        constants={"table": table, "start": np.array([0]), "axis": np.array([3])},
    )
    assert "Expand" not in operators(raised(proto))


REPEATED = """
    k1 = Unsqueeze k0 two
    k2 = Expand k1 wide
    k = Reshape k2 whole
    v1 = Unsqueeze v0 two
    v2 = Expand v1 wide
    v = Reshape v2 whole
"""
GROUPS = {
    "wide": np.array([BATCH, 2, 2, KEYS, SIZE]),
    "whole": np.array([BATCH, HEADS, KEYS, SIZE]),
}


def grouped(text=PLAIN, **changes):
    """Return attention of four query heads over two key heads, each read twice."""
    small = (BATCH, 2, KEYS, SIZE)
    return written(
        REPEATED + text,
        constants={**GROUPS, **changes},
        q=(BATCH, HEADS, QUERIES, SIZE),
        k0=small,
        v0=small,
    )


def test_repeated_heads_are_shared_by_the_operator():
    graph = raised(grouped())
    assert operators(graph) == {"Attention": 1}
    assert [v.name for v in attention(graph).inputs] == ["q", "k0", "v0"]


def test_repeated_heads_with_symbols():
    text = ""
    for n in "kv":
        text += f"""
            {n}b = Shape/start=0/end=1 {n}0
            {n}s = Shape/start=2/end=3 {n}0
            {n}w = Concat/axis=0 {n}b pair pair {n}s size
            {n}f = Concat/axis=0 {n}b heads {n}s size
            {n}1 = Unsqueeze {n}0 two
            {n}2 = Expand {n}1 {n}w
            {n} = Reshape {n}2 {n}f
        """
    small = ("batch", 2, "keys", SIZE)
    constants = {
        "pair": np.array([2]), "heads": np.array([HEADS]), "size": np.array([SIZE]),
    }  # fmt: skip
    proto = written(text + PLAIN, constants=constants, k0=small, v0=small)
    assert operators(raised(proto)) == {"Attention": 1}


def test_an_attention_that_was_there_shares_heads_too():
    proto = grouped("y = Attention q k v")
    proto.opset_import[0].version = 23
    graph = raised(proto)
    assert operators(graph) == {"Attention": 1}


def test_heads_repeated_in_blocks_are_not_groups():
    """Tile puts the heads in another order: 0 1 0 1 instead of 0 0 1 1."""
    text = "k = Tile k0 times\n v = Tile v0 times\n" + PLAIN
    small = (BATCH, 2, KEYS, SIZE)
    proto = written(
        text,
        constants={"times": np.array([1, 2, 1, 1])},
        q=(BATCH, HEADS, QUERIES, SIZE),
        k0=small,
        v0=small,
    )
    assert operators(raised(proto)) == {"Tile": 2, "Attention": 1}


def test_half_precision_with_a_softmax_in_float():
    text = PLAIN.replace(
        "p = Softmax/axis=-1 s",
        "s32 = Cast/to=1 s\n p32 = Softmax/axis=-1 s32\n p = Cast/to=10 p32",
    )
    kinds = dict.fromkeys(("q", "k", "v", "y"), HALF)
    found = attention(raised(written(text, kinds=kinds), 5e-3))
    assert found.attribute("softmax_precision") == FLOAT


def test_half_precision_throughout():
    kinds = dict.fromkeys(("q", "k", "v", "y"), HALF)
    raised(written(PLAIN, kinds=kinds), 5e-3)


NOT = {
    "softmax over queries": PLAIN.replace("axis=-1", "axis=2"),
    "keys not transposed": PLAIN.replace("0,1,3,2", "0,1,2,3"),
    "a negative scale": PLAIN.replace(
        "s = MatMul q t", "s0 = MatMul q t\n s = Mul s0 negative"
    ),
    "scale after the mask": MASKED.format("Mul m root").replace(
        "s = ", "m = Add s1 mask\n s = "
    ),
    "weights on the right": PLAIN.replace("MatMul p v", "MatMul v p"),
    "a number not low enough": MASKED.format("Where mask s1 thousands"),
    "a value to choose": MASKED.format("Where mask s1 q2"),
    "added up with itself": PLAIN.replace(
        "s = MatMul q t", "s0 = MatMul q t\n s = Add s0 s0"
    ),
}


@pytest.mark.parametrize("case", NOT)
def test_what_is_no_attention(case):
    square = (BATCH, HEADS, SIZE, SIZE)
    kinds = {"mask": BOOL} if "mask s1" in NOT[case] else {}
    proto = written(
        NOT[case], kinds=kinds, q=square, k=square, v=square, mask=square, q2=square
    )
    unraised(proto)


@pytest.mark.parametrize("read", ["s", "p"])
def test_scores_that_are_an_output(read):
    unraised(written(PLAIN, results=("y", read)))


def test_weights_that_are_read_twice():
    unraised(written(PLAIN + "z = MatMul p v", results=("y", "z")))


def test_a_mask_that_is_larger_than_the_scores():
    proto = written(
        MASKED.format("Add s1 mask"),
        q=(1, HEADS, QUERIES, SIZE),
        k=(1, HEADS, KEYS, SIZE),
        v=(1, HEADS, KEYS, SIZE),
        mask=(BATCH, 1, QUERIES, KEYS),
    )
    unraised(proto)


def test_a_batch_that_broadcasts():
    proto = written(
        PLAIN,
        q=(BATCH, HEADS, QUERIES, SIZE),
        k=(1, HEADS, KEYS, SIZE),
        v=(1, HEADS, KEYS, SIZE),
    )
    unraised(proto)


def test_dims_that_are_not_provably_equal():
    SIZES["others"] = BATCH
    unraised(written(PLAIN, k=("others", HEADS, "keys", SIZE)))


def test_tensors_of_three_dims():
    text = PLAIN.replace("0,1,3,2", "0,2,1")
    shape = ("batch", "keys", SIZE)
    unraised(written(text, q=shape, k=shape, v=shape))


def test_a_mask_of_another_type():
    text = PLAIN.replace(
        "p = Softmax/axis=-1 s",
        "s32 = Cast/to=1 s\n m = Add s32 mask\n p32 = Softmax/axis=-1 m\n p = Cast/to=10 p32",
    )
    kinds = dict.fromkeys(("q", "k", "v", "y"), HALF)
    unraised(written(text, kinds=kinds), 5e-3)
