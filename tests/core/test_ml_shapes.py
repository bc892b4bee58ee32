"""Results of ai.onnx.ml have as many dims as the standard says, and what follows has too."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from runtime.infer import infer
from runtime.model import from_proto
from runtime.settings import Settings

ML = "ai.onnx.ml"


def ranks(nodes, shape=(None, 5), dtype=TensorProto.FLOAT, constants=()):
    """Return the shape of each named result."""
    results = [name for node in nodes for name in node.output]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [onnx.ValueInfoProto(name=results[-1])],
        [onnx.numpy_helper.from_array(a, name) for name, a in constants],
    )
    imports = [helper.make_opsetid("", 21), helper.make_opsetid(ML, 3)]
    model = from_proto(helper.make_model(graph, opset_imports=imports, ir_version=10))
    infer(model, Settings())
    return {v.name: v.shape for node in model.graph for v in node.outputs}


def node(op_type, given="x", made="y", **attributes):
    return helper.make_node(
        op_type, given.split(), made.split(), domain=ML, **attributes
    )


def leaf(votes):
    return {
        "nodes_treeids": [0],
        "nodes_nodeids": [0],
        "nodes_featureids": [0],
        "nodes_modes": ["LEAF"],
        "nodes_values": [0.0],
        "nodes_truenodeids": [0],
        "nodes_falsenodeids": [0],
        f"{votes}_treeids": [0],
        f"{votes}_nodeids": [0],
        f"{votes}_ids": [0],
        f"{votes}_weights": [1.0],
    }


def test_a_classifier_has_labels_and_scores():
    tree = node(
        "TreeEnsembleClassifier", made="l s", classlabels_int64s=[1, 2], **leaf("class")
    )
    found = ranks([tree])
    assert len(found["l"]) == 1
    assert len(found["s"]) == 2


def test_a_regressor_has_rows_of_targets():
    tree = node("TreeEnsembleRegressor", n_targets=1, **leaf("target"))
    assert len(ranks([tree])["y"]) == 2


@pytest.mark.parametrize("shape", [(7,), (None, 5)])
def test_what_changes_numbers_one_by_one_keeps_the_shape(shape):
    found = ranks([node("Binarizer")], shape)["y"]
    assert len(found) == len(shape)
    assert found[-1] == shape[-1]


def test_what_follows_is_inferred_too():
    nodes = [
        node("Normalizer", made="n"),
        helper.make_node("Exp", ["n"], ["e"]),
        node("ArrayFeatureExtractor", "e places", "a"),
        helper.make_node("ArgMax", ["a"], ["best"], axis=1),
        node("ArrayFeatureExtractor", "names best", "label"),
        helper.make_node("Abs", ["label"], ["y"]),
    ]
    constants = [("places", np.array([1, 0])), ("names", np.array([4, 5]))]
    found = ranks(nodes, constants=constants)
    assert [len(found[name]) for name in ("n", "e", "a", "best", "y")] == [2] * 5
    assert found["y"][0] == 1
