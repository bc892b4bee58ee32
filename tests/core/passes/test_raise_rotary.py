"""Rotary position embedding by halves becomes RotaryEmbedding."""

from __future__ import annotations

import numpy as np
import pytest
from models import FLOAT, INT64, model, node
from onnx import TensorProto
from simplified import operators, same

RNG = np.random.default_rng(0)
BATCH, HEADS, LENGTH, SIZE = 2, 4, 3, 8


def array(*shape) -> np.ndarray:
    """Return random numbers."""
    return RNG.standard_normal(shape).astype(np.float32)


CONSTANTS = {
    "zero": np.array([0]), "half": np.array([4]), "size": np.array([8]),
    "big": np.array([2**63 - 1]), "last": np.array([-1]), "three": np.array([3]),
    "one": np.array([1]), "frequencies": array(1, 4, 1), "scaling": np.float32(1.5),
}  # fmt: skip


def turned(cut="Slice", axis="last"):
    """Return ``x * cos + rotate_half(x) * sin``."""
    if cut == "Split":
        halves = [node("Split", ["x"], ["low", "high"], axis=-1, num_outputs=2)]
    else:
        halves = [
            node("Slice", ["x", "zero", "half", axis, "one"], ["low"]),
            node("Slice", ["x", "half", "big", axis, "one"], ["high"]),
        ]
    return [
        *halves,
        node("Neg", ["high"], ["minus"]),
        node("Concat", ["minus", "low"], ["rotated"], axis=-1),
        node("Mul", ["x", "cos"], ["a"]),
        node("Mul", ["rotated", "sin"], ["b"]),
        node("Add", ["a", "b"], ["y"]),
    ]


def angles(*further, scaled=False):
    """Return cos and sin of positions, each the same half twice, as transformers has."""
    nodes = [
        node("Unsqueeze", ["positions", "one"], ["p"]),
        node("Cast", ["p"], ["pf"], to=FLOAT),
        node("MatMul", ["frequencies", "pf"], ["f"]),
        node("Transpose", ["f"], ["t"], perm=[0, 2, 1]),
        node("Concat", ["t", "t"], ["emb"], axis=-1),
    ]
    for name in ("cos", "sin"):
        nodes.append(node(name.capitalize(), ["emb"], [f"{name}0"]))
        source = f"{name}0"
        if scaled:
            nodes.append(node("Mul", [source, "scaling"], [f"{name}1"]))
            source = f"{name}1"
        nodes.append(node("Unsqueeze", [source, "one"], [name]))
    return [*nodes, *further]


def written(nodes, batch="batch", x=("batch", HEADS, "seq", SIZE), **constants):
    """Return a model of x and positions."""
    names = {name for item in nodes for name in item.input}
    known = {k: v for k, v in {**CONSTANTS, **constants}.items() if k in names}
    inputs = {"x": (FLOAT, list(x))}
    if "positions" in names:
        inputs["positions"] = (INT64, [batch, "seq"])
    return model(nodes, inputs, {"y": (FLOAT, list(x))}, known, opset=18)


def feeds(batch=BATCH):
    """Return x and positions."""
    positions = np.arange(LENGTH)[None] + np.arange(batch)[:, None]
    return [array(BATCH, HEADS, LENGTH, SIZE), positions]


