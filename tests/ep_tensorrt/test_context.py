"""Models that come compiled, and models that are compiled: nodes that carry an engine."""

import numpy as np
import pytest
import runtime as ort
from onnx import TensorProto, helper
from runtime.model import load as read
from runtime.settings import Settings
from runtime_ep_tensorrt import context
from runtime_ep_tensorrt.records import unpacked
from trt_models import RNG, model
from trt_sessions import NAME, opened, programs

FLOAT = TensorProto.FLOAT
W = RNG.standard_normal((16, 16)).astype(np.float32)
TEXT = "(float[n,16] x) => (float[n,16] y) { a = MatMul(x, w) y = Relu(a) }"
SHAPES = {
    "trt_profile_min_shapes": "x:1x16",
    "trt_profile_opt_shapes": "x:4x16",
    "trt_profile_max_shapes": "x:8x16",
}
X = RNG.standard_normal((3, 16)).astype(np.float32)


def want(x=X):
    return np.maximum(x @ W, 0)


def engine(x="x", y="y"):
    """Return an engine as a program exports it, from one name to another."""
    text = (
        f"(float[n,16] {x}) => (float[n,16] {y}) {{ m = MatMul({x}, w) {y} = Relu(m) }}"
    )
    shapes = {key: told.replace("x:", f"{x}:") for key, told in SHAPES.items()}
    return programs(opened(model(text, w=W), **shapes))[0].export()


def carrying(data, inputs=("x",), outputs=("y",), name="context", **attributes):
    """Return a node that carries an engine, as onnxruntime lays it out."""
    given = {"source": NAME, "embed_mode": 1, "main_context": 1, **attributes}
    return helper.make_node(
        "EPContext", inputs, outputs, name, domain="com.microsoft",
        ep_cache_context=data, **given,
    )  # fmt: skip


def compiled(*nodes):
    """Return a model of nodes from x to y."""
    ends = [
        [helper.make_tensor_value_info(name, FLOAT, ["n", 16])] for name in ("x", "y")
    ]
    graph = helper.make_graph(list(nodes), "g", *ends)
    for node in nodes[:-1]:
        info = helper.make_tensor_value_info(node.output[0], FLOAT, ["n", 16])
        graph.value_info.append(info)
    opsets = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    return made.SerializeToString()


def test_an_engine_in_a_model_is_run_and_nothing_is_built(trt):
    source = compiled(carrying(engine()))
    asked, built = trt.counts["asked"], trt.counts["builds"]
    session = opened(source)
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)
    assert programs(session)[0].facts["source"] == "the model"
    assert (trt.counts["asked"], trt.counts["builds"]) == (asked, built)


def test_shapes_outside_of_the_engines_go_to_no_other_engine(trt):
    session = opened(compiled(carrying(engine())))
    x = RNG.standard_normal((9, 16)).astype(np.float32)
    with pytest.raises(Exception, match="lies outside of the profiles"):
        session.run(None, {"x": x})


def test_a_bare_engine_is_taken_as_onnxruntime_has_written_it(trt):
    bare = unpacked(engine()).engine
    session = opened(compiled(carrying(bare)))
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)


def test_an_engine_beside_the_model_is_read(trt, tmp_path):
    (tmp_path / "engines").mkdir()
    (tmp_path / "engines/one.engine").write_bytes(unpacked(engine()).engine)
    source = compiled(carrying("engines/one.engine", embed_mode=0))
    place = str(tmp_path / "model.onnx")
    session = opened(source, trt_ep_context_file_path=place)
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)


def test_a_model_that_is_opened_by_its_path_knows_its_folder(
    trt, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "one.engine").write_bytes(unpacked(engine()).engine)
    path = folder / "model.onnx"
    path.write_bytes(compiled(carrying("one.engine", embed_mode=0)))
    for place in (path, "elsewhere/model.onnx"):
        session = ort.InferenceSession(place, providers=[NAME])
        np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)


def test_an_engine_that_is_missing_says_where_it_was_looked_for(trt, tmp_path):
    source = compiled(carrying("none.engine", embed_mode=0))
    place = str(tmp_path / "model.onnx")
    with pytest.raises(Exception, match="cannot be read") as told:
        opened(source, trt_ep_context_file_path=place)
    assert str(tmp_path / "none.engine") in str(told.value)
    assert "trt_ep_context_file_path" in str(told.value)


def refused(*nodes):
    """Return why nodes of a compiled model are refused."""
    graph = read(compiled(*nodes), Settings()).graph
    return [
        context.against(node) if context.is_compiled(node) else "" for node in graph
    ]


