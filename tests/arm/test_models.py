"""On Arm processors, real ones or emulated, whole models run natively and rightly."""

import pytest

pytest.importorskip("llvmlite")

import runtime as ort
from runtime_ep_cpu.codegen.target import host

from benchmarks.reference import error, reference
from benchmarks.zoo import ZOO

pytestmark = pytest.mark.skipif(host().name != "neon", reason="runs on Arm")

CPU = "CPUExecutionProvider"


@pytest.mark.parametrize("name", ["mobilenet_v2", "bert_base"])
def test_a_small_model_runs_by_code_for_neon(name):
    entry = ZOO[name]
    model, feed = entry.build("tiny"), entry.feeds("tiny", **entry.cases("tiny")[0])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=[(CPU, {"native": "required"})]
    )
    (facts,) = (partition.facts for partition in session.explain().partitions)
    assert facts["target"] == "neon"
    native, _, whole = facts["native"].partition(" of ")
    assert int(native) >= 0.9 * int(whole.split()[0]), facts
    for _ in range(2):
        assert error(session.run(None, feed), reference(model, feed)) < 1e-5
