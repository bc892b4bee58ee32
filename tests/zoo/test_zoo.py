"""The zoo's small twins agree with onnxruntime at several sizes in one session."""

import numpy as np
import onnx
import pytest
import runtime as ort

from benchmarks.zoo import ZOO

peer = pytest.importorskip("onnxruntime")


def peer_session(data):
    options = peer.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return peer.InferenceSession(data, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_zoo_model_agrees_with_onnxruntime_at_several_sizes(name):
    entry = ZOO[name]
    data = entry.build("tiny").SerializeToString()
    session, other = ort.InferenceSession(data), peer_session(data)
    for case in entry.cases("tiny"):
        feed = entry.feeds("tiny", **case)
        results, wanted = session.run(None, feed), other.run(None, feed)
        for got, want in zip(results, wanted, strict=True):
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            scale = max(1.0, float(np.abs(want).max(initial=0)))
            np.testing.assert_allclose(
                got, want, rtol=1e-4, atol=2e-5 * scale, err_msg=f"{name} at {case}"
            )


@pytest.mark.parametrize("name", sorted(ZOO))
def test_a_zoo_model_passes_the_full_checker(name):
    onnx.checker.check_model(ZOO[name].build("tiny"), full_check=True)


def test_numbers_of_the_cpu_provider_alone_need_no_passes():
    entry = ZOO["bert_base"]
    data = entry.build("tiny").SerializeToString()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    feed = entry.feeds("tiny", **entry.cases("tiny")[0])
    plain = ort.InferenceSession(data, options).run(None, feed)
    simplified = ort.InferenceSession(data).run(None, feed)
    for one, other in zip(plain, simplified, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
