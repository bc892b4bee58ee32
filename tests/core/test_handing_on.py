"""A provider may hand on single nodes of a partition, as it compiles or as it runs."""

import numpy as np
import pytest
import runtime as ort
from doubles import Choosy
from models import FLOAT, model, node
from runtime.plugin import Unsupported, hookimpl

NAME = "PickyExecutionProvider"
X = np.array([-1.5, 2.5], np.float32)
WANT = -np.floor(np.abs(np.maximum(X, 0)))


def chain():
    return model(
        [
            node("Relu", ["x"], ["a"], name="relu"),
            node("Abs", ["a"], ["b"], name="abs"),
            node("Floor", ["b"], ["c"], name="floor"),
            node("Neg", ["c"], ["y"], name="neg"),
        ],
        {"x": (FLOAT, [2])},
        {"y": (FLOAT, [2])},
    ).SerializeToString()


class Picky(Choosy):
    """Likes everything until it sees it compiled, or run."""

    def __init__(self, hates, stage):
        super().__init__(NAME, ["Relu", "Abs", "Floor", "Neg"])
        self.hates, self.stage = hates, stage

    @hookimpl
    def compile(self, partition, settings):
        inner = Choosy.compile(self, partition, settings)
        hated = [n for n in partition.nodes if n.op_type in self.hates]
        if hated and self.stage == "compile":
            raise Unsupported(f"{hated[0].op_type} is beneath me", hated[:1])

        class Run:
            def run(run, inputs, outputs, context):  # noqa: N805
                if hated:
                    raise Unsupported(f"{hated[0].op_type} is beneath me", hated[:1])
                return inner.run(inputs, outputs, context)

        return Run() if self.stage == "run" else inner


@pytest.mark.parametrize("stage", ["compile", "run"])
@pytest.mark.parametrize("hates", [["Abs"], ["Abs", "Floor"], ["Relu", "Neg"]])
def test_only_what_a_provider_cannot_do_goes_on(stage, hates, registered):
    registered(Picky(hates, stage))
    with pytest.warns(ort.FallbackWarning, match="is beneath me"):
        session = ort.InferenceSession(chain(), providers=[NAME])
        got = session.run(None, {"x": X})[0]
    np.testing.assert_array_equal(got, WANT)
    owners = {r.op_type: r.provider for r in session.explain().nodes}
    assert {op for op, owner in owners.items() if owner != NAME} == set(hates)
    reasons = {r.op_type: r.refusals.get(NAME) for r in session.explain().nodes}
    for op in hates:
        assert reasons[op] == f"{op} is beneath me"


def test_without_nodes_the_whole_partition_goes_on(registered):
    picky = Picky(["Abs"], "compile")
    registered(picky)

    @hookimpl
    def compile(partition, settings):
        raise Unsupported("not today")

    picky.compile = compile
    with pytest.warns(ort.FallbackWarning, match="not today"):
        session = ort.InferenceSession(chain(), providers=[NAME])
    assert session.explain().counts() == {"CPUExecutionProvider": 4}


def test_strict_sessions_refuse_what_would_go_on(registered):
    registered(Picky(["Abs"], "compile"))
    with pytest.raises(Exception, match="Abs is beneath me"):
        ort.InferenceSession(chain(), providers=[NAME], strict=True)
