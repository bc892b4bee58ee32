"""onnxruntime's options of its OpenVINO provider: read, checked, and given to OpenVINO."""

import json
import os
import warnings

import numpy as np
import pytest

pytest.importorskip("openvino")

import runtime as ort
from runtime.errors import OptionError, ProviderUnavailable
from runtime_ep_openvino import spellings
from runtime_ep_openvino.options import chosen
from small import CPU, NAME, X, dense, expected, facts, program, session, settings


def choice(others=(), **given):
    return chosen(settings(given, **dict(others)))


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({}, "INFERENCE_PRECISION_HINT", "f32"),
        ({"precision": "BF16"}, "INFERENCE_PRECISION_HINT", "bf16"),
        ({"precision": "fp32"}, "INFERENCE_PRECISION_HINT", "f32"),
        ({"precision": "ACCURACY"}, "EXECUTION_MODE_HINT", "ACCURACY"),
        ({"num_of_threads": "3"}, "INFERENCE_NUM_THREADS", 3),
        ({"num_streams": "2"}, "NUM_STREAMS", 2),
        ({}, "PERFORMANCE_HINT", "LATENCY"),
    ],
)
def test_an_option_becomes_a_property(given, name, value):
    assert choice(**given).properties[name] == value


@pytest.mark.parametrize(
    ("threads", "granted", "pinned"),
    [(0, 4, True), (4, 4, True), (2, 4, False), (0, 2, False), (4, 2, False)],
)
def test_threads_are_pinned_where_a_run_uses_the_whole_machine(
    threads, granted, pinned, monkeypatch
):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(
        os, "sched_getaffinity", lambda process: set(range(granted)), raising=False
    )
    found = choice(num_of_threads=threads).properties
    assert found["ENABLE_CPU_PINNING"] is pinned


def test_threads_are_the_sessions_where_the_option_says_nothing():
    threads = {"intra_op_threads": 2}
    assert choice(threads).properties["INFERENCE_NUM_THREADS"] == 2
    both = choice(threads, num_of_threads="1")
    assert both.properties["INFERENCE_NUM_THREADS"] == 1
    opened = session(dense(), num_of_threads=1)
    assert facts(opened)["threads"] == "1"


@pytest.mark.parametrize(
    ("text", "device", "precision"),
    [
        ("CPU", "CPU", ""),
        ("CPU_FP32", "CPU", "FP32"),
        ("GPU_FP16", "GPU", "FP16"),
        ("GPU.1_FP32", "GPU.1", "FP32"),
        ("NPU", "NPU", ""),
        ("AUTO:GPU,CPU", "AUTO:GPU,CPU", ""),
        ("HETERO:GPU.1,CPU", "HETERO:GPU.1,CPU", ""),
        ("MULTI:CPU", "MULTI:CPU", ""),
    ],
)
def test_devices_are_read(text, device, precision):
    assert spellings.read_device(text) == (device, precision)


