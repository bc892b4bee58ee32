"""What is in a saved package: operations, weights, names, and less of them if asked for."""

import gc
import io
import tarfile
import warnings

import numpy as np
import pytest

pytest.importorskip("coremltools")

from coreml_models import (
    RNG,
    SUBJECT,
    X,
    agrees,
    dense,
    expected,
    model,
    program,
    subject,
)
from mil_evaluator.packages import Package
from runtime.abilities import Context
from runtime.trace import Trace
from runtime_ep_coreml.package import Damaged, packed, unpack

LARGE = RNG.standard_normal((64, 256)).astype(np.float32)
WIDE = "(float[5,64] x) => (float[5,256] y) { m = MatMul(x, w) y = Relu(m) }"


def kinds(made):
    return {operation.kind for operation in Package(made.package).operations}


def size(path):
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def test_inputs_and_outputs_are_described_by_their_names_in_the_model():
    made, _ = program(
        model("(float[2] features) => (float[2] logits) { logits = Relu(features) }")
    )
    described = Package(made.package).model.description
    assert described.input[0].shortDescription == "features"
    assert described.output[0].shortDescription == "logits"


@pytest.mark.parametrize(
    ("compression", "operation", "share", "error"),
    [
        ("int8", "constexpr_affine_dequantize", 0.35, 0.02),
        ("palettize8", "constexpr_lut_to_dense", 0.35, 0.03),
        ("palettize6", "constexpr_lut_to_dense", 0.3, 0.1),
        ("palettize4", "constexpr_lut_to_dense", 0.25, 0.4),
    ],
)
def test_weights_are_kept_in_fewer_bits(compression, operation, share, error):
    source = model(WIDE, w=LARGE)
    plain, _ = program(source)
    made, _ = program(source, WeightCompression=compression)
    assert operation in kinds(made)
    assert size(made.package) < share * size(plain.package) + 8_000
    (y,) = subject(WeightCompression=compression).open(source, cache=False)({"x": X})
    want = np.maximum(X @ LARGE, 0)
    assert np.abs(y - want).max() < error * np.abs(want).max()


def test_halves_are_half_the_weights():
    source = model(WIDE, w=LARGE)
    plain, _ = program(source)
    half, _ = program(source, Precision="FP16")
    assert size(half.package) < 0.6 * size(plain.package) + 4_000
    (y,) = subject(Precision="FP16").open(source, cache=False)({"x": X})
    want = np.maximum(X @ LARGE, 0)
    assert 1e-5 < np.abs(y - want).max() / np.abs(want).max() < 1e-2


def test_a_mask_of_the_lowest_float_is_a_number_in_halves():
    lowest = float(np.finfo(np.float32).min)
    source = model(
        "(float[1,2,3,8] q, float[1,3] m) => (float[1,2,3,8] y)"
        "{ r = Sub(one, m) b = Mul(r, low) s = Reshape(b, d)"
        "  y = Attention(q, q, q, s) }",
        one=np.float32(1), low=np.float32(lowest), d=np.array([1, 1, 1, 3]),
    )  # fmt: skip
    feed = {
        "q": RNG.standard_normal((1, 2, 3, 8)).astype(np.float32),
        "m": np.array([[1, 1, 0]], np.float32),
    }
    (y,) = subject(Precision="FP16").open(source, cache=False)(feed)
    (want,) = SUBJECT.alone(source)(feed)
    np.testing.assert_allclose(y, want, atol=5e-3)


def test_quantised_weights_stay_in_eight_bits():
    weight = RNG.integers(-100, 100, (64, 16)).astype(np.int8)
    source = model(
        "(float[5,64] x) => (float[5,16] y)"
        "{ w = DequantizeLinear<axis=1>(q, s, z) y = MatMul(x, w) }",
        q=weight, s=np.linspace(0.01, 0.02, 16, dtype=np.float32),
        z=np.arange(16, dtype=np.int8),
    )  # fmt: skip
    made, _ = program(source)
    assert "constexpr_affine_dequantize" in kinds(made)
    agrees(source, {"x": X}, rtol=1e-4, atol=1e-5)


def test_quantised_values_are_cores_own_operations():
    source = model(
        "(float[5,64] x) => (float[5,64] y)"
        "{ q = QuantizeLinear(x, s, z) y = DequantizeLinear(q, s, z) }",
        s=np.float32(0.02), z=np.uint8(128),
    )  # fmt: skip
    made, _ = program(source)
    assert {"quantize", "dequantize"} <= kinds(made)
    agrees(source, {"x": X}, rtol=1e-4, atol=1e-5)


