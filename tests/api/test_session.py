"""What a session tells, how it is configured, and what it leaves behind."""

import json
import logging
import warnings

import numpy as np
import onnx
import pytest
import runtime as ort
from doubles import Choosy
from models import FLOAT, INT64, dense, dense_reference, model, node
from runtime.capi.onnxruntime_pybind11_state import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    ModelLoadCanceled,
    NoSuchFile,
    NotImplemented,
)

X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


def test_inputs_outputs_and_metadata_are_told_as_the_file_has_them():
    proto = onnx.ModelProto.FromString(dense())
    proto.producer_name, proto.doc_string, proto.model_version = "maker", "words", 7
    proto.metadata_props.add(key="task", value="test")
    session = ort.InferenceSession(proto.SerializeToString())
    (x,), (y,) = session.get_inputs(), session.get_outputs()
    assert (x.name, x.type, x.shape) == ("x", "tensor(float)", ["batch", 4])
    assert (y.name, y.type, y.shape) == ("y", "tensor(float)", ["batch", 3])
    meta = session.get_modelmeta()
    assert (meta.producer_name, meta.description, meta.version) == ("maker", "words", 7)
    assert meta.graph_name == "test"
    assert meta.custom_metadata_map == {"task": "test"}
    assert session.get_providers() == ["CPUExecutionProvider"]
    assert list(session.get_provider_options()) == ["CPUExecutionProvider"]


def test_a_model_without_a_version_has_the_largest():
    proto = onnx.ModelProto.FromString(dense())
    proto.ClearField("model_version")
    session = ort.InferenceSession(proto.SerializeToString())
    assert session.get_modelmeta().version == 2**63 - 1


def test_unnamed_unknown_dims_are_none():
    proto = model(
        [node("Relu", ["x"], ["y"])], {"x": (FLOAT, [None, 2])}, {"y": (FLOAT, None)}
    )
    (x,) = ort.InferenceSession(proto.SerializeToString()).get_inputs()
    assert x.shape == [None, 2]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("nowhere.onnx", NoSuchFile),
        (b"", InvalidArgument),
        (b"garbage \xff\xff\xff\xff", InvalidProtobuf),
        (None, TypeError),
        (7, TypeError),
        (bytearray(b"x"), TypeError),
        ("", TypeError),
    ],
)
def test_what_is_no_model_has_the_exception_clients_expect(source, error):
    with pytest.raises(error):
        ort.InferenceSession(source)


def test_exceptions_have_the_prefix_clients_match():
    with pytest.raises(NoSuchFile, match=r"\[ONNXRuntimeError\] : 3 : NO_SUCHFILE : "):
        ort.InferenceSession("nowhere.onnx")
    unknown = model([node("Foo", ["x"], ["y"])], {"x": FLOAT}, {"y": FLOAT})
    with pytest.raises(InvalidGraph, match=": 10 : INVALID_GRAPH : .*Foo"):
        ort.InferenceSession(unknown.SerializeToString())


def test_an_operator_of_a_strange_domain_is_named_with_its_types():
    strange = model(
        [node("Foo", ["x"], ["y"], domain="strange")],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
        domains={"strange": 1},
    ).SerializeToString()
    with pytest.raises((Fail, NotImplemented)) as raised:
        ort.InferenceSession(strange)
    assert "strange" in str(raised.value)
    assert "tensor(float)[2]" in str(raised.value)
    assert "CPUExecutionProvider" in str(raised.value)


@pytest.mark.parametrize(
    ("providers", "options", "match"),
    [
        ([("CPUExecutionProvider", {})], [{}], "only string values"),
        (["CPUExecutionProvider"], [{}, {}], "same length"),
        (["CPUExecutionProvider"], ["x"], "dict"),
        ([["CPUExecutionProvider", {}]], None, "tuple"),
        (7, None, "list of names"),
        ([7], None, "tuple"),
    ],
)
def test_malformed_providers_are_errors_not_a_fallback(providers, options, match):
    with pytest.raises(ValueError, match=match):
        ort.InferenceSession(dense(), providers=providers, provider_options=options)


