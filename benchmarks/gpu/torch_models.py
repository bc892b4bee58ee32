"""The zoo's architectures in torch, compiled with max-autotune; weights are random."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

DTYPES = {
    "fp32": torch.float32,
    "tf32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
VISION = {
    "resnet50": "resnet50",
    "mobilenet_v2": "mobilenet_v2",
    "convnext": "convnext_tiny",
    "vit": "vit_b_16",
}
"""torchvision's names of the same architectures."""


class Block(nn.Module):
    """A layer of BERT, or with ``before`` of GPT-2 with a past."""

    def __init__(self, width: int, heads: int, before: bool) -> None:
        super().__init__()
        self.heads, self.before = heads, before
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])

    def attend(self, x: Any, mask: Any, past: Any) -> tuple[Any, Any]:
        """Attend to the past, if any, and to x."""
        batch, length, width = x.shape
        parts = self.qkv(x).view(batch, length, 3, self.heads, -1).unbind(2)
        q, k, v = (part.transpose(1, 2) for part in parts)
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out(y.transpose(1, 2).reshape(batch, length, width)), (k, v)

    def forward(self, x: Any, mask: Any, past: Any = None) -> tuple[Any, Any]:
        """Return the layer's result, and keys and values."""
        how = "tanh" if self.before else "none"
        first, second = self.norms
        if self.before:
            y, kept = self.attend(first(x), mask, past)
            x = x + y
            y = self.down(functional.gelu(self.up(second(x)), approximate=how))
            return x + y, kept
        y, kept = self.attend(x, mask, past)
        x = first(x + y)
        y = self.down(functional.gelu(self.up(x), approximate=how))
        return second(x + y), kept


class Transformer(nn.Module):
    """BERT base, or GPT-2 with past keys and values as inputs and outputs."""

    def __init__(self, vocabulary: int, decodes: bool, layers: int) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, 768)
        self.places = nn.Embedding(1024, 768)
        self.layers = nn.ModuleList(Block(768, 12, decodes) for _ in range(layers))
        self.norm = nn.LayerNorm(768)
        self.head = nn.Linear(768, vocabulary, bias=False) if decodes else None

    def forward(self, ids: Any, places: Any, mask: Any, *pasts: Any) -> Any:
        """Return hidden states, or logits with all keys and values."""
        x, kept = self.words(ids) + self.places(places), []
        if self.head is None:
            x = self.norm(x)
        for i, layer in enumerate(self.layers):
            past = (pasts[2 * i], pasts[2 * i + 1]) if pasts else None
            x, both = layer(x, mask, past)
            kept += both
        return x if self.head is None else (self.head(self.norm(x)), *kept)


class Compiled:
    """A model with inputs, run through ``torch.compile``."""

    mode = "max-autotune"

    def __init__(self, name: str, batch: int, precision: str, dry: bool) -> None:
        torch.manual_seed(0)
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cudnn.benchmark = True
        self._device = "cpu" if dry else "cuda"
        dtype = DTYPES[precision]
        model, inputs = _made(name, batch, dry)
        self._model = model.eval().to(self._device, dtype)
        self._inputs = [
            each.to(self._device, dtype if each.is_floating_point() else each.dtype)
            for each in inputs
        ]
        if name in VISION:
            last = {"memory_format": torch.channels_last}
            self._model = self._model.to(**last)
            self._inputs = [each.contiguous(**last) for each in self._inputs]
        self._call = self._model if dry else torch.compile(self._model, mode=self.mode)
        for _ in range(4):
            self.run()

    def run(self) -> None:
        """Run once, and wait."""
        with torch.inference_mode():
            self._call(*self._inputs)
        if self._device == "cuda":
            torch.cuda.synchronize()

    def outputs(self) -> list[np.ndarray]:
        """Return nothing: weights are other ones, so that there is nothing to compare."""
        return []


def _made(name: str, batch: int, dry: bool) -> tuple[Any, list[Any]]:
    if name in VISION:
        from torchvision import models

        side = 64 if dry and name != "vit" else 224
        model = models.get_model(VISION[name], weights=None)
        return model, [torch.randn(batch, 3, side, side)]
    layers = 2 if dry else 12
    if name == "bert_base":
        shape = (batch, 128)
        inputs = [torch.randint(0, 30522, shape), torch.arange(128).expand(shape)]
        return Transformer(30522, False, layers), [
            *inputs,
            torch.zeros(batch, 1, 1, 128),
        ]
    if name == "gpt2_decode":
        past = [torch.randn(batch, 12, 128, 64) for _ in range(2 * layers)]
        inputs = [torch.randint(0, 50257, (batch, 1)), torch.full((batch, 1), 128)]
        model = Transformer(50257, True, layers)
        return model, [*inputs, torch.zeros(batch, 1, 1, 129), *past]
    raise RuntimeError(f"there is no {name} in torch here")
