"""Load, export, load is the identity: nothing of a model is lost."""

import glob
import os

import onnx
import onnx.backend.test
import pytest
from runtime.export import to_proto
from runtime.model import from_proto, load

DATA = os.path.join(os.path.dirname(onnx.backend.test.__file__), "data")
FILES = sorted(glob.glob(f"{DATA}/*/**/*.onnx", recursive=True))


def normal(proto):
    """Return a copy without what carries no meaning: empty strings, order of value_info.

    Value infos of names that no node makes describe nothing, and are left out.
    """
    copy = type(proto)()
    copy.CopyFrom(proto)
    _strip(copy)
    _sort(copy.graph)
    for entry in (*copy.opset_import, *copy.graph.node):
        if entry.domain == "ai.onnx":
            entry.ClearField("domain")
    return copy.SerializeToString(deterministic=True)


def _strip(message):
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for item in value if field.is_repeated else [value]:
                _strip(item)
        elif field.type == field.TYPE_STRING and not field.is_repeated and value == "":
            message.ClearField(field.name)


def _sort(graph):
    made = {name for node in graph.node for name in node.output}
    made -= {info.name for info in graph.output}
    kept = sorted(
        (info for info in graph.value_info if info.name in made), key=lambda i: i.name
    )
    del graph.value_info[:]
    graph.value_info.extend(kept)
    for node in graph.node:
        for entry in node.attribute:
            if entry.HasField("g"):
                _sort(entry.g)


@pytest.mark.parametrize("path", FILES, ids=lambda p: os.path.relpath(p, DATA))
def test_a_file_comes_back_unchanged(path):
    assert normal(to_proto(load(path))) == normal(onnx.load(path))


def test_every_node_case_comes_back_unchanged(node_cases):
    changed = [
        case.name
        for case in node_cases
        if normal(to_proto(from_proto(case.model))) != normal(case.model)
    ]
    assert not changed


def test_the_zoo_comes_back_unchanged():
    zoo = pytest.importorskip("benchmarks.zoo").ZOO
    for entry in zoo.values():
        proto = entry.build("tiny")
        again = to_proto(load(proto.SerializeToString()))
        assert normal(again) == normal(proto), entry


def test_external_data_stays_external_or_comes_inline(tmp_path):
    import numpy as np
    from models import FLOAT, model, node

    weights = np.arange(600, dtype=np.float32)
    proto = model(
        [node("Add", ["x", "w"], ["y"])],
        {"x": (FLOAT, [600])},
        {"y": (FLOAT, [600])},
        {"w": weights},
    )
    path = tmp_path / "model.onnx"
    onnx.save_model(
        proto, path, save_as_external_data=True, location="w.bin", size_threshold=0
    )
    loaded = load(path)
    kept = to_proto(loaded, "keep").graph.initializer[0]
    assert kept.data_location == onnx.TensorProto.EXTERNAL
    inline = to_proto(loaded, "inline").graph.initializer[0]
    assert inline.raw_data == weights.tobytes()
    typed = to_proto(loaded, "types").graph
    assert not typed.initializer
    assert [info.name for info in typed.input] == ["x", "w"]
