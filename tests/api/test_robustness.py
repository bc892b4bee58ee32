"""Broken models and wrong feeds get an exception; memory does not grow; threads agree."""

import os

import numpy as np
import onnx
import pytest
import runtime as ort
from models import FLOAT, dense, model, node, random_graph

LIMITED = ort.SessionOptions()
LIMITED.add_session_config_entry("session.maximum_result_bytes", str(1 << 26))


def sources():
    conv = model(
        [
            node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
            node("Relu", ["c"], ["r"]),
            node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
            node("Flatten", ["p"], ["f"]),
            node("Gemm", ["f", "g"], ["y"]),
        ],
        {"x": (FLOAT, ["n", 1, 4, 4])},
        {"y": (FLOAT, ["n", 2])},
        {
            "w": np.ones((3, 1, 3, 3), np.float32),
            "g": np.ones((12, 2), np.float32),
        },
    )
    x4 = np.ones((2, 4), np.float32)
    pair = {"x0": np.ones((2, 3), np.float32), "x1": np.ones((2, 3), np.float32)}
    return [
        (onnx.ModelProto.FromString(dense()), {"x": x4}),
        (conv, {"x": np.ones((2, 1, 4, 4), np.float32)}),
        (random_graph(5, 12), pair),
    ]


SOURCES = sources()


def mutated_bytes(rng, proto):
    data = bytearray(proto.SerializeToString())
    for _ in range(int(rng.integers(1, 4))):
        kind, at = rng.integers(3), int(rng.integers(len(data)))
        if kind == 0:
            data[at] = int(rng.integers(256))
        elif kind == 1:
            del data[at : at + int(rng.integers(1, 9))]
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 5)))
    return bytes(data)


def mutated_fields(rng, proto):
    copy = onnx.ModelProto()
    copy.CopyFrom(proto)
    graph = copy.graph
    item = graph.node[int(rng.integers(len(graph.node)))]
    match int(rng.integers(10)):
        case 0:
            item.op_type = str(rng.choice(["Loop", "Gather", "Resize", "Nope", "LSTM"]))
        case 1:
            item.input[0] = "nobody"
        case 2:
            item.output[0] = graph.node[0].output[0]
        case 3:
            item.attribute.add(name="axis", type=2, i=int(rng.integers(-99, 99)))
        case 4:
            copy.opset_import[0].version = int(rng.integers(-2, 60))
        case 5:
            graph.input[0].type.tensor_type.elem_type = int(rng.integers(0, 40))
        case 6 if graph.initializer:
            tensor = graph.initializer[int(rng.integers(len(graph.initializer)))]
            tensor.dims[0] = int(rng.integers(-3, 1 << 40))
        case 7 if graph.initializer:
            graph.initializer[0].data_type = int(rng.integers(0, 40))
        case 8:
            del item.input[:]
        case _:
            item.domain = "somebody.else"
    return copy.SerializeToString()


def mutated_feed(rng, feed):
    name = str(rng.choice(list(feed)))
    array = feed[name]
    changed = {
        0: lambda: array.astype(rng.choice(["f8", "i4", "?", "U5"])),
        1: lambda: array[0],
        2: lambda: array[..., :-1],
        3: lambda: array[None],
        4: lambda: array.astype(">f4"),
        5: lambda: np.asfortranarray(array),
        6: lambda: array[::-1, ...],
        7: lambda: None,
        8: lambda: "text",
        9: lambda: array[:0],
        10: lambda: {"a": array},
    }
    made = {**feed, name: changed[int(rng.integers(len(changed)))]()}
    if rng.random() < 0.1:
        del made[name]
    if rng.random() < 0.1:
        made["extra"] = array
    return made


def attempt(data, feed):
    """Load and run; only clear exceptions of the documented kinds may come out."""
    try:
        session = ort.InferenceSession(data, LIMITED)
        options = ort.RunOptions()
        session.run(None, feed, options)
    except (RuntimeError, ValueError, TypeError) as error:
        text = str(error)
        assert text.startswith("[ONNXRuntimeError]") or isinstance(error, TypeError), (
            type(error),
            text,
        )
        assert len(text) > 30
        return False
    return True


def mutants(count, first=0):
    fine = 0
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        proto, feed = SOURCES[seed % len(SOURCES)]
        match seed % 3:
            case 0:
                fine += attempt(mutated_bytes(rng, proto), feed)
            case 1:
                fine += attempt(mutated_fields(rng, proto), feed)
            case _:
                fine += attempt(proto.SerializeToString(), mutated_feed(rng, feed))
    return fine


def test_mutated_models_and_feeds_get_clear_exceptions():
    assert mutants(200) < 150


def test_two_thousand_mutants_get_clear_exceptions():
    assert mutants(2000) < 1500


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_memory_grows_by_less_than_a_kilobyte_a_run_over_twenty_thousand():
    session = ort.InferenceSession(dense())
    feeds = [{"x": np.ones((rows, 4), np.float32)} for rows in range(1, 9)]

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for index in range(2000):
        session.run(None, feeds[index % 8])
    before = resident()
    for index in range(20_000):
        session.run(None, feeds[index % 8])
    assert (resident() - before) / 20_000 < 1024