@pytest.mark.parametrize(
    ("path", "attributes", "reason"),
    [
        ("/etc/one.engine", {"embed_mode": 0}, "must lie beside the model"),
        ("../one.engine", {"embed_mode": 0}, "must lie beside the model"),
        ("one.engine", {"embed_mode": 0}, ""),
        ("", {"main_context": 0}, "engines that several nodes share"),
    ],
)
def test_what_lies_elsewhere_is_refused(path, attributes, reason):
    (found,) = refused(carrying(path, **attributes))
    assert (reason in found) if reason else not found


def test_nodes_of_other_providers_are_not_ours():
    graph = read(compiled(carrying(b"", source="QNN")), Settings()).graph
    assert not any(map(context.is_compiled, graph))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"junk", "is of no use here: Serialization assertion"),
        (b"RTTE1junk", "carries is no engine"),
    ],
)
def test_what_is_no_engine_is_handed_on_with_the_reason(trt, data, told):
    with pytest.raises(Exception, match=told):
        opened(compiled(carrying(data))).run(None, {"x": X})


def test_an_engine_of_another_version_says_so(trt):
    from dataclasses import replace

    from runtime_ep_tensorrt.records import packed

    old = packed(replace(unpacked(engine()), version="10.0.1"))
    with pytest.raises(Exception, match=r"was built by TensorRT 10\.0\.1"):
        opened(compiled(carrying(old))).run(None, {"x": X})


def test_an_engine_that_brings_code_is_taken_only_where_it_is_trusted(trt):
    """Engines for any version do, and a model may come from anywhere."""
    made = opened(model(TEXT, w=W), version_compatible=1, **SHAPES)
    source = compiled(carrying(programs(made)[0].export()))
    with pytest.raises(Exception, match="engine_host_code_allowed"):
        opened(source)
    session = opened(source, version_compatible=1)
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)


def test_what_was_left_over_stays_with_the_next_provider(trt):
    session = opened(
        compiled(
            carrying(engine("x", "a"), ["x"], ["a"], "first"),
            helper.make_node("Neg", ["a"], ["b"]),
            carrying(engine("b", "y"), ["b"], ["y"], "second"),
        )
    )
    (got,) = session.run(None, {"x": X})
    np.testing.assert_allclose(got, want(-want()), rtol=1e-4, atol=1e-4)
    assert "this node was not" in str(session.explain())


def test_engines_that_touch_are_one_executable(trt):
    session = opened(
        compiled(
            carrying(engine("x", "a"), ["x"], ["a"], "first"),
            carrying(engine("a", "y"), ["a"], ["y"], "second"),
        )
    )
    (chain,) = programs(session)
    assert chain.facts["engines"] == "2"
    (got,) = session.run(None, {"x": X})
    np.testing.assert_allclose(got, want(want()), rtol=1e-4, atol=1e-4)
    chain.trim()
    session.close()


def test_a_model_is_compiled_and_runs_without_building(trt):
    options = ort.SessionOptions()
    options.add_session_config_entry("session.cost_rule", "0")
    options.add_provider(NAME, SHAPES)
    source = model(TEXT, w=W).SerializeToString()
    made = ort.ModelCompiler(options, source).compile_to_bytes()
    built = trt.counts["builds"]
    session = opened(made)
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)
    assert trt.counts["builds"] == built
    assert [n.op_type for n in session._runnable.graph] == ["EPContext"]


def test_an_engine_without_weights_is_filled_from_a_model_in_memory(trt):
    import ctypes

    from runtime_ep_tensorrt.adapter import opened as api

    stripped = opened(model(TEXT, w=W), trt_weight_stripped_engine_enable=1, **SHAPES)
    (program,) = programs(stripped)
    with pytest.raises(Exception, match="without weights is not written"):
        program.export()
    bare = program._record.engine
    original = model(TEXT, w=W).SerializeToString()
    data = ctypes.create_string_buffer(original, len(original))
    session = opened(
        compiled(carrying(bare)),
        trt_onnx_bytestream=str(ctypes.addressof(data)),
        trt_onnx_bytestream_size=len(original),
    )
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)
    assert api().version == trt.version


def test_an_engine_without_weights_is_filled_from_a_folder(trt, tmp_path):
    stripped = opened(model(TEXT, w=W), trt_weight_stripped_engine_enable=1, **SHAPES)
    bare = programs(stripped)[0]._record.engine
    (tmp_path / "net.onnx").write_bytes(model(TEXT, w=W).SerializeToString())
    source = compiled(carrying(bare, onnx_model_filename="net.onnx"))
    session = opened(source, trt_onnx_model_folder_path=str(tmp_path))
    np.testing.assert_allclose(session.run(None, {"x": X})[0], want(), rtol=1e-5)
    outside = compiled(carrying(bare, onnx_model_filename="../net.onnx"))
    with pytest.raises(Exception, match="must lie in trt_onnx_model_folder_path"):
        opened(outside, trt_onnx_model_folder_path=str(tmp_path)).run(None, {"x": X})