def test_a_duplicate_provider_is_ignored_with_a_warning():
    with pytest.warns(UserWarning, match="Duplicate provider"):
        session = ort.InferenceSession(
            dense(), providers=["CPUExecutionProvider", "CPUExecutionProvider"]
        )
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_options_of_others_have_no_effect_on_the_host_and_mistakes_are_errors(caplog):
    foreign = {"arena_extend_strategy": "kSameAsRequested", "device_id": "0"}
    with caplog.at_level(logging.INFO, "runtime"):
        session = ort.InferenceSession(
            dense(), providers=[("CPUExecutionProvider", foreign)]
        )
    assert "arena_extend_strategy has no effect" in caplog.text
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], dense_reference(X), rtol=1e-5
    )
    mistaken = {"nativ": "off", **foreign}
    with pytest.raises(InvalidArgument, match="did you mean 'native'"):
        ort.InferenceSession(dense(), providers=[("CPUExecutionProvider", mistaken)])


def test_a_short_alias_names_a_provider_too():
    session = ort.InferenceSession(dense(), providers="cpu")
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_auto_takes_everything_usable_with_the_host_last(registered):
    registered(Choosy("AnyExecutionProvider", ["Relu"]))
    session = ort.InferenceSession(dense(), providers="auto")
    names = session.get_providers()
    assert "AnyExecutionProvider" in names
    assert names[-1] == "CPUExecutionProvider"