@pytest.mark.parametrize("cut", ["Slice", "Split"])
@pytest.mark.parametrize("scaled", [False, True])
def test_angles_of_each_batch(cut, scaled):
    proto = written([*angles(scaled=scaled), *turned(cut)])
    graph = same(proto, feeds(), tolerance=1e-6).graph
    (rotary,) = [n for n in graph if n.op_type == "RotaryEmbedding"]
    assert [value.shape for value in rotary.inputs] == [
        ("batch", HEADS, "seq", SIZE),
        ("batch", "seq", SIZE // 2),
        ("batch", "seq", SIZE // 2),
    ]
    assert not operators(graph).keys() & {"Slice", "Split", "Neg", "Concat", "Expand"}


def test_angles_of_one_batch_are_expanded():
    """The operator does not broadcast, as the dynamo exporter of torch 2.13 believes."""
    proto = written([*angles(), *turned()], batch=1)
    graph = same(proto, feeds(1), tolerance=1e-6).graph
    counted = operators(graph)
    assert counted["RotaryEmbedding"] == 1
    assert counted["Expand"] == 2


def test_queries_and_keys_share_their_angles():
    keys = []
    for item in turned():
        copy = type(item).FromString(item.SerializeToString())
        copy.output[0] = f"k_{copy.output[0]}"
        for index, name in enumerate(copy.input):
            if name in ("low", "high", "minus", "rotated", "a", "b"):
                copy.input[index] = f"k_{name}"
            elif name == "x":
                copy.input[index] = "k"
        keys.append(copy)
    nodes = [
        *angles(),
        *turned(),
        node("Neg", ["x"], ["k"]),
        *keys,
        node("Add", ["y", "k_y"], ["z"]),
    ]
    proto = written(nodes)
    proto.graph.output[0].name = "z"
    counted = operators(same(proto, feeds(), tolerance=1e-6).graph)
    assert counted["RotaryEmbedding"] == 2
    assert (counted["Cos"], counted["Sin"]) == (1, 1)


def table(doubled=True):
    """Return cosines or sines of ten positions."""
    half = array(10, SIZE // 2)
    return np.concatenate([half, half if doubled else array(10, SIZE // 2)], axis=1)


def gathered(**tables):
    """Return a model whose angles are rows of constant tables, as in older exports."""
    nodes = []
    for name in ("cos", "sin"):
        nodes += [
            node("Gather", [f"{name}s", "positions"], [f"{name}0"]),
            node("Unsqueeze", [f"{name}0", "one"], [name]),
        ]
    given = {"coss": table(), "sins": table(), **tables}
    return written([*nodes, *turned()], **given)


def test_angles_from_tables():
    graph = same(gathered(), feeds(), tolerance=1e-6).graph
    assert operators(graph) == {"Gather": 2, "RotaryEmbedding": 1}
    assert {value.shape for value in graph.initializers.values()} == {(10, SIZE // 2)}


def test_constant_angles():
    half = array(LENGTH, SIZE // 2)
    both = np.concatenate([half, half], axis=1)
    x = (BATCH, HEADS, LENGTH, SIZE)
    for cos in (both, both[None], both[None, None]):
        proto = written(turned(), x=x, cos=cos, sin=both[None, None])
        graph = same(proto, [feeds()[0]], tolerance=1e-6).graph
        assert operators(graph)["RotaryEmbedding"] == 1


def test_the_last_axis_may_be_counted_from_the_front():
    proto = written([*angles(), *turned(axis="three")])
    graph = same(proto, feeds(), tolerance=1e-6).graph
    assert operators(graph)["RotaryEmbedding"] == 1


def test_partial_rotation_leaves_the_rest_outside():
    nodes = [
        *angles(),
        node("Slice", ["whole", "zero", "size", "last"], ["x"]),
        node("Slice", ["whole", "size", "big", "last"], ["rest"]),
        *turned(),
        node("Concat", ["y", "rest"], ["z"], axis=-1),
    ]
    names = {name for item in nodes for name in item.input}
    proto = model(
        nodes,
        {
            "whole": (FLOAT, ["batch", HEADS, "seq", 12]),
            "positions": (INT64, ["batch", "seq"]),
        },
        {"z": (FLOAT, ["batch", HEADS, "seq", 12])},
        {k: v for k, v in CONSTANTS.items() if k in names},
        opset=18,
    )
    inputs = [array(BATCH, HEADS, LENGTH, 12), feeds()[1]]
    assert operators(same(proto, inputs, tolerance=1e-6).graph)["RotaryEmbedding"] == 1


def stays(proto, inputs):
    """See that nothing is raised."""
    found = same(proto, inputs, tolerance=1e-6)
    assert "RotaryEmbedding" not in operators(found.graph)


def test_tables_whose_halves_differ():
    stays(gathered(coss=table(doubled=False)), feeds())
    stays(gathered(sins=table(doubled=False)), feeds())


def test_angles_that_are_given():
    shape = ["batch", 1, "seq", SIZE]
    proto = model(
        turned(),
        {
            "x": (FLOAT, ["batch", HEADS, "seq", SIZE]),
            "cos": (FLOAT, shape),
            "sin": (FLOAT, shape),
        },
        {"y": (FLOAT, None)},
        {k: CONSTANTS[k] for k in ("zero", "half", "big", "last", "one")},
        opset=18,
    )
    stays(
        proto,
        [feeds()[0], array(BATCH, 1, LENGTH, SIZE), array(BATCH, 1, LENGTH, SIZE)],
    )


def test_angles_per_head():
    cos = np.tile(array(HEADS, LENGTH, SIZE // 2), 2)
    proto = written(turned(), x=(BATCH, HEADS, LENGTH, SIZE), cos=cos, sin=cos)
    stays(proto, [feeds()[0]])


def test_angles_of_another_length():
    """cos of one position broadcasts; the operator does not."""
    cos = np.tile(array(1, 1, 1, SIZE // 2), 2)
    stays(written(turned(), cos=cos, sin=cos), [feeds()[0]])


@pytest.mark.parametrize(
    "change",
    [
        {"half": np.array([3])},
        {"axis": np.array([2])},
    ],
    ids=["unequal parts", "another axis"],
)
def test_other_cuts(change):
    if "axis" in change:
        cos = np.tile(array(1, 1, 8, SIZE // 2), 2)
        nodes = turned(axis="axis")
        nodes[3].attribute[0].i = 2
        proto = written(nodes, x=(2, 4, 8, 8), cos=cos, sin=cos, **change)
        stays(proto, [array(2, 4, 8, 8)])
    else:
        cos = np.tile(array(1, 1, LENGTH, SIZE // 2), 2)
        x = (BATCH, HEADS, LENGTH, SIZE)
        stays(written(turned(), x=x, cos=cos, sin=cos, **change), [feeds()[0]])


def test_halves_in_the_other_order():
    nodes = turned()
    nodes[3].input[:] = ["low", "minus"]
    stays(written([*angles(), *nodes]), feeds())


def test_tensors_of_three_dims():
    cos = np.tile(array(1, LENGTH, SIZE // 2), 2)
    proto = written(turned(axis="last"), x=(HEADS, LENGTH, SIZE), cos=cos, sin=cos)
    stays(proto, [array(HEADS, LENGTH, SIZE)])


def test_half_precision_with_angles_cast_down():
    half = TensorProto.FLOAT16
    nodes = angles()
    for item in nodes:
        if item.output[0] in ("cos", "sin"):
            item.output[0] += "32"
    nodes += [node("Cast", [f"{n}32"], [n], to=half) for n in ("cos", "sin")]
    proto = written([*nodes, *turned()])
    for info in (proto.graph.input[0], proto.graph.output[0]):
        info.type.tensor_type.elem_type = half
    x, positions = feeds()
    graph = same(proto, [x.astype(np.float16), positions], tolerance=2e-3).graph
    assert operators(graph)["RotaryEmbedding"] == 1
