"""The exported models as test cases: feeds, dynamic axes, export by either exporter."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import exported
import numpy as np
import torch
from exported import HEADS, LAYERS, VOCABULARY, WIDTH
from torch import nn

Feeds = dict[str, np.ndarray]


@dataclass(frozen=True)
class Twin:
    """A torch model with what it takes to export and to run it.

    ``axes`` names the dynamic dims of inputs, in order. ``sizes`` are several values
    of those dims; the first is the one that the exporter sees. ``raised`` says how many
    nodes of each function operator the simplified graph must hold.
    """

    module: Callable[[], nn.Module]
    feeds: Callable[..., Feeds]
    axes: Mapping[str, Mapping[int, str]]
    outputs: tuple[str, ...]
    sizes: tuple[Mapping[str, int], ...]
    raised: Mapping[str, int] = field(default_factory=dict)


def _pixels(edge: int) -> Callable[..., Feeds]:
    def feeds(batch: int, height: int = edge, width: int = edge) -> Feeds:
        r = np.random.default_rng(0)
        return {"pixels": r.standard_normal((batch, 3, height, width), np.float32)}

    return feeds


def _bert(batch: int, sequence: int) -> Feeds:
    r = np.random.default_rng(0)
    lengths = r.integers(1, sequence + 1, batch)
    return {
        "input_ids": r.integers(0, VOCABULARY, (batch, sequence)),
        "attention_mask": (np.arange(sequence) < lengths[:, None]).astype(np.int64),
        "token_type_ids": r.integers(0, 2, (batch, sequence)),
    }


def _past(heads: int, batch: int, past: int) -> Feeds:
    r = np.random.default_rng(1)
    shape = (batch, heads, past, WIDTH // HEADS)
    names = [f"past_{i}_{part}" for i in range(LAYERS) for part in ("key", "value")]
    return {name: r.standard_normal(shape, np.float32) for name in names}


def _gpt2(batch: int, sequence: int, past: int) -> Feeds:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (batch, sequence))
    return {"input_ids": ids, **_past(HEADS, batch, past)}


def _llama(batch: int, sequence: int, past: int) -> Feeds:
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (batch, sequence))
    where = np.arange(past, past + sequence)[None].repeat(batch, 0)
    kv = _past(HEADS // 2, batch, past)
    return {"input_ids": ids, "position_ids": where, **kv}


def _unet(batch: int, height: int, width: int) -> Feeds:
    r = np.random.default_rng(0)
    return {
        "sample": r.standard_normal((batch, 3, height, width), np.float32),
        "timestep": r.integers(0, 1000, batch),
    }


_TEXT = {0: "batch", 1: "sequence"}
_IMAGE = {0: "batch", 2: "height", 3: "width"}
_PAST = {name: {0: "batch", 2: "past"} for name in _past(1, 1, 1)}
_PRESENT = tuple(name.replace("past", "present") for name in _PAST)

TWINS = {
    "resnet": Twin(
        exported.ResNet,
        _pixels(32),
        {"pixels": _IMAGE},
        ("logits",),
        (
            {"batch": 2, "height": 64, "width": 48},
            {"batch": 1, "height": 32, "width": 32},
            {"batch": 3, "height": 40, "width": 56},
        ),
    ),
    "bert": Twin(
        exported.Bert,
        _bert,
        dict.fromkeys(("input_ids", "attention_mask", "token_type_ids"), _TEXT),
        ("last_hidden_state", "pooler_output"),
        (
            {"batch": 2, "sequence": 7},
            {"batch": 1, "sequence": 16},
            {"batch": 3, "sequence": 33},
        ),
        {"LayerNormalization": 2 * LAYERS + 1, "Gelu": LAYERS, "Attention": LAYERS},
    ),
    "gpt2": Twin(
        exported.Gpt2,
        _gpt2,
        {"input_ids": _TEXT, **_PAST},
        ("logits", *_PRESENT),
        (
            {"batch": 2, "sequence": 3, "past": 5},
            {"batch": 1, "sequence": 6, "past": 0},
            {"batch": 3, "sequence": 2, "past": 9},
        ),
        {"LayerNormalization": 2 * LAYERS + 1, "Gelu": LAYERS, "Attention": LAYERS},
    ),
    "llama": Twin(
        exported.Llama,
        _llama,
        {"input_ids": _TEXT, "position_ids": _TEXT, **_PAST},
        ("logits", *_PRESENT),
        (
            {"batch": 2, "sequence": 3, "past": 5},
            {"batch": 1, "sequence": 6, "past": 0},
            {"batch": 3, "sequence": 2, "past": 9},
        ),
        {
            "RMSNormalization": 2 * LAYERS + 1,
            "RotaryEmbedding": 2 * LAYERS,
            "Attention": LAYERS,
        },
    ),
    "vit": Twin(
        exported.ViT,
        _pixels(32),
        {"pixels": {0: "batch"}},
        ("logits",),
        ({"batch": 2}, {"batch": 1}, {"batch": 5}),
        {"LayerNormalization": 2 * LAYERS + 1, "Gelu": LAYERS, "Attention": LAYERS},
    ),
    "unet": Twin(
        exported.UNet,
        _unet,
        {"sample": _IMAGE, "timestep": {0: "batch"}},
        ("noise",),
        (
            {"batch": 2, "height": 12, "width": 16},
            {"batch": 1, "height": 8, "width": 8},
            {"batch": 3, "height": 16, "width": 10},
        ),
        {"Attention": 1},
    ),
}


@functools.cache
def module(name: str) -> nn.Module:
    """Return a seeded model in inference mode with statistics other than 0 and 1."""
    torch.manual_seed(0)
    built = TWINS[name].module()
    for part in built.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.1)
            nn.init.uniform_(part.running_var, 0.5, 1.5)
        if isinstance(part, (nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.normal_(part.bias, std=0.1)
    return built.eval()


def expected(name: str, feeds: Feeds) -> list[np.ndarray]:
    """Return what torch itself answers."""
    with torch.no_grad():
        found = module(name)(*(torch.from_numpy(x) for x in feeds.values()))
    return [x.numpy() for x in (found if isinstance(found, tuple) else (found,))]


@functools.cache
def export(name: str, exporter: str, opset: int) -> bytes:
    """Return the model file that one of torch's exporters writes."""
    twin = TWINS[name]
    feeds = twin.feeds(**twin.sizes[0])
    arguments = tuple(torch.from_numpy(x) for x in feeds.values())
    options = {
        "input_names": list(feeds),
        "output_names": list(twin.outputs),
        "opset_version": opset,
    }
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        if exporter == "dynamo":
            return _dynamo(module(name), arguments, twin, options)
        return _torchscript(module(name), arguments, twin, options)


def _torchscript(
    model: nn.Module, arguments: tuple, twin: Twin, options: dict
) -> bytes:
    file = io.BytesIO()
    axes = {name: dict(dims) for name, dims in twin.axes.items()}
    torch.onnx.export(
        model, arguments, file, dynamo=False, dynamic_axes=axes, **options
    )
    return file.getvalue()


def _dynamo(model: nn.Module, arguments: tuple, twin: Twin, options: dict) -> bytes:
    symbols = {symbol for axes in twin.axes.values() for symbol in axes.values()}
    dims = {symbol: torch.export.Dim(symbol) for symbol in symbols}
    shapes = {
        name: {axis: dims[symbol] for axis, symbol in axes.items()}
        for name, axes in twin.axes.items()
    }
    plain = [shape for name, shape in shapes.items() if name not in _PAST]
    past = [shape for name, shape in shapes.items() if name in _PAST]
    program = torch.onnx.export(
        model,
        arguments,
        dynamo=True,
        dynamic_shapes=(*plain, tuple(past)) if past else tuple(plain),
        **options,
    )
    return program.model_proto.SerializeToString()
