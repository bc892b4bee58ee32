"""What may be said by argument, by session option or in the environment, in that order."""

import os
import subprocess
import sys

import numpy as np
import pytest
import runtime as ort
from doubles import Failing
from models import dense
from runtime.api.options import settings_of
from runtime.capi.onnxruntime_pybind11_state import InvalidArgument

NAME = "BurningExecutionProvider"


@pytest.mark.parametrize(
    ("argument", "option", "environment", "raises"),
    [
        (None, None, None, False),
        (None, None, "1", True),
        (None, None, "0", False),
        (None, "1", None, True),
        (None, "0", "1", False),
        (True, None, None, True),
        (True, "0", "0", True),
        (False, "1", "1", False),
    ],
)
def test_the_nearest_word_decides_whether_a_failure_is_an_error(
    argument, option, environment, raises, registered, monkeypatch
):
    registered(Failing(NAME, "compile", ["Relu"]))
    monkeypatch.delenv("RUNTIME_STRICT", raising=False)
    if environment is not None:
        monkeypatch.setenv("RUNTIME_STRICT", environment)
    options = ort.SessionOptions()
    if option is not None:
        options.add_session_config_entry("session.strict", option)

    def make():
        return ort.InferenceSession(dense(), options, [NAME], strict=argument)

    if raises:
        with pytest.raises(RuntimeError, match="Burning.*on fire"):
            make()
    else:
        with pytest.warns(ort.FallbackWarning, match="Burning.*on fire"):
            session = make()
        x = np.ones((2, 4), np.float32)
        assert session.run(None, {"x": x})[0].shape == (2, 3)


@pytest.mark.parametrize(
    ("option", "environment", "want"),
    [
        (0, {}, 0),
        (0, {"RUNTIME_NUM_THREADS": "3"}, 3),
        (0, {"ORT_INTRA_OP_NUM_THREADS": "2", "RUNTIME_NUM_THREADS": "3"}, 2),
        (4, {"ORT_INTRA_OP_NUM_THREADS": "2", "RUNTIME_NUM_THREADS": "3"}, 4),
        (0, {"RUNTIME_NUM_THREADS": ""}, 0),
    ],
)
def test_threads_come_from_the_option_then_the_environment(
    option, environment, want, monkeypatch
):
    for name in ("RUNTIME_NUM_THREADS", "ORT_INTRA_OP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    options = ort.SessionOptions()
    options.intra_op_num_threads = option
    assert settings_of(options).intra_op_threads == want
    assert settings_of(options).inter_op_threads == 0


@pytest.mark.parametrize(
    "name",
    ["RUNTIME_NUM_THREADS", "ORT_INTER_OP_NUM_THREADS", "RUNTIME_HANG_WARNING_SECONDS"],
)
@pytest.mark.parametrize("text", ["many", "-1"])
def test_what_is_no_number_is_an_error(name, text, monkeypatch):
    monkeypatch.setenv(name, text)
    with pytest.raises(InvalidArgument, match=f"{name} is a number, 0 or more, found"):
        ort.InferenceSession(dense())


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs affinity")
def test_a_process_bound_to_one_processor_runs_one_thread(tmp_path):
    (tmp_path / "model.onnx").write_bytes(dense())
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "import runtime as ort\n"
        "(part,) = ort.InferenceSession('model.onnx').explain().partitions\n"
        "print(part.facts['threads'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "1"
