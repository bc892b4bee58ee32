"""`runtime compare`: two providers, golden files, onnxruntime, and how they can differ."""

import ml_dtypes
import numpy as np
import pytest
from doubles import Choosy
from models import dense_reference
from onnx import numpy_helper
from runtime.cli.agreement import Tolerance, agree
from runtime.cli.exits import Exit
from runtime.plugin import hookimpl

X = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)


class Wrong(Choosy):
    """Computes Relu, and adds a little to one element."""

    @hookimpl
    def compile(self, partition, settings):
        def run(x):
            y = np.maximum(x, 0)
            y[-1, -1] += 0.5
            return y

        return run


def test_two_providers_that_agree(call, model, registered):
    registered(Choosy("GoodExecutionProvider", ["Relu", "Add"]))
    result = call(
        "compare", model, "-p", "good", "-p", "cpu", "--dim", "batch=4", "--json"
    )
    assert result.code == Exit.OK
    [case] = result.data["cases"]
    assert case["outputs"][0]["max_abs"] < 1e-6
    assert result.data["tested"]["providers"][0]["nodes"] == 2
    assert result.data["reference"]["providers"][0]["nodes"] == 4


def test_two_providers_that_differ(call, model, registered):
    registered(Wrong("WrongExecutionProvider", ["Relu"]))
    result = call(
        "compare", model, "-p", "wrong", "-p", "cpu", "--dim", "batch=4", "--json"
    )
    assert result.code == Exit.CHECK_FAILED
    [output] = result.data["cases"][0]["outputs"]
    assert output["outside"] == pytest.approx(3 / 12)
    assert output["first_bad"][0] == [3, 0]
    text = call("compare", model, "-p", "wrong", "-p", "cpu").out
    assert "differs" in text
    assert (
        call("compare", model, "-p", "wrong", "-p", "cpu", "--atol", "1").code
        == Exit.OK
    )


def test_the_cpu_is_not_compared_with_itself(call, model):
    result = call("compare", model, "-p", "cuda", "-p", "cpu")
    assert result.code == Exit.PROVIDER
    assert "CUDAExecutionProvider" in result.err
    assert result.err.count("\n") == 1


def test_golden_outputs_and_inputs_in_one_file(call, model, tmp_path):
    right = dense_reference(X).astype(np.float32)
    np.savez(tmp_path / "golden.npz", x=X, y=right)
    assert call("compare", model, "--golden", "golden.npz").code == Exit.OK
    np.savez(tmp_path / "golden.npz", x=X, y=right + 1)
    assert call("compare", model, "--golden", "golden.npz").code == Exit.CHECK_FAILED


def test_golden_outputs_with_generated_inputs(call, model):
    call("run", model, "--dim", "batch=8", "--seed", "5", "-o", "golden.npz")
    argv = ("compare", model, "--golden", "golden.npz", "--dim", "batch=8")
    assert call(*argv, "--seed", "5").code == Exit.OK
    assert call(*argv, "--seed", "6").code == Exit.CHECK_FAILED


def test_golden_folder(call, model, tmp_path):
    folder = tmp_path / "test_data_set_0"
    folder.mkdir()
    right = dense_reference(X).astype(np.float32)
    for name, array in (("input_0", X), ("output_0", right)):
        data = numpy_helper.from_array(array).SerializeToString()
        (folder / f"{name}.pb").write_bytes(data)
    assert call("compare", model, "--golden", "test_data_set_0").code == Exit.OK
    assert call("compare", model, "--golden", ".").code == Exit.OK
    (folder / "output_0.pb").unlink()
    result = call("compare", model, "--golden", "test_data_set_0")
    assert result.code == Exit.USAGE
    assert "no output_0.pb" in result.err


