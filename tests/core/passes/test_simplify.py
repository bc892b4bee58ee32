"""All passes together: levels, records, and the same results for whole models."""

from __future__ import annotations

import time

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import FLOAT, model, node, random_graph
from onnx import helper
from runtime.export import to_proto
from runtime.model import from_proto
from runtime.opsets import newest
from runtime.passes import PASSES, simplify
from runtime.settings import Settings
from simplified import check, evaluate, loaded, operators, outputs, same, simplified

from benchmarks.zoo import ZOO

X = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)


def mixed() -> onnx.ModelProto:
    """Return a model with something for every level."""
    inner = helper.make_function(
        "local",
        "Half",
        ["a"],
        ["b"],
        [
            node("Constant", [], ["c"], value_float=0.5),
            node("Mul", ["a", "c"], ["b"]),
        ],
        [helper.make_opsetid("", 13)],
    )
    return model(
        [
            node("Half", ["x"], ["h"], domain="local"),
            node("Identity", ["h"], ["i"]),
            node("Sigmoid", ["i"], ["s"]),
            node("Mul", ["i", "s"], ["y"]),
        ],
        {"x": (FLOAT, [2, 3])},
        {"y": (FLOAT, [2, 3])},
        opset=13,
        functions=[inner],
        domains={"local": 1},
    )


def at(level, **settings):
    """Return a model simplified to a level, and the records."""
    found = loaded(mixed())
    records = simplify(found, Settings(passes=level, **settings), evaluate)
    return found, {record.name: record for record in records}


def test_none_does_what_running_needs():
    found, records = at("none")
    assert operators(found.graph) == {"Mul": 2, "Identity": 1, "Sigmoid": 1}
    assert set(records) <= {"functions", "gradient", "constants"}
    assert {n.version for n in found.graph} == {13}


def test_basic_tidies_without_raising():
    found, records = at("basic")
    assert operators(found.graph) == {"Mul": 2, "Sigmoid": 1}
    assert {n.version for n in found.graph} == {newest()}
    assert not any(name.startswith("raise_") for name in records)


def test_all_raises():
    found, _ = at("all")
    assert operators(found.graph) == {"Mul": 1, "Swish": 1}


def test_passes_can_be_left_out_by_name():
    found, records = at("all", disabled_passes=("raise_silu", "identities"))
    assert operators(found.graph) == {"Mul": 2, "Identity": 1, "Sigmoid": 1}
    assert not {"raise_silu", "identities"} & records.keys()


def test_functions_are_inlined_even_when_named():
    found, _ = at("all", disabled_passes=("functions",))
    assert not found.functions


def test_records_tell_changes_and_seconds():
    _, records = at("all")
    assert records["functions"].changes == 1
    assert records["constants"].changes == 1
    assert records["raise_silu"].changes == 1
    assert all(0 <= record.seconds < 1 for record in records.values())
    assert [name for name in PASSES if name in records] == [
        name for name in records if name in PASSES
    ]


def test_every_pass_is_named_once():
    assert len(set(PASSES)) == len(PASSES)
    assert {"functions", "modernize", "fold", "raise_attention"} <= set(PASSES)


def test_new_values_have_names_and_types():
    found, _ = at("all")
    for item in found.graph:
        for value in item.outputs:
            assert value.name
            assert value.dtype == FLOAT
            assert value.shape == (2, 3)


def test_old_files_get_an_ir_version_that_admits_new_constants():
    proto = model(
        [node("Squeeze", ["x"], ["s"], axes=[0]), node("Add", ["s", "w"], ["y"])],
        {"x": (FLOAT, [1, 3]), "w": (FLOAT, [3])},
        {"y": (FLOAT, [3])},
        {"w": np.ones(3, np.float32)},
        opset=7,
        ir_version=3,
    )
    found = same(proto, [X[:1]])
    assert found.ir_version >= 4
    onnx.checker.check_model(to_proto(found))


def test_a_simplified_model_can_be_written_and_read_again():
    proto = ZOO["bert_base"].build("tiny")
    found = simplified(proto)
    again = from_proto(to_proto(found))
    assert operators(again.graph) == operators(found.graph)


def test_simplifying_again_changes_nothing():
    for name in ("bert_base", "llama", "unet"):
        found = simplified(ZOO[name].build("tiny"))
        records = simplify(found, Settings(), evaluate)
        assert {r.name: r.changes for r in records if r.changes} == {}


@given(st.integers(0, 10_000))
def test_random_graphs_compute_the_same(seed):
    rng = np.random.default_rng(seed)
    feeds = [rng.standard_normal((2, 3)).astype(np.float32) for _ in range(2)]
    same(random_graph(seed), feeds, tolerance=1e-5)


SHAPED = ("Reshape", "Transpose", "Unsqueeze", "Squeeze", "Flatten", "Identity")


@given(st.integers(0, 10_000))
def test_random_chains_of_layouts_compute_the_same(seed):
    same(layouts(seed), [np.arange(24, dtype=np.float32).reshape(2, 3, 4)])


