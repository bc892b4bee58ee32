"""Whole models, divided between the provider under test and the host's."""

from __future__ import annotations

import os

import onnx
import pytest

from runtime.testing.cases import (
    folder_feeds,
    light_feed,
    light_models,
    model_folders,
    same,
)
from runtime.testing.fixtures import close
from runtime.testing.subject import Subject


@pytest.mark.parametrize("folder", model_folders(), ids=os.path.basename)
def test_a_model_with_data(subject: Subject, folder: str) -> None:
    """The models that the onnx wheel ships with data give that data."""
    opened = subject.open(os.path.join(folder, "model.onnx"))
    if not opened.owned and not opened.faults:
        pytest.skip("; ".join(opened.refusals) or "no node is left to run")
    for feed, wants in folder_feeds(folder):
        for got, want in zip(opened(feed), wants, strict=True):
            same(got, want, 1e-3, 1e-5)
    assert not opened.faults, "; ".join(opened.faults)


@pytest.mark.parametrize("path", light_models(), ids=os.path.basename)
def test_a_real_architecture(subject: Subject, path: str) -> None:
    """Real architectures, whose weights the models make themselves, agree."""
    opened = subject.open(path)
    if not opened.owned and not opened.faults:
        pytest.skip("; ".join(opened.refusals) or "no node is left to run")
    feed, (want,) = light_feed(path)
    (got,) = opened(feed)
    same(got, want, 1e-3, 1e-5)
    assert not opened.faults, "; ".join(opened.faults)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("path", light_models()[:2], ids=os.path.basename)
def test_a_real_architecture_by_batches(
    subject: Subject, path: str, batch: int
) -> None:
    """A free batch dim costs nothing but time: results are the host's, row by row."""
    proto = onnx.load(path)
    (info,) = [
        i for i in proto.graph.input
        if i.name not in {t.name for t in proto.graph.initializer}
    ]  # fmt: skip
    for value in (info, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    del proto.graph.value_info[:]
    feed, _ = light_feed(path)
    wide = {name: array.repeat(batch, 0) for name, array in feed.items()}
    model = proto.SerializeToString()
    opened = subject.open(model)
    if not opened.owned:
        pytest.skip("; ".join(opened.refusals) or "not claimed")
    close(opened(wide), subject.alone(model)(wide))
    assert not opened.faults, "; ".join(opened.faults)
