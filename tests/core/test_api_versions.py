"""The way out for a hook: deprecated, it still works, and says what to use instead."""

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy
from models import dense
from runtime.plugin import ProviderSpec, hookimpl, hookspec

NAME = "OldExecutionProvider"


class Later(ProviderSpec):
    """A later version of the API, in which one hook and one argument are on their way."""

    @hookspec(warn_on_impl=DeprecationWarning("describe goes in 2.0; use explain"))
    def describe(self):
        raise NotImplementedError

    @hookspec(
        firstresult=True,
        warn_on_impl_args={"target": DeprecationWarning("target goes in 2.0; use to")},
    )
    def data_transfer(self, source, target):
        raise NotImplementedError


class WithHook(Choosy):
    @hookimpl
    def describe(self):
        return "old"


class WithArgument(Choosy):
    @hookimpl
    def data_transfer(self, source, target):
        return None


@pytest.mark.parametrize(
    ("kind", "told"), [(WithHook, "use explain"), (WithArgument, "use to")]
)
def test_what_is_deprecated_warns_when_it_is_loaded_and_works(
    kind, told, registered, monkeypatch
):
    monkeypatch.setattr("runtime.providers.ProviderSpec", Later)
    registered(kind(NAME, ["MatMul", "Add", "Relu", "Softmax"]))
    with pytest.warns(DeprecationWarning, match=told):
        session = ort.InferenceSession(dense(), providers=[NAME])
    assert session.explain().counts() == {NAME: 4}
    assert session.run(None, {"x": np.ones((2, 4), np.float32)})[0].shape == (2, 3)


def test_today_nothing_is_deprecated(registered, recwarn):
    registered(Choosy(NAME, ["MatMul", "Add", "Relu", "Softmax"]))
    ort.InferenceSession(dense(), providers=[NAME])
    assert not [w for w in recwarn if issubclass(w.category, DeprecationWarning)]