def layouts(seed: int) -> onnx.ModelProto:
    """Return a random chain of reshapes, transposes and shape arithmetic of (n, 3, 4)."""
    rng = np.random.default_rng(seed)
    nodes, arrays, source, shape = [], {}, "x", (2, 3, 4)
    for index in range(6):
        name = f"v{index}"
        op = str(rng.choice(SHAPED))
        inputs, attributes = [source], {}
        if op == "Transpose":
            order = rng.permutation(len(shape)).tolist()
            attributes["perm"] = order
            shape = tuple(shape[i] for i in order)
        elif op == "Unsqueeze":
            axis = int(rng.integers(0, len(shape) + 1))
            arrays[f"c{index}"] = np.array([axis])
            inputs.append(f"c{index}")
            shape = (*shape[:axis], 1, *shape[axis:])
        elif op == "Squeeze" and 1 in shape:
            axis = shape.index(1)
            arrays[f"c{index}"] = np.array([axis])
            inputs.append(f"c{index}")
            shape = (*shape[:axis], *shape[axis + 1 :])
        elif op == "Flatten" and shape:
            axis = int(rng.integers(0, len(shape) + 1))
            attributes["axis"] = axis
            shape = (int(np.prod(shape[:axis])), int(np.prod(shape[axis:])))
        elif op == "Reshape":
            nodes.append(node("Shape", [source], [f"s{index}"]))
            nodes.append(node("ReduceProd", [f"s{index}"], [f"p{index}"], keepdims=1))
            arrays[f"c{index}"] = np.array([2])
            nodes.append(node("Div", [f"p{index}", f"c{index}"], [f"q{index}"]))
            nodes.append(
                node("Concat", [f"c{index}", f"q{index}"], [f"t{index}"], axis=0)
            )
            inputs.append(f"t{index}")
            shape = (2, 12)
        else:
            op, inputs = "Neg", [source]
        nodes.append(node(op, inputs, [name], **attributes))
        source = name
    first = "n" if rng.random() < 0.5 else 2
    return model(
        nodes, {"x": (FLOAT, [first, 3, 4])}, {source: (FLOAT, None)}, arrays, opset=18
    )


LEFT = frozenset(
    ("Shape", "Gather", "Concat", "Unsqueeze", "Slice", "Cast", "Constant", "Div")
)


@pytest.mark.parametrize("spelling", ["torchscript", "dynamo"])
@pytest.mark.parametrize(
    ("name", "raised"),
    [
        ("bert_base", {"LayerNormalization": 5, "Gelu": 2, "Attention": 2}),
        ("distilbert", {"LayerNormalization": 5, "Gelu": 2, "Attention": 2}),
        ("minilm", {"LayerNormalization": 5, "Gelu": 2, "Attention": 2}),
        ("vit", {"LayerNormalization": 5, "Gelu": 2, "Attention": 2}),
        ("gpt2", {"LayerNormalization": 5, "Gelu": 2, "Attention": 2}),
        (
            "llama",
            {"RMSNormalization": 5, "RotaryEmbedding": 4, "Attention": 2, "Swish": 2},
        ),
        ("whisper_encoder", {"LayerNormalization": 5, "Gelu": 4, "Attention": 2}),
        ("whisper_decoder", {"LayerNormalization": 7, "Gelu": 2, "Attention": 4}),
        (
            "unet",
            {
                "GroupNormalization": 21,
                "LayerNormalization": 12,
                "Attention": 8,
                "Swish": 19,
            },
        ),
        ("convnext", {"LayerNormalization": 10, "Gelu": 5}),
    ],
)
def test_models_of_both_exporters_are_raised(name, raised, spelling):
    entry = ZOO[name]
    proto = entry.build("tiny", spelling=spelling)
    before, after = loaded(proto), simplified(proto)
    check(after)
    counted = operators(after.graph)
    assert {op: counted[op] for op in raised} == raised
    assert not counted.keys() & {"Softmax", "Erf", "Sigmoid"}
    for dims in entry.cases("tiny"):
        feeds = entry.feeds("tiny", **dims)
        given_ = [feeds[value.name] for value in before.graph.inputs]
        for mine, theirs in zip(
            outputs(after, given_), outputs(before, given_), strict=True
        ):
            assert mine.shape == theirs.shape
            np.testing.assert_allclose(mine, theirs, 1e-3, 1e-4)


@pytest.mark.parametrize("spelling", ["torchscript", "dynamo"])
def test_bert_loses_nearly_all_of_its_shape_arithmetic(spelling):
    proto = ZOO["bert_base"].build("tiny", spelling=spelling, layers=12)
    counted = operators(simplified(proto).graph)
    assert sum(counted[op] for op in LEFT) <= 12
    assert counted["Attention"] == counted["Gelu"] == 12


def test_a_large_model_is_simplified_in_a_moment():
    """Nine hundred nodes of a decomposed BERT; a loose bound for a shared machine."""
    proto = ZOO["bert_base"].build("tiny", spelling="torchscript", layers=12)
    seconds = []
    for _ in range(5):
        found = loaded(proto)
        assert len(found.graph) > 900
        began = time.thread_time()
        simplify(found, Settings(), evaluate)
        seconds.append(time.thread_time() - began)
    assert min(seconds) < 0.3
