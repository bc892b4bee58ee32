"""Small torch models with the topology of the real ones, written as plain modules."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

WIDTH, HEADS, LAYERS, VOCABULARY = 32, 4, 2, 101


class Block(nn.Module):
    """ResNet's bottleneck: 1×1, 3×3, 1×1 and a projected shortcut."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        return F.relu(self.bn3(self.conv3(y)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stem, four bottleneck blocks in two stages, pooled classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.blocks = nn.Sequential(
            Block(16, 8, 1), Block(32, 8, 1), Block(32, 16, 2), Block(64, 16, 1)
        )
        self.average = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(64, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.pool(F.relu(self.bn1(self.conv1(pixels))))
        return self.fc(torch.flatten(self.average(self.blocks(x)), 1))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """Return (batch, heads, sequence, head size) from (batch, sequence, channels)."""
    return x.view(x.size(0), x.size(1), heads, -1).permute(0, 2, 1, 3)


def merge_heads(x: Tensor) -> Tensor:
    """Undo `split_heads`."""
    x = x.permute(0, 2, 1, 3).contiguous()
    return x.view(x.size(0), x.size(1), WIDTH)


def eager_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attention spelled out, as Hugging Face's eager path does."""
    scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1))
    if mask is not None:
        scores = scores + mask
    return torch.matmul(scores.softmax(-1), v)


class BertLayer(nn.Module):
    """Post-norm encoder layer."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value, self.dense = (
            nn.Linear(WIDTH, WIDTH) for _ in range(4)
        )
        self.norm1, self.norm2 = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (split_heads(f(x), HEADS) for f in (self.query, self.key, self.value))
        x = self.norm1(self.dense(merge_heads(eager_attention(q, k, v, mask))) + x)
        return self.norm2(self.down(F.gelu(self.up(x))) + x)


class Bert(nn.Module):
    """Embeddings, two post-norm layers, pooler."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(64, WIDTH)
        self.types = nn.Embedding(2, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=1e-12)
        self.layers = nn.ModuleList(BertLayer() for _ in range(LAYERS))
        self.pooler = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("ids", torch.arange(64)[None])

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor
    ):
        where = self.ids[:, : input_ids.size(1)]
        x = self.words(input_ids) + self.types(token_type_ids) + self.positions(where)
        x = self.norm(x)
        mask = (1.0 - attention_mask[:, None, None, :].float()) * torch.finfo(
            x.dtype
        ).min
        for layer in self.layers:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler(x[:, 0]))


class Gpt2Layer(nn.Module):
    """Pre-norm decoder layer with fused qkv and the tanh Gelu."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.dense = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor, seen: Tensor, key: Tensor, value: Tensor):
        parts = self.qkv(self.norm1(x)).split(WIDTH, dim=2)
        q, k, v = (split_heads(part, HEADS) for part in parts)
        k, v = torch.cat((key, k), dim=-2), torch.cat((value, v), dim=-2)
        scores = torch.matmul(q, k.transpose(-1, -2)) / math.sqrt(q.size(-1))
        scores = torch.where(seen, scores, torch.finfo(scores.dtype).min)
        x = x + self.dense(merge_heads(torch.matmul(scores.softmax(-1), v)))
        return x + self.down(gelu_new(self.up(self.norm2(x)))), k, v


def gelu_new(x: Tensor) -> Tensor:
    """GPT-2's Gelu, spelled out as in Hugging Face's NewGELUActivation."""
    inner = math.sqrt(2.0 / math.pi) * (x + 0.044715 * torch.pow(x, 3.0))
    return 0.5 * x * (1.0 + torch.tanh(inner))


class Gpt2(nn.Module):
    """A decoder with past keys and values as inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(64, WIDTH)
        self.layers = nn.ModuleList(Gpt2Layer() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)

    def forward(self, input_ids: Tensor, *past: Tensor):
        length = past[0].size(2)
        where = torch.arange(length, length + input_ids.size(1))
        x = self.words(input_ids) + self.positions(where[None])
        columns = torch.arange(length + input_ids.size(1))
        seen = (columns[None, :] <= where[:, None])[None, None]
        present = []
        for layer, key, value in zip(self.layers, past[::2], past[1::2], strict=True):
            x, key, value = layer(x, seen, key, value)
            present += [key, value]
        return self.head(self.norm(x)), *present