def test_set_providers_is_atomic(registered):
    registered(Choosy("AnyExecutionProvider", ["Relu"]))
    session = ort.InferenceSession(dense())
    with pytest.raises(InvalidArgument):
        session.set_providers(["NobodyExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], dense_reference(X), rtol=1e-5
    )
    session.set_providers(["AnyExecutionProvider"])
    assert session.get_providers() == ["AnyExecutionProvider", "CPUExecutionProvider"]


def test_options_have_fixed_names_and_types():
    options = ort.SessionOptions()
    with pytest.raises(AttributeError, match="did you mean 'intra_op_num_threads'"):
        options.intra_op_num_thread = 2
    with pytest.raises(TypeError):
        options.graph_optimization_level = "all"
    with pytest.raises(RuntimeError, match="does not have configuration with key: zz"):
        options.get_session_config_entry("zz")
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def test_an_unknown_config_key_warns_with_the_near_match():
    options = ort.SessionOptions()
    with pytest.warns(UserWarning, match="did you mean 'session.strict'"):
        options.add_session_config_entry("session.stric", "1")


def test_a_key_that_asks_for_the_impossible_is_refused_with_the_reason():
    options = ort.SessionOptions()
    with pytest.raises(InvalidArgument, match="explain"):
        options.add_session_config_entry("session.node_partition_config_file", "x")


def test_every_key_either_sets_a_field_or_says_why_not():
    import dataclasses

    from runtime.api.keys import SESSION_KEYS, Acts, Does
    from runtime.settings import Settings

    fields = {field.name for field in dataclasses.fields(Settings)}
    for key, row in SESSION_KEYS.items():
        if isinstance(row, Acts):
            assert row.field in fields, key
        else:
            told = row.what if isinstance(row, Does) else row.reason
            assert len(told) > 10, key


def test_every_key_that_onnxruntime_knows_is_known():
    import re
    from pathlib import Path

    from runtime.api.keys import RUN_KEYS, row_of

    peer = pytest.importorskip("onnxruntime")
    libraries = (Path(peer.__file__).parent / "capi").glob("*onnxruntime*")
    pattern = rb"(?<![\w./])((?:session|optimization|ep|mlas)\.[a-z0-9_.]*[a-z0-9_])\0"
    keys = {
        key.decode()
        for path in libraries
        if path.suffix in (".so", ".pyd", ".dll", ".dylib") or ".so." in path.name
        for key in re.findall(pattern, path.read_bytes())
    } - {"ep.dynamic.workload_type"}
    assert len(keys) > 80
    unknown = {k for k in keys if row_of(k) is None and k not in RUN_KEYS}
    assert not unknown


def test_keys_of_a_family_share_a_row():
    from runtime.api.keys import SESSION_KEYS, row_of

    assert row_of("session.moe.offload.mode") is SESSION_KEYS["session.moe."]
    assert row_of("session.nothing") is row_of("nothing") is row_of("") is None


def test_attributes_can_be_given_as_config_keys():
    options = ort.SessionOptions()
    for key, value in (
        ("session.intra_op_num_threads", "1"),
        ("session.graph_optimization_level", "1"),
        ("session.enable_cpu_mem_arena", "0"),
    ):
        options.add_session_config_entry(key, value)
    settings = ort.InferenceSession(dense(), options)._runnable.settings
    assert settings.intra_op_threads == 1
    assert settings.passes == "basic"
    assert not settings.arena
    options.add_session_config_entry("session.graph_optimization_level", "7")
    with pytest.raises(InvalidArgument, match="expected one of"):
        ort.InferenceSession(dense(), options)


def test_a_session_writes_its_model_compiled_where_that_is_asked_for(tmp_path):
    path = tmp_path / "compiled.onnx"
    options = ort.SessionOptions()
    options.add_session_config_entry("ep.context_enable", "1")
    with pytest.raises(InvalidArgument, match="ep.context_file_path"):
        ort.InferenceSession(dense(), options)
    options.add_session_config_entry("ep.context_file_path", str(path))
    ort.InferenceSession(dense(), options)
    (result,) = ort.InferenceSession(path).run(None, {"x": X})
    np.testing.assert_allclose(result, dense_reference(X), rtol=1e-5)
    source = tmp_path / "model.onnx"
    source.write_bytes(dense())
    options = ort.SessionOptions()
    options.add_session_config_entry("ep.context_enable", "1")
    ort.InferenceSession(source, options)
    assert (tmp_path / "model_ctx.onnx").exists()


def test_free_dimensions_can_be_fixed():
    options = ort.SessionOptions()
    options.add_free_dimension_override_by_name("batch", 5)
    session = ort.InferenceSession(dense(), options)
    assert session.get_inputs()[0].shape == [5, 4]
    with pytest.raises(InvalidArgument, match="Got: 2 Expected: 5"):
        session.run(None, {"x": X[:2]})


def test_providers_see_the_bounds_of_a_symbolic_dim(registered):
    seen = []

    class Watcher(Choosy):
        pass

    watcher = Watcher("WatchExecutionProvider", lambda n: bool(seen.append(n.graph)))
    registered(watcher)
    options = ort.SessionOptions()
    options.add_dimension_bounds("batch", 1, 8, 64)
    ort.InferenceSession(dense(), options, providers=["WatchExecutionProvider"])
    assert seen[0].bounds["batch"] == (1, 8, 64)


def test_initializers_can_be_replaced():
    options = ort.SessionOptions()
    bias = np.zeros(3, np.float32)
    options.add_initializer("b", ort.OrtValue.ortvalue_from_numpy(bias))
    weights = np.zeros((4, 3), np.float32)
    options.add_external_initializers(
        ["w"], [ort.OrtValue.ortvalue_from_numpy(weights)]
    )
    result = ort.InferenceSession(dense(), options).run(None, {"x": X})[0]
    np.testing.assert_allclose(result, np.full((5, 3), 1 / 3), rtol=1e-6)
    options = ort.SessionOptions()
    options.add_initializer("b", np.zeros(4, np.float32))
    with pytest.raises(InvalidArgument, match="another shape"):
        ort.InferenceSession(dense(), options)
    options = ort.SessionOptions()
    options.add_initializer("bb", bias)
    with pytest.raises(InvalidArgument, match="no initializer 'bb'"):
        ort.InferenceSession(dense(), options)


def test_the_optimized_model_is_written_and_means_the_same(tmp_path):
    path = tmp_path / "optimized.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    want = ort.InferenceSession(dense(), options).run(None, {"x": X})[0]
    onnx.checker.check_model(str(path))
    got = ort.InferenceSession(path).run(None, {"x": X})[0]
    np.testing.assert_allclose(got, want, rtol=1e-6)


def test_severity_zero_prints_the_placement(capfd):
    options = ort.SessionOptions()
    options.log_severity_level = 0
    ort.InferenceSession(dense(), options)
    told = capfd.readouterr().err
    assert "Node placements" in told
    assert "CPUExecutionProvider" in told
    with pytest.raises(RuntimeError, match="0 to 4"):
        options.log_severity_level = 9
        ort.InferenceSession(dense(), options)


def test_nothing_is_printed_by_default(capfd):
    ort.InferenceSession(dense()).run(None, {"x": X})
    assert capfd.readouterr() == ("", "")


def test_a_cancelled_load_stops():
    options = ort.SessionOptions()
    options.set_load_cancellation_flag(True)
    with pytest.raises(ModelLoadCanceled):
        ort.InferenceSession(dense(), options)


def test_the_profile_is_a_chrome_trace_of_every_operator(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ort.SessionOptions()
    options.enable_profiling = True
    session = ort.InferenceSession(dense(), options)
    session.run(None, {"x": X})
    assert session.get_profiling_start_time_ns() > 0
    path = session.end_profiling()
    assert session.end_profiling() == ""
    events = json.loads((tmp_path / path).read_text())
    kernels = [e for e in events if e["cat"] == "Node"]
    assert {e["args"]["op_name"] for e in kernels} >= {"MatMul", "Softmax"}
    matmul = next(e for e in kernels if e["args"]["op_name"] == "MatMul")
    assert matmul["args"]["input_type_shape"][0] == {"float": [5, 4]}
    assert matmul["args"]["provider"] == "CPUExecutionProvider"
    assert {"ph", "ts", "dur", "pid", "tid", "name"} <= set(matmul)
    names = {e["name"] for e in events}
    assert {"model_loading", "session_initialization"} <= names


def test_the_placement_is_told_as_text_data_and_page(tmp_path, registered):
    registered(Choosy("AnyExecutionProvider", ["MatMul", "Add"]))
    session = ort.InferenceSession(dense(), providers=["AnyExecutionProvider"])
    placement = session.explain()
    text = str(placement)
    assert "AnyExecutionProvider: 2 nodes in 1 partition" in text
    assert "AnyExecutionProvider refused Softmax" in text
    data = json.loads(placement.to_json())
    assert [p["provider"] for p in data["partitions"]] == [
        "AnyExecutionProvider",
        "CPUExecutionProvider",
    ]
    assert abs(sum(p["work"] for p in data["partitions"]) - 1) < 1e-9
    placement.save(tmp_path / "placement.html")
    page = (tmp_path / "placement.html").read_text()
    assert "does not like Softmax" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    placement.save(tmp_path / "placement.json")
    assert json.loads((tmp_path / "placement.json").read_text()) == data


def test_a_dry_run_explains_without_compiling(registered):
    choosy = Choosy("AnyExecutionProvider", ["MatMul", "Add"])
    registered(choosy)
    session = ort.InferenceSession(
        dense(), providers=["AnyExecutionProvider"], dry_run=True
    )
    assert session.explain().counts()["AnyExecutionProvider"] == 2
    assert not choosy.compiled
    with pytest.raises(RuntimeError, match="dry run"):
        session.run(None, {"x": X})


def test_warnings_point_at_the_callers_line(registered):
    registered()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ort.InferenceSession(dense(), providers=["CUDAExecutionProvider"])
    (warning,) = [w for w in caught if w.category is ort.FallbackWarning]
    assert warning.filename == __file__


def test_faults_are_logged_too(registered, caplog):
    registered()
    with caplog.at_level(logging.WARNING, "runtime"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ort.InferenceSession(dense(), providers=["CUDAExecutionProvider"])
    assert "CUDAExecutionProvider" in caplog.text


def test_a_provider_that_takes_little_is_said_in_one_line(registered):
    registered(Choosy("AnyExecutionProvider", ["Relu"]))
    with pytest.warns(ort.FallbackWarning) as caught:
        session = ort.InferenceSession(dense(), providers=["AnyExecutionProvider"])
    (told,) = [str(w.message) for w in caught]
    assert "took little of the model: 1 of 4 nodes" in told
    assert "MatMul x1 (AnyExecutionProvider does not like MatMul)" in told
    assert "session.explain()" in told
    assert session.explain().events[0].stage == "placement"


def test_the_number_of_threads_is_told():
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    (part,) = ort.InferenceSession(dense(), options).explain().partitions
    assert part.facts["threads"] == "1"


def test_all_providers_are_known_by_name():
    names = ort.get_all_providers()
    assert names[-1] == "CPUExecutionProvider"
    assert {"CUDAExecutionProvider", "TensorrtExecutionProvider"} <= set(names)
    available = ort.get_available_providers()
    assert available[-1] == "CPUExecutionProvider"
    assert [name for name in names if name in available] == available
    assert ort.get_device() == "CPU"


def test_two_sessions_of_one_file_share_its_pages(tmp_path):
    weights = np.arange(1 << 16, dtype=np.float32)
    proto = model(
        [node("Gather", ["w", "i"], ["y"])],
        {"i": (INT64, ["n"])},
        {"y": (FLOAT, ["n"])},
        {"w": weights},
    )
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    one, two = ort.InferenceSession(path), ort.InferenceSession(str(path))
    arrays = [s.graph.initializers["w"].const.numpy() for s in (one, two)]
    assert arrays[0] is arrays[1]


def test_optimizers_are_disabled_by_onnxruntimes_names_and_by_ours():
    def passes(*names):
        session = ort.InferenceSession(dense(), disabled_optimizers=names)
        return session._runnable.settings.disabled_passes

    assert passes("ConstantFolding") == ("fold",)
    assert passes("GeluFusionL2", "raise_gelu", "cse") == ("raise_gelu", "cse")
    assert passes("MatMulAddFusion") == ()
    with pytest.warns(UserWarning, match="did you mean 'ConstantFolding'"):
        assert passes("ConstantFoldin") == ()


def test_every_optimizer_stands_for_passes_that_there_are():
    from runtime.api.optimizers import NONE_LIKE, OPTIMIZERS
    from runtime.passes import PASSES

    assert {name for names in OPTIMIZERS.values() for name in names} <= {*PASSES}
    assert not NONE_LIKE & OPTIMIZERS.keys()


def test_a_disabled_optimizer_leaves_its_nodes_as_they_are():
    proto = model(
        [node("Identity", ["x"], ["h"]), node("Relu", ["h"], ["y"])],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    ).SerializeToString()
    assert len(ort.InferenceSession(proto).graph) == 1
    session = ort.InferenceSession(proto, disabled_optimizers=["EliminateIdentity"])
    assert len(session.graph) == 2


@pytest.mark.parametrize("how", ["end", "close", "delete"])
def test_a_profile_is_written_once_however_the_session_ends(how, tmp_path):
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    session = ort.InferenceSession(dense(), options)
    session.run(None, {"x": X})
    if how == "end":
        assert session.end_profiling()
        assert session.end_profiling() == ""
    session.close() if how == "close" else None
    del session
    (path,) = tmp_path.glob("profile_*.json")
    assert {"Session", "Node"} <= {e["cat"] for e in json.loads(path.read_text())}
