"""A failing provider costs a partition, loudly; strict mode raises."""

import warnings

import numpy as np
import pytest
import runtime as ort
from doubles import Failing
from models import dense, dense_reference
from runtime.capi.onnxruntime_pybind11_state import EPFail, InvalidArgument

STAGES = ("probe", "get_capability", "compile", "run")
X = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)


@pytest.mark.parametrize("stage", STAGES)
def test_a_failing_provider_is_named_with_its_reason_and_the_answer_is_right(
    stage, registered
):
    failing = Failing("BurningExecutionProvider", stage, ["Add", "Relu"])
    registered(failing)
    with pytest.warns(ort.FallbackWarning, match="Burning.*on fire"):
        session = ort.InferenceSession(dense(), providers=["BurningExecutionProvider"])
        result = session.run(None, {"x": X})[0]
    np.testing.assert_allclose(result, dense_reference(X), rtol=1e-5, atol=1e-6)
    events = [e for e in session.explain().events if e.stage != "placement"]
    assert [e.provider for e in events] == ["BurningExecutionProvider"]
    assert events[0].stage == stage
    assert "on fire" in events[0].reason


@pytest.mark.parametrize("stage", STAGES)
def test_strict_raises_where_the_provider_fails(stage, registered):
    registered(Failing("BurningExecutionProvider", stage, ["Add", "Relu"]))
    with pytest.raises(Exception, match="Burning.*on fire") as raised:
        session = ort.InferenceSession(
            dense(), providers=["BurningExecutionProvider"], strict=True
        )
        session.run(None, {"x": X})
    assert isinstance(raised.value, (EPFail, RuntimeError))


def test_only_the_failed_partition_moves(registered):
    failing = Failing("BurningExecutionProvider", "compile", ["Relu"])
    from doubles import Choosy

    good = Choosy("GoodExecutionProvider", ["MatMul", "Add", "Softmax"])
    registered(failing, good)
    with pytest.warns(ort.FallbackWarning):
        session = ort.InferenceSession(
            dense(), providers=["BurningExecutionProvider", "GoodExecutionProvider"]
        )
    owners = {n.op_type: n.provider for n in session.explain().nodes}
    assert owners == {
        "MatMul": "GoodExecutionProvider",
        "Add": "GoodExecutionProvider",
        "Softmax": "GoodExecutionProvider",
        "Relu": "CPUExecutionProvider",
    }
    assert len(good.compiled) == 2
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], dense_reference(X), rtol=1e-5, atol=1e-6
    )


def test_a_fault_of_the_data_does_not_move_the_partition_for_good(registered):
    """The next provider fails too: then it was the data, and the first keeps its part."""
    from doubles import Choosy
    from models import FLOAT, INT64, model, node

    reshape = model(
        [node("Reshape", ["x", "shape"], ["y"])],
        {"x": (FLOAT, ["n"]), "shape": (INT64, [2])},
        {"y": (FLOAT, None)},
    ).SerializeToString()
    choosy = Choosy("ChoosyExecutionProvider", ["Reshape"])
    registered(choosy)
    session = ort.InferenceSession(reshape, providers=["ChoosyExecutionProvider"])
    feed = {"x": np.ones(6, np.float32), "shape": np.array([4, 4])}
    with warnings.catch_warnings(), pytest.raises(RuntimeError, match="Reshape"):
        warnings.simplefilter("ignore")
        session.run(None, feed)
    feed["shape"] = np.array([2, 3])
    assert session.run(None, feed)[0].shape == (2, 3)
    assert len(choosy.compiled) == 1


def test_a_warning_is_given_once_per_provider_and_reason(registered):
    registered(Failing("BurningExecutionProvider", "compile", ["Relu"]))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(3):
            ort.InferenceSession(dense(), providers=["BurningExecutionProvider"])
    faults = [w for w in caught if issubclass(w.category, ort.FallbackWarning)]
    assert len(faults) == 1


def test_a_provider_that_fails_to_import_is_reported(registered, monkeypatch):
    from runtime.providers import Installed, registry

    class Broken:
        name, value = "BrokenExecutionProvider", "nowhere:provider"
        dist = None

        def load(self):
            raise ImportError("libacme.so.7: cannot open shared object file")

    entry = Installed("BrokenExecutionProvider", Broken())
    monkeypatch.setitem(registry._registered, "BrokenExecutionProvider", entry)
    registered()
    with pytest.warns(ort.FallbackWarning, match=r"Broken.*libacme\.so\.7"):
        session = ort.InferenceSession(dense(), providers=["BrokenExecutionProvider"])
    np.testing.assert_allclose(
        session.run(None, {"x": X})[0], dense_reference(X), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(EPFail, match="libacme"):
        ort.InferenceSession(
            dense(), providers=["BrokenExecutionProvider"], strict=True
        )


def test_a_misspelt_provider_is_an_error_with_the_near_match():
    with pytest.raises(InvalidArgument, match="did you mean 'CPUExecutionProvider'"):
        ort.InferenceSession(dense(), providers=["CPUExecutionProvidr"])


def test_a_misspelt_option_is_an_error_even_where_the_provider_is_not_installed():
    with pytest.raises(InvalidArgument, match="did you mean 'gpu_mem_limit'"):
        ort.InferenceSession(
            dense(), providers=[("CUDAExecutionProvider", {"gpu_mem_limt": 1})]
        )


def test_a_known_provider_that_is_not_installed_warns_with_the_remedy(registered):
    registered()
    with pytest.warns(ort.FallbackWarning, match="CUDAExecutionProvider.*install"):
        session = ort.InferenceSession(dense(), providers=["CUDAExecutionProvider"])
    assert session.get_providers() == ["CPUExecutionProvider"]


def test_no_node_may_run_on_the_host_when_that_is_forbidden(registered):
    from doubles import Choosy

    registered(Choosy("ChoosyExecutionProvider", ["MatMul", "Add"]))
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    with pytest.raises(RuntimeError, match="explicitly disabled") as raised:
        ort.InferenceSession(dense(), options, providers=["ChoosyExecutionProvider"])
    assert "relu" in str(raised.value)
    assert "does not like Relu" in str(raised.value)
    with pytest.raises(InvalidArgument, match="Conflicting session configuration"):
        ort.InferenceSession(dense(), options, providers=["CPUExecutionProvider"])
