"""Whole models, divided between the provider under test and the host's."""

from __future__ import annotations

import os
from typing import Any

import pytest

from runtime.testing import networks
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


_NETWORKS: dict[str, tuple[bytes, list[dict[str, Any]]]] = {
    "convolutional": (
        networks.convolutional(),
        [networks.images(*size) for size in ((2, 32, 32), (1, 32, 32), (3, 48, 40))],
    ),
    "transformer": (
        networks.transformer(),
        [networks.texts(*size) for size in ((2, 9), (1, 1), (4, 30), (2, 9))],
    ),
}


@pytest.mark.parametrize("name", _NETWORKS)
def test_a_network_of_free_dims(subject: Subject, name: str) -> None:
    """Batches, image sizes and lengths may change from run to run."""
    made, feeds = _NETWORKS[name]
    opened, alone = subject.open(made), subject.alone(made)
    if not opened.owned and not opened.faults:
        pytest.skip("; ".join(opened.refusals) or "not claimed")
    for feed in feeds:
        close(opened(feed), alone(feed))
    assert not opened.faults, "; ".join(opened.faults)
