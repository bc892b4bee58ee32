"""`runtime run`: inputs of every kind, checks, results on disk, and what is refused."""

import numpy as np
import onnx
import pytest
from doubles import Choosy
from models import FLOAT, INT64, dense_reference, node
from models import model as make
from onnx import numpy_helper
from runtime.cli.exits import Exit

X = np.random.default_rng(3).standard_normal((5, 4)).astype(np.float32)


def data_set(folder, x, y):
    folder.mkdir(parents=True)
    for name, array in (("input_0", x), ("output_0", y)):
        tensor = numpy_helper.from_array(array, "any")
        (folder / f"{name}.pb").write_bytes(tensor.SerializeToString())
    return folder


def write(path, nodes, inputs, outputs):
    path.write_bytes(make(nodes, inputs, outputs).SerializeToString())
    return path


def test_random_inputs_of_the_size_asked_for(call, model):
    result = call("run", model, "--dim", "batch=8", "--json")
    assert result.code == Exit.OK
    [case] = result.data["cases"]
    assert case["inputs"]["x"]["shape"] == [8, 4]
    assert case["outputs"]["y"]["shape"] == [8, 3]


def test_the_seed_decides_random_inputs(call, model):
    def means(seed):
        found = call("run", model, "--seed", seed, "--json").data
        return found["cases"][0]["outputs"]["y"]["values"]

    assert means(1) == means(1)
    assert means(1) != means(2)


def test_text_shows_inputs_outputs_and_who_ran_it(call, model):
    result = call("run", model, "--shape", "x:2x4")
    assert "x  float32  2×4" in result.out
    assert "y  float32  2×3" in result.out
    assert (
        "CPUExecutionProvider: 4 nodes in 1 partition, 100% of the work" in result.out
    )


@pytest.mark.parametrize("source", ["in.npz", "x=in.npy", "in.npy", "x=in.pb"])
def test_inputs_from_files(source, call, model, tmp_path):
    np.savez(tmp_path / "in.npz", x=X)
    np.save(tmp_path / "in.npy", X)
    tensor = numpy_helper.from_array(X)
    (tmp_path / "in.pb").write_bytes(tensor.SerializeToString())
    assert call("run", model, "-i", source, "-o", "out.npz").code == Exit.OK
    found = np.load(tmp_path / "out.npz")["y"]
    np.testing.assert_allclose(found, dense_reference(X), rtol=1e-5, atol=1e-6)


def test_inputs_are_saved_as_they_were_used(call, model):
    call("run", model, "--dim", "batch=3", "--save-inputs", "in.npz", "-o", "a.npz")
    call("run", model, "-i", "in.npz", "-o", "b.npz")
    assert np.array_equal(np.load("a.npz")["y"], np.load("b.npz")["y"])


def test_a_data_set_is_compared_with_its_outputs(call, model, tmp_path):
    right = dense_reference(X).astype(np.float32)
    data_set(tmp_path / "test_data_set_0", X, right)
    result = call("run", model, "-i", "test_data_set_0", "--json")
    assert result.code == Exit.OK
    assert result.data["cases"][0]["agreement"][0]["ok"]


def test_every_data_set_of_a_folder_runs_and_one_wrong_one_fails(call, model, tmp_path):
    right = dense_reference(X).astype(np.float32)
    data_set(tmp_path / "sets/test_data_set_0", X, right)
    data_set(tmp_path / "sets/test_data_set_1", X, right + 1)
    result = call("run", model, "-i", "sets", "--json")
    assert result.code == Exit.CHECK_FAILED
    assert [case["ok"] for case in result.data["cases"]] == [True, False]
    assert call("run", model, "-i", "sets", "--atol", "2").code == Exit.OK


def test_dims_that_are_sums_follow_their_parts(call, tmp_path):
    path = write(
        tmp_path / "sum.onnx",
        [node("Relu", ["x"], ["y"])],
        {"x": (FLOAT, ["past", "past + new"])},
        {"y": (FLOAT, None)},
    )
    result = call("run", path, "--dim", "past=3", "--dim", "new=2", "--json")
    assert result.data["cases"][0]["inputs"]["x"]["shape"] == [3, 5]


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        (FLOAT, "float32"),
        (INT64, "int64"),
        (onnx.TensorProto.FLOAT16, "float16"),
        (onnx.TensorProto.BFLOAT16, "bfloat16"),
        (onnx.TensorProto.BOOL, "bool"),
        (onnx.TensorProto.UINT8, "uint8"),
        (onnx.TensorProto.STRING, "string"),
    ],
)
def test_inputs_of_every_type_are_generated_saved_and_read(kind, dtype, call, tmp_path):
    path = write(
        *(tmp_path / "same.onnx", [node("Identity", ["x"], ["y"])]),
        {"x": (kind, [2, 3])},
        {"y": (kind, [2, 3])},
    )
    result = call("run", path, "--save-inputs", "in.npz", "-o", "out.npz", "--json")
    assert result.code == Exit.OK
    assert result.data["cases"][0]["outputs"]["y"]["type"] == dtype
    again = call("run", path, "-i", "in.npz", "--json").data
    values = again["cases"][0]["outputs"]["y"]["values"]
    assert values == result.data["cases"][0]["outputs"]["y"]["values"]


def test_check_finite_finds_infinity(call, tmp_path):
    path = write(
        *(tmp_path / "log.onnx", [node("Log", ["x"], ["y"])]),
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    )
    np.savez(tmp_path / "zero.npz", x=np.zeros(2, np.float32))
    assert call("run", path, "-i", "zero.npz").code == Exit.OK
    result = call("run", path, "-i", "zero.npz", "--check-finite")
    assert result.code == Exit.CHECK_FAILED
    assert "NaN or infinity in y" in result.err