def test_onnxruntime_is_a_reference(call, model):
    pytest.importorskip("onnxruntime")
    result = call("compare", model, "--vs-onnxruntime", "--dim", "batch=7")
    assert result.code == Exit.OK
    assert "reference: onnxruntime on CPUExecutionProvider" in result.out


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        ("", "two sides, found 0 providers"),
        ("-p cpu", "two sides, found 1 provider;"),
        ("-p cpu -p cuda -p qnn", "two sides, found 3 providers"),
        ("-p cpu -p qnn --golden g.npz", "one provider to test, not 2"),
        ("--golden g.npz --vs-onnxruntime", "two references"),
        ("--golden missing.npz", "missing.npz does not exist"),
        ("--golden other.npz", "'z', which the model neither reads nor returns"),
        ("--golden inputs.npz", "none of the outputs y"),
        ("--golden garbage.npz", "no readable .npz"),
        ("--golden folder", "neither input_0.pb nor"),
    ],
)
def test_what_cannot_be_compared(argv, told, call, model, tmp_path):
    np.savez(tmp_path / "g.npz", y=X)
    np.savez(tmp_path / "other.npz", z=X)
    np.savez(tmp_path / "inputs.npz", x=X)
    (tmp_path / "garbage.npz").write_bytes(b"no")
    (tmp_path / "folder").mkdir()
    result = call("compare", model, *argv.split())
    assert result.code == Exit.USAGE
    assert told in result.err
    assert result.err.count("\n") == 1


def one(found, want, **tolerance):
    [result] = agree({"y": found}, {"y": want}, Tolerance(**tolerance))
    return result


@pytest.mark.parametrize(
    ("dtype", "near", "far"),
    [
        (np.float64, 1e-7, 1e-5),
        (np.float32, 1e-5, 1e-3),
        (np.float16, 5e-3, 5e-2),
        (ml_dtypes.bfloat16, 3e-2, 2e-1),
    ],
)
def test_tolerance_fits_the_type(dtype, near, far):
    want = np.ones(8, dtype)
    assert one((want + near).astype(dtype), want).ok
    assert not one((want + far).astype(dtype), want).ok


def test_integers_and_strings_are_exact_unless_told():
    want = np.arange(6).reshape(2, 3)
    assert one(want, want).ok
    result = one(want + np.eye(2, 3, dtype=int), want)
    assert not result.ok
    assert result.first_bad == ((0, 0), "1", "0")
    assert one(want + 1, want, atol=1).ok
    words = np.array(["a", "b"], object)
    assert one(words, np.array(["a", "b"])).ok
    assert not one(words, np.array(["a", "c"])).ok


def test_nan_and_infinity():
    nan, inf = np.array([np.nan, 1.0]), np.array([np.inf, 1.0])
    assert not one(nan, nan).ok
    assert one(nan, nan, equal_nan=True).ok
    assert one(inf, inf).ok
    assert not one(-inf, inf).ok
    assert one(np.array([1e30, 1.0]), inf).max_abs == np.inf


def test_shape_type_and_kind_must_be_the_same():
    zeros = np.zeros((2, 3), np.float32)
    assert "expected shape [2, 3], found [3, 2]" in one(zeros.T, zeros).reason
    assert "expected float32, found float64" in one(zeros.astype(float), zeros).reason
    assert "expected float32" in one(np.array(["a"]), zeros).reason
    assert "expected a sequence of 1, found a ndarray" in one(zeros, [zeros]).reason
    assert "found nothing" in one(None, zeros).reason
    assert agree({}, {"y": zeros}, Tolerance())[0].reason == "there is no such output"


def test_sequences_and_maps_are_compared_by_element():
    zeros = np.zeros(2, np.float32)
    found = {"s": [zeros, zeros + 1], "m": {1: 0.5}, "n": None}
    want = {"s": [zeros, zeros], "m": {1: 0.5}, "n": None}
    results = agree(found, want, Tolerance())
    assert [(r.name, r.ok) for r in results] == [
        ("s[0]", True),
        ("s[1]", False),
        ("m[1]", True),
        ("n", True),
    ]


def test_measures():
    result = one(np.array([1.0, 2.0, 3.0]), np.array([1.0, 2.0, 2.5]))
    assert result.max_abs == 0.5
    assert result.max_rel == pytest.approx(0.2)
    assert result.outside == pytest.approx(1 / 3)
    assert result.cosine == pytest.approx(
        np.dot([1, 2, 3], [1, 2, 2.5]) / 14**0.5 / 11.25**0.5
    )
    assert one(np.zeros((0, 3)), np.zeros((0, 3))).ok
