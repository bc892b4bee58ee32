"""The models that the onnx wheel ships, with the data it ships for them."""

import glob
import os

import numpy as np
import onnx
import pytest
import runtime as ort
from cases import DATA, light_models, model_folders, read, same


@pytest.mark.parametrize("folder", model_folders(), ids=os.path.basename)
def test_model_with_data(folder):
    """At 1e-3 and 1e-7, as the suite's own loader says where a case does not."""
    path = os.path.join(folder, "model.onnx")
    session = ort.InferenceSession(path)
    graph = onnx.load(path).graph
    initializers = {tensor.name for tensor in graph.initializer}
    inputs = [info for info in graph.input if info.name not in initializers]
    for data in sorted(glob.glob(f"{folder}/test_data_set_*")):
        feed = {
            info.name: read(f"{data}/input_{index}.pb", info)
            for index, info in enumerate(inputs)
            if os.path.exists(f"{data}/input_{index}.pb")
        }
        for index, got in enumerate(session.run(None, feed)):
            want = read(f"{data}/output_{index}.pb", graph.output[index])
            same(got, want, 1e-3, 1e-7)


@pytest.mark.parametrize("path", light_models(), ids=os.path.basename)
def test_light_model(path):
    """The wheel ships no inputs for these: the suite feeds what its own runner feeds."""
    session = ort.InferenceSession(path)
    (info,) = session.get_inputs()
    shape = [dim if isinstance(dim, int) else 1 for dim in info.shape]
    count = int(np.prod(shape))
    data = (np.arange(count).reshape(shape) / count).astype(np.float32)
    (got,) = session.run(None, {info.name: data})
    want = os.path.join(DATA, "light", os.path.basename(path))[:-5] + "_output_0.pb"
    same(got, read(want, onnx.load(path).graph.output[0]), 1e-3, 1e-7)
