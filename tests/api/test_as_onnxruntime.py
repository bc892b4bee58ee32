"""Programs and libraries that import onnxruntime get this runtime, in their process only."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples" / "onnxruntime"


def run(*arguments, **keywords):
    return subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        **keywords,
    )


def told(code, *before):
    """Return what a program prints, for which onnxruntime is this runtime."""
    program = "import runtime\nruntime.as_onnxruntime()\n" + textwrap.dedent(code)
    made = run("-c", program)
    assert made.returncode == 0, made.stderr
    return made.stdout.split()


def test_onnxruntime_and_its_sub_modules_answer_with_us():
    assert told("""
        import onnxruntime as ort
        import onnxruntime.backend.backend_rep
        import onnxruntime.capi.onnxruntime_pybind11_state as state
        from onnxruntime import InferenceSession, SessionOptions
        from onnxruntime.backend import prepare
        from onnxruntime.capi import _pybind_state
        from onnxruntime.capi.onnxruntime_inference_collection import OrtValue
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument
        from onnxruntime.datasets import get_example
        import runtime
        assert InferenceSession is runtime.InferenceSession
        assert state.InferenceSession is runtime.InferenceSession
        assert _pybind_state.OrtDevice is runtime.OrtDevice
        assert Fail.__module__.startswith("runtime")
        print(ort.__name__, state.__name__)
    """) == ["onnxruntime", "onnxruntime.capi.onnxruntime_pybind11_state"]


def test_every_public_name_can_be_imported():
    assert told("""
        from onnxruntime import *
        print(InferenceSession.__module__)
    """) == ["runtime.api.session"]


def test_the_version_is_that_of_the_release_whose_names_all_answer():
    assert told("""
        import importlib.metadata, importlib.util, onnxruntime
        print(onnxruntime.__version__, onnxruntime.get_version_string())
        print(importlib.metadata.version("onnxruntime"))
        print(importlib.util.find_spec("onnxruntime").name)
    """) == ["1.31.1"] * 3 + ["onnxruntime"]


def test_a_sub_module_that_is_not_there_is_a_module_not_found():
    assert told("""
        try:
            import onnxruntime.training.ortmodule
        except ModuleNotFoundError as error:
            print(error.name)
    """) == ["onnxruntime.training"]


def test_setting_an_attribute_of_it_leaves_ours_alone():
    assert told("""
        import onnxruntime, runtime
        onnxruntime.InferenceSession = None
        print(runtime.InferenceSession is None)
    """) == ["False"]


def test_it_is_refused_once_onnxruntime_was_imported():
    pytest.importorskip("onnxruntime")
    made = run("-c", "import onnxruntime, runtime; runtime.as_onnxruntime()")
    assert "onnxruntime is imported already" in made.stderr


def test_it_holds_in_this_process_only():
    pytest.importorskip("onnxruntime")
    assert told("""
        import subprocess, sys
        code = "import onnxruntime; print(onnxruntime.InferenceSession.__module__)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        print(run.stdout)
    """) == ["onnxruntime.capi.onnxruntime_inference_collection"]


def test_a_program_is_run_with_its_arguments_and_its_folder(tmp_path):
    (tmp_path / "beside.py").write_text("import onnxruntime\nNAME = 'beside'\n")
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, beside, onnxruntime\n"
        "assert __name__ == '__main__'\n"
        "print(onnxruntime.InferenceSession.__module__, beside.NAME, sys.argv[1:])\n"
        "sys.exit(3)\n"
    )
    made = run("-m", "runtime.as_onnxruntime", str(program), "a", "-b")
    assert made.stdout.strip() == "runtime.api.session beside ['a', '-b']"
    assert made.returncode == 3


def test_a_module_is_run_too_and_nothing_is_told_how(tmp_path):
    (tmp_path / "program.py").write_text(
        "import sys, onnxruntime\nprint(onnxruntime.__version__, sys.argv[1:])\n"
    )
    made = run("-m", "runtime.as_onnxruntime", "-m", "program", "a", cwd=tmp_path)
    assert made.stdout.strip() == "1.31.1 ['a']", made.stderr
    made = run("-m", "runtime.as_onnxruntime")
    assert made.returncode == 2
    assert "usage:" in made.stderr


def test_tools_of_an_installed_onnxruntime_run_sessions_of_ours(tmp_path):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxruntime.quantization")
    assert told(f"""
        import numpy as np, onnxruntime as ort
        from onnxruntime.datasets import get_example
        from onnxruntime.quantization import CalibrationDataReader, quantize_static

        class Reader(CalibrationDataReader):
            feeds = [{{"x": np.random.rand(3, 4, 5).astype(np.float32)}}] * 2
            def get_next(self):
                return self.feeds.pop() if self.feeds else None

        path = {str(tmp_path / "quantised.onnx")!r}
        quantize_static(get_example("sigmoid.onnx"), path, Reader())
        session = ort.InferenceSession(path)
        x = np.full((3, 4, 5), 0.5, np.float32)
        (y,) = session.run(None, {{"x": x}})
        print(type(session).__module__, abs(y - 1 / (1 + np.exp(-x))).max() < 0.01)
    """) == ["runtime.api.session", "True"]


def test_skl2onnx_finds_us_in_its_own_helpers():
    pytest.importorskip("skl2onnx")
    assert told("""
        import numpy as np
        from sklearn.linear_model import LogisticRegression
        from skl2onnx import to_onnx
        from skl2onnx.helpers.onnx_helper import (
            enumerate_model_node_outputs, select_model_inputs_outputs,
        )
        from skl2onnx.helpers.investigate import collect_intermediate_steps
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
        import onnxruntime as ort
        X = np.random.RandomState(0).randn(40, 3).astype(np.float32)
        y = (X.sum(1) > 0).astype(int)
        model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
        steps = collect_intermediate_steps(
            model, "pipeline", [("X", __import__("skl2onnx").common.data_types
            .FloatTensorType([None, 3]))])
        scaled = ort.InferenceSession(steps[0]["onnx_step"].SerializeToString()).run(
            None, {"X": X})[0]
        onx = to_onnx(model, X, options={"zipmap": False})
        label, scores = ort.InferenceSession(onx.SerializeToString()).run(None, {"X": X})
        print(type(ort.InferenceSession).__name__ and ort.InferenceSession.__module__)
        print(np.allclose(scaled, model[0].transform(X), atol=1e-5))
        print((label == model.predict(X)).all())
        print(np.allclose(scores, model.predict_proba(X), atol=1e-5))
    """) == ["runtime.api.session", "True", "True", "True"]


def test_onnxmltools_and_lightgbm_models_run_on_us():
    pytest.importorskip("onnxmltools")
    pytest.importorskip("lightgbm")
    assert told("""
        import numpy as np
        from lightgbm import LGBMRegressor
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType
        import onnxruntime as ort
        X = np.random.RandomState(0).randn(60, 4).astype(np.float32)
        model = LGBMRegressor(n_estimators=5, verbose=-1).fit(X, X[:, 0] * 2)
        onx = convert_lightgbm(
            model, initial_types=[("X", FloatTensorType([None, 4]))], target_opset=15)
        got = ort.InferenceSession(onx.SerializeToString()).run(None, {"X": X})[0]
        print(ort.InferenceSession.__module__)
        print(np.allclose(got.ravel(), model.predict(X), atol=1e-4))
    """) == ["runtime.api.session", "True"]


@pytest.mark.parametrize("program", sorted(EXAMPLES.glob("*.py")), ids=lambda p: p.stem)
def test_a_program_of_a_tutorial_prints_the_same_on_both(program, tmp_path):
    pytest.importorskip("onnxruntime")
    ours = run("-m", "runtime.as_onnxruntime", str(program), cwd=tmp_path)
    assert ours.returncode == 0, ours.stderr
    theirs = run(str(program), cwd=tmp_path)
    assert theirs.returncode == 0, theirs.stderr
    assert ours.stdout == theirs.stdout
    assert len(ours.stdout) > 20


def test_sessions_of_classes_that_pickle_themselves_survive(tmp_path):
    (tmp_path / "theirs.py").write_text(
        textwrap.dedent("""
            import onnxruntime

            class Pickled(onnxruntime.InferenceSession):
                def __init__(self, model_path, **keywords):
                    super().__init__(model_path, **keywords)
                    self.model_path = model_path

                def __getstate__(self):
                    return {"model_path": self.model_path}

                def __setstate__(self, values):
                    self.__init__(values["model_path"])
        """)
    )
    assert told(f"""
        import pickle, sys
        import numpy as np
        sys.path.insert(0, {str(tmp_path)!r})
        import theirs
        from onnxruntime.datasets import get_example
        session = theirs.Pickled(get_example("mul_1.onnx"))
        again = pickle.loads(pickle.dumps(session))
        print(type(again).__name__, again.model_path == session.model_path)
        print(again.run(None, {{"X": np.ones((3, 2), np.float32)}})[0].sum())
    """) == ["Pickled", "True", "21.0"]


def test_magika_tells_files_apart_on_us(tmp_path):
    pytest.importorskip("magika")
    (tmp_path / "a.py").write_text(
        "import os\n\n\ndef main():\n    print(os.name)\n" * 20
    )
    (tmp_path / "b.json").write_text(
        '{"name": [1, 2, 3], "other": {"deep": true}}' * 20
    )
    (tmp_path / "c.md").write_text(
        "# Title\n\nSome *words* and a [link](there.md).\n" * 20
    )
    code = f"""
        import onnxruntime as ort
        from magika import Magika
        magika = Magika()
        for name in ("a.py", "b.json", "c.md"):
            found = magika.identify_path({str(tmp_path)!r} + "/" + name)
            print(found.output.label, round(float(found.score), 2))
    """
    theirs = run("-c", textwrap.dedent(code))
    assert theirs.returncode == 0, theirs.stderr
    assert told(code) == theirs.stdout.split()


def test_rapidocr_reads_the_same_on_us():
    pytest.importorskip("rapidocr_onnxruntime")
    code = """
        import numpy as np, onnxruntime
        from PIL import Image, ImageDraw, ImageFont
        from rapidocr_onnxruntime import RapidOCR
        page = Image.new("RGB", (640, 160), "white")
        draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=48)
        draw.text((20, 20), "Hello runtime 2026", fill="black", font=font)
        draw.text((20, 90), "second line", fill="black", font=font)
        found, _ = RapidOCR()(np.array(page))
        for corners, text, score in found:
            print(text, round(float(score), 2), np.round(corners).astype(int).tolist())
    """
    theirs = run("-c", textwrap.dedent(code))
    assert theirs.returncode == 0, theirs.stderr
    ours = told(code)
    assert ours == theirs.stdout.split()
    assert ours[:3] == ["Hello", "runtime", "2026"]