def test_the_old_names_of_devices_still_work_and_say_what_to_write():
    with pytest.warns(
        DeprecationWarning, match="device_type='CPU' with precision='FP32'"
    ):
        assert choice(device_type="CPU_FP32").device == "CPU"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        opened = session(dense(), device_type="CPU_FP32")
    np.testing.assert_allclose(
        opened.run(None, {"x": X})[0], expected(X), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("device", ["CPU", "AUTO:CPU", "HETERO:CPU", "MULTI:CPU"])
def test_every_way_to_name_the_cpu_runs(device):
    opened = session(dense(), device_type=device)
    (y,) = opened.run(None, {"x": X})
    np.testing.assert_allclose(y, expected(X), rtol=1e-4, atol=1e-4)
    assert "CPU" in facts(opened)["device"]
    assert facts(opened)["precision"] == "fp32"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"device_type": "CPUS"}, "'CPUS' is no device.*did you mean 'CPU'"),
        ({"device_type": "AUTO:GPX"}, "'GPX' is no device"),
        ({"device_luid": "7"}, "devices are chosen by device_type"),
        ({"precision": "FP64"}, "expected one of"),
        ({"num_of_threads": "-1"}, "expected 0 or more"),
        ({"num_of_threads": "many"}, "num_of_threads"),
        ({"num_streams": "0"}, "expected 1 or more"),
        ({"model_priority": "URGENT"}, "expected one of DEFAULT, LOW, MEDIUM, HIGH"),
        ({"reshape_input": "x[1,b]"}, "'b' of 'x' is no size"),
        ({"reshape_input": "x"}, r"expected name\[...\]"),
        ({"layout": "x(NCHW)"}, r"expected name\[...\]"),
        ({"load_config": "/nowhere.json"}, "the file cannot be read"),
        ({"context": "0x1"}, "cannot be handed over"),
        (
            {"num_of_thread": "1"},
            "no option 'num_of_thread'; did you mean 'num_of_threads'",
        ),
        ({"cachedir": "x"}, "did you mean 'cache_dir'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_mistake_is_an_error_of_the_constructor(given, told):
    with pytest.raises(Exception, match=told):
        session(dense(), **given)
    with pytest.raises(Exception, match=told):
        session(dense(), strict=False, **given)


def test_a_misspelt_provider_is_an_error_with_the_near_match():
    with pytest.raises(Exception, match="OpenVINOExecutionProvider"):
        ort.InferenceSession(dense(), providers=["OpenVinoExecutionProvder", CPU])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"device_type": "CPU_FP32", "precision": "BF16"}, "contradict each other"),
        ({"device_id": "3"}, "device_id='3' does not go with device_type='CPU'"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_options_that_contradict_each_other_are_an_error(given, told):
    with pytest.raises(OptionError, match=told):
        choice(**given)


def test_a_priority_is_left_out_where_the_device_knows_none():
    assert "MODEL_PRIORITY" not in choice(model_priority="HIGH").properties


def test_a_device_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(ProviderUnavailable, match=r"no device 'GPU'.*there is CPU"):
        choice(device_type="GPU")


def test_a_file_of_properties_adds_to_the_options(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"CPU": {"NUM_STREAMS": 2, "ENABLE_CPU_PINNING": True}}))
    found = choice(load_config=str(path)).properties
    assert (found["NUM_STREAMS"], found["ENABLE_CPU_PINNING"]) == (2, True)
    opened = session(dense(), load_config=str(path), num_of_threads=2)
    assert facts(opened)["streams"] == "2"


def test_a_property_that_the_device_lacks_is_an_error_with_the_near_match(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"CPU": {"NUM_STREAM": 2}}')
    with pytest.raises(OptionError, match="no property 'NUM_STREAM'.*'NUM_STREAMS'"):
        choice(load_config=str(path))
    path.write_text("[1]")
    with pytest.raises(Exception, match="the file is to hold"):
        session(dense(), load_config=str(path))


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("x[1,3,60..100,?]", {"x": [(1, 1), (3, 3), (60, 100), (0, -1)]}),
        ("a[..5,2..], b[-1]", {"a": [(0, 5), (2, -1)], "b": [(0, -1)]}),
        ("s[]", {"s": []}),
    ],
)
def test_shapes_are_read(text, shapes):
    assert spellings.read_shapes(text) == shapes


def test_reshaping_fixes_what_is_compiled():
    fixed, _ = program(dense(), reshape_input="x[5,64]")
    (compiled,) = fixed._compiled.values()
    assert compiled.model.inputs[0].shape == [5, 64]
    (y,) = session(dense(), reshape_input="x[5,64]").run(None, {"x": X})
    np.testing.assert_allclose(y, expected(X), rtol=1e-4, atol=1e-4)


def test_another_shape_than_the_fixed_one_moves_to_the_next_provider_loudly():
    opened = session(dense(), strict=False, reshape_input="x[5,64]")
    with pytest.warns(ort.FallbackWarning, match=NAME):
        (y,) = opened.run(None, {"x": X[:2]})
    np.testing.assert_allclose(y, expected(X[:2]), rtol=1e-4, atol=1e-4)


def test_a_layout_is_told_to_openvino():
    fixed, _ = program(dense(), layout="x[NC],y[NC]")
    (compiled,) = fixed._compiled.values()
    assert str(compiled.model.inputs[0].get_node().layout) == "[N,C]"


def test_options_may_be_text_or_values():
    for threads in (1, "1"):
        assert facts(session(dense(), num_of_threads=threads))["threads"] == "1"
    opened = session(dense(), disable_dynamic_shapes="True")
    opened.run(None, {"x": X})
    assert facts(opened)["shapes"] == "one by one"