def test_fixed_dims_fix_the_session(call, model, tmp_path):
    np.save(tmp_path / "x.npy", X)
    argv = ("run", model, "-i", "x.npy", "--dim", "batch=2")
    assert call(*argv).code == Exit.OK
    assert call(*argv, "--fix-dims").code == Exit.USAGE


def test_a_provider_with_options_runs_its_part(call, model, registered):
    registered(Choosy("GoodExecutionProvider", ["Relu"]))
    result = call("run", model, "-p", "good", "--json")
    assert result.code == Exit.OK
    nodes = {p["name"]: p["nodes"] for p in result.data["placement"]["providers"]}
    assert nodes == {"GoodExecutionProvider": 1, "CPUExecutionProvider": 3}


def test_a_provider_that_is_elsewhere_warns_and_strict_fails(call, model):
    result = call("run", model, "-p", "qnn")
    assert result.code == Exit.OK
    assert result.err.count("warning: QNNExecutionProvider is not in use") == 1
    strict = call("run", model, "-p", "qnn", "--strict")
    assert strict.code == Exit.PROVIDER
    assert "QNNExecutionProvider" in strict.err
    assert strict.err.count("\n") == 1


def test_the_placement_is_saved(call, model, tmp_path):
    call("run", model, "--save-placement", "p.html")
    assert "<svg" in (tmp_path / "p.html").read_text(encoding="utf-8")


def test_quiet_prints_nothing(call, model):
    result = call("run", model, "--quiet")
    assert (result.code, result.out, result.err) == (Exit.OK, "", "")


def files(folder):
    np.savez(folder / "other.npz", z=X)
    np.savez(folder / "rank.npz", x=X[0])
    np.savez(folder / "double.npz", x=X.astype(np.float64))
    np.save(folder / "pickle.npy", np.array([{}], object), allow_pickle=True)
    (folder / "garbage.npz").write_bytes(b"not a zip")
    (folder / "garbage.npy").write_bytes(b"not an array")
    (folder / "garbage.pb").write_bytes(b"\xff\xff\xff")
    (folder / "garbage.onnx").write_bytes(b"\x00\xffnot a model")
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "notes.txt").write_text("hello")
    (folder / "folder").mkdir()


@pytest.mark.parametrize(
    ("argv", "code", "told"),
    [
        ("garbage.onnx", Exit.MODEL, "not an ONNX model"),
        ("empty.onnx", Exit.MODEL, "empty"),
        ("folder", Exit.MODEL, "folder"),
        ("model.onnx -i missing.npz", Exit.USAGE, "missing.npz does not exist"),
        ("model.onnx -i rnadom", Exit.USAGE, "rnadom does not exist; give"),
        ("model.onnx -i garbage.npz", Exit.USAGE, "no readable .npz"),
        ("model.onnx -i garbage.npy", Exit.USAGE, "no readable .npy"),
        ("model.onnx -i pickle.npy", Exit.USAGE, "no readable .npy"),
        ("model.onnx -i x=garbage.pb", Exit.USAGE, "holds no tensor(float)"),
        ("model.onnx -i notes.txt", Exit.USAGE, "no .npz, .npy or .pb"),
        ("model.onnx -i folder", Exit.USAGE, "neither input_0.pb nor"),
        ("model.onnx -i folder -i other.npz", Exit.USAGE, "no other source"),
        ("model.onnx -i other.npz", Exit.USAGE, "no input 'z' (it has x)"),
        ("model.onnx -i rank.npz", Exit.USAGE, "rank"),
        ("model.onnx -i double.npz", Exit.USAGE, "tensor(double)"),
        ("model.onnx --dim bacth=2", Exit.USAGE, "did you mean 'batch'?"),
        ("model.onnx --shape y:2x4", Exit.USAGE, "no input 'y'"),
        ("model.onnx --shape x:2x4x1", Exit.USAGE, "has 3 dims"),
        ("model.onnx --shape x:2x5", Exit.USAGE, "dim 1 is fixed to 4"),
        ("model.onnx -p CUDAExecutionProvidr", Exit.USAGE, "did you mean 'CUDAExec"),
        (
            "model.onnx -p cuda:gpu_memlimit=1",
            Exit.USAGE,
            "did you mean 'gpu_mem_limit'",
        ),
        ("model.onnx -p auto -p cpu", Exit.USAGE, "auto stands alone"),
        ("model.onnx -o out.txt", Exit.USAGE, "written as .npz"),
        ("model.onnx -o nowhere/out.npz", Exit.USAGE, "cannot be written"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(argv, code, told, call, model, tmp_path):
    files(tmp_path)
    result = call("run", *argv.split())
    assert told in result.err
    assert result.code == code
    assert result.err.count("\n") == 1


def test_a_missing_input_is_named(call, tmp_path):
    path = write(
        tmp_path / "two.onnx",
        [node("Add", ["left", "right"], ["y"])],
        {"left": (FLOAT, [2]), "right": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    )
    np.save(tmp_path / "a.npy", np.zeros(2, np.float32))
    result = call("run", path, "-i", "left=a.npy")
    assert result.code == Exit.USAGE
    assert "no data for input right" in result.err
    assert call("run", path, "-i", "left=a.npy", "-i", "random").code == Exit.OK
    assert "left, right" in call("run", path, "-i", "a.npy").err