class RmsNorm(nn.Module):
    """Llama's RMSNorm, spelled out."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        y = x.to(torch.float32)
        y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * y.to(x.dtype)


def rotate_half(x: Tensor) -> Tensor:
    """Return the second half negated, then the first half."""
    half = x.shape[-1] // 2
    return torch.cat((-x[..., half:], x[..., :half]), dim=-1)


def repeat_kv(x: Tensor, times: int) -> Tensor:
    """Repeat each key/value head for the query heads it serves."""
    batch, heads, length, size = x.shape
    x = x[:, :, None, :, :].expand(batch, heads, times, length, size)
    return x.reshape(batch, heads * times, length, size)


class LlamaLayer(nn.Module):
    """Pre-norm decoder layer: rotary positions, grouped heads, SwiGLU."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = RmsNorm(), RmsNorm()
        self.query, self.dense = (nn.Linear(WIDTH, WIDTH, bias=False) for _ in "qo")
        self.key, self.value = (nn.Linear(WIDTH, WIDTH // 2, bias=False) for _ in "kv")
        self.gate, self.up = (nn.Linear(WIDTH, 2 * WIDTH, bias=False) for _ in "gu")
        self.down = nn.Linear(2 * WIDTH, WIDTH, bias=False)

    def forward(self, x, mask, cos, sin, key, value):
        y = self.norm1(x)
        q = split_heads(self.query(y), HEADS)
        k, v = (split_heads(f(y), HEADS // 2) for f in (self.key, self.value))
        q = q * cos + rotate_half(q) * sin
        k = k * cos + rotate_half(k) * sin
        k, v = torch.cat((key, k), dim=-2), torch.cat((value, v), dim=-2)
        y = eager_attention(q, repeat_kv(k, 2), repeat_kv(v, 2), mask)
        x = x + self.dense(merge_heads(y))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y)), k, v


class Llama(nn.Module):
    """A Llama-style decoder with past keys and values as inputs and outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, WIDTH)
        self.layers = nn.ModuleList(LlamaLayer() for _ in range(LAYERS))
        self.norm = RmsNorm()
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        size = WIDTH // HEADS
        self.register_buffer("rate", 1e4 ** (-torch.arange(0, size, 2).float() / size))

    def forward(self, input_ids: Tensor, position_ids: Tensor, *past: Tensor):
        x = self.words(input_ids)
        angles = position_ids[:, :, None].float() * self.rate
        angles = torch.cat((angles, angles), dim=-1)[:, None]
        total = past[0].size(2) + input_ids.size(1)
        hidden = torch.arange(total)[None, None] > position_ids[:, :, None]
        mask = hidden[:, None].to(x.dtype) * torch.finfo(x.dtype).min
        present = []
        for layer, key, value in zip(self.layers, past[::2], past[1::2], strict=True):
            x, key, value = layer(x, mask, angles.cos(), angles.sin(), key, value)
            present += [key, value]
        return self.head(self.norm(x)), *present


class ViTLayer(nn.Module):
    """Pre-norm encoder layer over fused qkv and the fused attention function."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.dense = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, length, 3, HEADS, width // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v)
        x = x + self.dense(y.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class ViT(nn.Module):
    """Patches, class token, two layers, classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, 8, 8)
        self.token = nn.Parameter(torch.randn(1, 1, WIDTH))
        self.positions = nn.Parameter(torch.randn(1, 17, WIDTH))
        self.layers = nn.Sequential(*(ViTLayer() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, pixels: Tensor) -> Tensor:
        x = self.patches(pixels).flatten(2).transpose(1, 2)
        x = torch.cat((self.token.expand(x.shape[0], -1, -1), x), dim=1)
        return self.head(self.norm(self.layers(x + self.positions))[:, 0])


class Residual(nn.Module):
    """U-Net's residual block, conditioned on the time embedding."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(4, inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.time = nn.Linear(WIDTH, outputs)
        self.norm2 = nn.GroupNorm(4, outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        y = self.conv1(F.silu(self.norm1(x)))
        y = y + self.time(F.silu(time))[:, :, None, None]
        return self.shortcut(x) + self.conv2(F.silu(self.norm2(y)))


class SpatialAttention(nn.Module):
    """Single-head self-attention over the pixels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(4, width)
        self.query, self.key, self.value, self.dense = (
            nn.Linear(width, width) for _ in range(4)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, width, height, breadth = x.shape
        y = self.norm(x).view(batch, width, height * breadth).transpose(1, 2)
        q, k, v = (f(y)[:, None] for f in (self.query, self.key, self.value))
        y = self.dense(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + y.transpose(1, 2).reshape(batch, width, height, breadth)


class UNet(nn.Module):
    """One level down, attention in the middle, one level up with a skip."""

    def __init__(self) -> None:
        super().__init__()
        self.time = nn.Sequential(
            nn.Linear(16, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)
        )
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.down1 = Residual(16, 16)
        self.shrink = nn.Conv2d(16, 16, 3, 2, 1)
        self.down2 = Residual(16, WIDTH)
        self.attention = SpatialAttention(WIDTH)
        self.grow = nn.Conv2d(WIDTH, 16, 3, padding=1)
        self.up = Residual(32, 16)
        self.norm, self.head = nn.GroupNorm(4, 16), nn.Conv2d(16, 3, 3, padding=1)
        self.register_buffer("rate", torch.exp(-math.log(1e4) / 8 * torch.arange(8)))

    def forward(self, sample: Tensor, timestep: Tensor) -> Tensor:
        angles = timestep[:, None].float() * self.rate
        time = self.time(torch.cat((angles.sin(), angles.cos()), dim=-1))
        skip = self.down1(self.stem(sample), time)
        x = self.attention(self.down2(self.shrink(skip), time))
        x = self.grow(F.interpolate(x, scale_factor=2.0, mode="nearest"))
        x = self.up(torch.cat((x, skip), dim=1), time)
        return self.head(F.silu(self.norm(x)))