def test_attention_is_one_operation_for_macos_15():
    source = model(
        "(float[1,2,3,8] q, float[1,2,4,8] k, float[1,2,4,8] v) => (float[1,2,3,8] y)"
        "{ y = Attention(q, k, v) }"
    )
    feed = {
        name: RNG.standard_normal((1, 2, length, 8)).astype(np.float32)
        for name, length in (("q", 3), ("k", 4), ("v", 4))
    }
    for target, one in (("macOS14", False), ("macOS15", True)):
        made, _ = program(source, MinimumDeploymentTarget=target)
        assert ("scaled_dot_product_attention" in kinds(made)) is one
        agrees(source, feed, MinimumDeploymentTarget=target)


def test_a_package_is_carried_as_bytes(tmp_path):
    made, _ = program(dense())
    unpack(made.export(), tmp_path / "copy.mlpackage")
    assert packed(tmp_path / "copy.mlpackage") == made.export()
    assert Package(tmp_path / "copy.mlpackage").outputs == ["out_0"]


def archive(*members):
    """Return a block of a package's manifest and of further members."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, kind in (("Manifest.json", tarfile.REGTYPE), *members):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, "/etc/hostname"
            made.addfile(entry)
    return stream.getvalue()


def test_a_package_is_files_in_folders_of_its_own(tmp_path):
    unpack(archive(("Data/weights/weight.bin", tarfile.REGTYPE)), tmp_path / "copy")
    assert (tmp_path / "copy/Data/weights/weight.bin").is_file()


@pytest.mark.parametrize(
    "data",
    [
        archive(("../outside", tarfile.REGTYPE)),
        archive(("Data/../../outside", tarfile.REGTYPE)),
        archive(("/tmp/outside", tarfile.REGTYPE)),
        archive(("link", tarfile.SYMTYPE)),
        archive(("link", tarfile.LNKTYPE)),
        archive(("pipe", tarfile.FIFOTYPE)),
        archive(("Manifest.json/below", tarfile.REGTYPE)),
        archive()[:100],
        bytes(10240),
        b"",
        RNG.integers(0, 255, 6000).astype(np.uint8).tobytes(),
    ],
    ids=[
        "above", "above by detour", "absolute", "symbolic link", "hard link", "pipe",
        "below a file", "cut short", "nothing in it", "empty", "junk",
    ],
)  # fmt: skip
def test_what_is_no_package_is_damaged_and_touches_nothing_else(data, tmp_path):
    with pytest.raises(Damaged):
        unpack(data, tmp_path / "here" / "copy")
    assert list(tmp_path.iterdir()) == [tmp_path / "here"]
    assert list((tmp_path / "here").iterdir()) == [tmp_path / "here/copy"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_unpacking_asks_nothing_of_tarfile_that_python_3_11_0_lacks(
    tmp_path, monkeypatch
):
    def older(self, path=".", members=None, *, numeric_owner=False):
        raise AssertionError("extracting is not what it was before 3.11.4")

    monkeypatch.setattr(tarfile.TarFile, "extractall", older)
    monkeypatch.setattr(tarfile.TarFile, "extract", older)
    made, _ = program(dense())
    unpack(made.export(), tmp_path / "copy")
    assert packed(tmp_path / "copy") == made.export()


def test_a_package_lives_as_long_as_its_program():
    made, _ = program(dense())
    assert made.package.exists()
    made.close()
    assert not made.package.exists()


def test_what_becomes_of_weights_is_told():
    made, part = program(dense())
    assert made.weights == {value.name: "repacked" for value in part.constants}
    assert made.facts["precision"] == "fp32"
    np.testing.assert_allclose(
        SUBJECT.open(dense(), cache=False)({"x": X})[0],
        expected(),
        rtol=1e-4,
        atol=1e-4,
    )


def test_the_profile_has_what_core_ml_did_and_with_what():
    made, _ = program(dense())
    trace = Trace()
    made.run([X], (None,), Context(trace=trace))
    (event,) = trace.events
    assert (event["name"], event["cat"]) == ("predict", "CoreML")
    assert event["args"]["precision"] == "fp32"


def test_a_program_that_is_forgotten_leaves_nothing_behind_and_says_nothing():
    made, _ = program(dense())
    package = made.package
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        del made, _
        gc.collect()
    assert not package.parent.exists()
