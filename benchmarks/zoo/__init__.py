"""Models written from scratch with the topology, and the spelling, of real exports.

``ZOO[name].build("tiny")`` gives a small twin for tests, ``build("full")`` the real
size for benchmarks, both with seeded random weights; nothing is downloaded. Most come
in two spellings, that of torch's TorchScript exporter and that of its dynamo exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import onnx

from . import (
    audio,
    bert,
    convnext,
    detector,
    efficientnet,
    gpt2,
    gru,
    llama,
    lstm,
    mlp,
    mobilenet,
    resnet,
    unet,
    video,
    vit,
    whisper,
)

__all__ = ["ZOO", "Entry"]

Dims = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Entry:
    """One model.

    ``build(size, spelling=…, opset=…, seed=…, **config)`` writes it.
    ``feeds(size, seed=…, **dims)`` gives inputs for chosen symbolic dims.
    ``dims`` names the symbolic dims of each size, with values worth running.
    """

    description: str
    build: Callable[..., onnx.ModelProto]
    feeds: Callable[..., dict[str, np.ndarray]]
    dims: Mapping[str, Dims]

    def cases(self, size: str = "tiny") -> list[dict[str, int]]:
        """Return several assignments of the symbolic dims, the typical one first."""
        names = self.dims[size]
        return [
            dict(zip(names, values, strict=True))
            for values in zip(*names.values(), strict=True)
        ]

    def spelled(self, spelling: str, opset: int = 0, **config: object) -> Entry:
        """Return the same model in another spelling, opset or configuration."""
        build = partial(self.build, spelling=spelling, opset=opset, **config)
        words = f"{self.description}; {spelling}, opset {opset or 'usual'}"
        return replace(self, build=build, description=words)

    def resized(self, words: str, **config: object) -> Entry:
        """Return the same model with other sizes, which its inputs do not show."""
        description = f"{self.description}, {words}"
        build = partial(self.build, **config)
        return replace(self, build=build, description=description)

    def configured(self, **config: object) -> Entry:
        """Return the same model in another configuration, with inputs that fit."""
        build, feeds = partial(self.build, **config), partial(self.feeds, **config)
        return replace(self, build=build, feeds=feeds)


BATCH: Dims = {"batch": (1, 2, 5)}
PIXELS: Dims = {"batch": (1, 2, 3), "height": (64, 96, 32), "width": (64, 64, 96)}
IMAGES = {"tiny": PIXELS, "full": {"batch": (1, 4, 8)}}
ROWS = {"tiny": BATCH, "full": {"batch": (1, 4, 8)}}
CLIPS = {
    "tiny": {"batch": (1, 2, 3), "samples": (400, 301, 230)},
    "full": {"batch": (1, 1, 8), "samples": (16000, 48000, 16000)},
}
TEXT = {
    "tiny": {"batch": (1, 2, 3), "sequence": (8, 5, 16)},
    "full": {"batch": (1, 1, 4), "sequence": (128, 16, 64)},
}
TAGGED = {
    "tiny": TEXT["tiny"],
    "full": {"batch": (1, 8, 1), "sequence": (128, 32, 16)},
}
SPOKEN = {
    "tiny": {"batch": (1, 2, 3), "frames": (8, 5, 16)},
    "full": {"batch": (1, 8, 1), "frames": (98, 98, 20)},
}
DECODER = {
    "tiny": {"batch": (1, 2, 3), "sequence": (5, 1, 4), "past": (0, 7, 3)},
    "full": {"batch": (1, 1, 4), "sequence": (32, 1, 1), "past": (0, 128, 32)},
}
DIFFUSION = {
    "tiny": {
        "batch": (1, 2, 3),
        "height": (8, 12, 16),
        "width": (8, 8, 10),
        "words": (5, 7, 1),
    },
    "full": {
        "batch": (1, 2, 8),
        "height": (64, 32, 32),
        "width": (64, 32, 32),
        "words": (77, 77, 77),
    },
}
DETECTION = {
    "tiny": PIXELS,
    "full": {"batch": (1, 1, 8), "height": (640, 320, 320), "width": (640, 640, 320)},
}


def _kind(module: object, kind: str, words: str, dims: Mapping[str, Dims]) -> Entry:
    return Entry(
        words,
        partial(module.build, kind),  # type: ignore[attr-defined]
        partial(module.feeds, kind),  # type: ignore[attr-defined]
        dims,
    )


ZOO: dict[str, Entry] = {
    "resnet18": _kind(resnet, "resnet18", "ResNet-18", IMAGES),
    "resnet50": _kind(resnet, "resnet50", "ResNet-50", IMAGES),
    "mobilenet_v2": Entry("MobileNetV2", mobilenet.build, mobilenet.feeds, IMAGES),
    "mobilenet_v3": _kind(efficientnet, "mobilenet_v3", "MobileNetV3-Large", IMAGES),
    "efficientnet": _kind(efficientnet, "efficientnet", "EfficientNet-B0", IMAGES),
    "convnext": Entry("ConvNeXt-T", convnext.build, convnext.feeds, IMAGES),
    "vit": Entry("ViT-B/16", vit.build, vit.feeds, ROWS),
    "bert_base": _kind(bert, "bert_base", "BERT base", TEXT),
    "minilm": _kind(bert, "minilm", "MiniLM-L6 with sentence embedding", TEXT),
    "distilbert": _kind(bert, "distilbert", "DistilBERT", TEXT),
    "gpt2": Entry("GPT-2 with past", gpt2.build, gpt2.feeds, DECODER),
    "llama": Entry("Llama-style, SmolLM-135M", llama.build, llama.feeds, DECODER),
    "whisper_encoder": Entry(
        "Whisper base, encoder", whisper.build_encoder, whisper.encoder_feeds, ROWS
    ),
    "whisper_decoder": Entry(
        "Whisper base, decoder with past",
        whisper.build_decoder,
        whisper.decoder_feeds,
        DECODER,
    ),
    "unet": Entry("U-Net of latent diffusion", unet.build, unet.feeds, DIFFUSION),
    "detector": Entry("YOLOv8n with NMS", detector.build, detector.feeds, DETECTION),
    "video": Entry("R3D-18", video.build, video.feeds, ROWS),
    "audio": Entry("wav2vec 2.0, feature encoder", audio.build, audio.feeds, CLIPS),
    "lstm": Entry("bidirectional LSTM tagger", lstm.build, lstm.feeds, TAGGED),
    "gru": Entry("GRU keyword spotter", gru.build, gru.feeds, SPOKEN),
    "mlp": Entry("perceptron", mlp.build, mlp.feeds, ROWS),
}

_VARIANTS = {
    "lstm_small": ZOO["lstm"].resized("hidden 64", width=64, hidden=64),
    "gru_small": ZOO["gru"].resized("hidden 32", hidden=32),
    "gru_large": ZOO["gru"].resized("hidden 384", hidden=384),
    "resnet18_batchnorm": ZOO["resnet18"].spelled("torchscript", batch_norm=True),
    "resnet50_dynamo": ZOO["resnet50"].spelled("dynamo"),
    "convnext_dynamo20": ZOO["convnext"].spelled("dynamo", 20),
    "vit_dynamo": ZOO["vit"].spelled("dynamo"),
    "vit_dynamo23": ZOO["vit"].spelled("dynamo", 23),
    "bert_base_opset17": ZOO["bert_base"].spelled("torchscript", 17),
    "bert_base_dynamo": ZOO["bert_base"].spelled("dynamo"),
    "minilm_dynamo20": ZOO["minilm"].spelled("dynamo", 20),
    "distilbert_dynamo": ZOO["distilbert"].spelled("dynamo"),
    "gpt2_dynamo": ZOO["gpt2"].spelled("dynamo"),
    "llama_dynamo": ZOO["llama"].spelled("dynamo"),
    "llama_dynamo23": ZOO["llama"].spelled("dynamo", 23),
    "whisper_encoder_dynamo": ZOO["whisper_encoder"].spelled("dynamo"),
    "whisper_decoder_dynamo": ZOO["whisper_decoder"].spelled("dynamo"),
    "unet_dynamo": ZOO["unet"].spelled("dynamo"),
    "unet_dynamo23": ZOO["unet"].spelled("dynamo", 23),
}
ZOO.update(_VARIANTS)
