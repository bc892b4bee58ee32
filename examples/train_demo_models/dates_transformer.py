"""Train the demo's character transformer, which reads dates, and write it as ONNX."""

from __future__ import annotations

import argparse
import json
import random
from datetime import date
from pathlib import Path

import dates
import numpy as np
import onnx
import onnx_file
import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS = 2
HEADS = 4
WIDTH = 64
STEPS = 1200
BATCH = 128
TEST_SIZE = 1000


class Block(nn.Module):
    """Causal self-attention and a two-layer perceptron, each behind a LayerNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH)
        self.queries_keys_values = nn.Linear(WIDTH, 3 * WIDTH)
        self.projection = nn.Linear(WIDTH, WIDTH)
        self.before_perceptron = nn.LayerNorm(WIDTH)
        self.perceptron = nn.Sequential(
            nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH)
        )

    def forward(self, state: Tensor) -> Tensor:
        batch, sequence, _ = state.shape
        mixed = self.queries_keys_values(self.before_attention(state))
        heads = mixed.view(batch, sequence, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = heads.permute(2, 0, 3, 1, 4).unbind()
        attended = functional.scaled_dot_product_attention(
            queries, keys, values, is_causal=True
        )
        joined = attended.transpose(1, 2).reshape(batch, sequence, WIDTH)
        state = state + self.projection(joined)
        return state + self.perceptron(self.before_perceptron(state))


class DatesTransformer(nn.Module):
    """A decoder over characters; about 113,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.characters = nn.Embedding(len(dates.CHARACTERS), WIDTH)
        self.positions = nn.Embedding(dates.CONTEXT, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.last = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(dates.CHARACTERS), bias=False)
        nn.init.normal_(self.characters.weight, std=0.1)
        nn.init.normal_(self.positions.weight, std=0.1)

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1], device=tokens.device)
        state = self.characters(tokens) + self.positions(places)
        return self.head(self.last(self.blocks(state)))


def train(days: list[date]) -> DatesTransformer:
    """Fit for a fixed number of steps; the test days play no part in any choice."""
    model, rng = DatesTransformer(), random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
    for step in range(1, STEPS + 1):
        tokens, targets = _batch(rng.choices(days, k=BATCH), rng)
        logits = model(tokens)
        loss = functional.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=-1
        )
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step}: loss {loss.item():.4f}", flush=True)
    return model.eval()


def _batch(days: list[date], rng: random.Random) -> tuple[Tensor, Tensor]:
    """Return tokens and what follows each; -1 where the answer has not begun."""
    questions = [dates.spell(day, rng) + dates.SEPARATOR for day in days]
    answers = [day.isoformat() + dates.END for day in days]
    texts = [ask + answer for ask, answer in zip(questions, answers, strict=True)]
    tokens = torch.from_numpy(dates.encode(texts, max(map(len, texts))))
    targets = torch.full_like(tokens, -1)
    for row, question, text in zip(range(len(texts)), questions, texts, strict=True):
        answer = slice(len(question) - 1, len(text) - 1)
        targets[row, answer] = tokens[row, len(question) : len(text)]
    return tokens, targets


def export(model: DatesTransformer) -> onnx.ModelProto:
    """Export with a free batch and sequence, the whole context at every step."""
    batch = torch.export.Dim("batch")
    sequence = torch.export.Dim("sequence", max=dates.CONTEXT)
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 32, dtype=torch.int64),),
        input_names=["tokens"],
        output_names=["logits"],
        dynamic_shapes=({0: batch, 1: sequence},),
        opset_version=onnx_file.OPSET,
        verbose=False,
    )
    return program.model_proto


def metadata(accuracy: float) -> dict[str, object]:
    """Return what the demo reads from the model."""
    return {
        "task": "text-completion",
        "accuracy": f"{accuracy:.4f}",
        "labels": list(dates.CHARACTERS),
        "test_set": "dates_test.json",
        "test_size": TEST_SIZE,
        "context": dates.CONTEXT,
        "separator": dates.SEPARATOR,
        "end": dates.END,
        "license": "model and data Apache-2.0",
    }


def held_out(days: list[date]) -> tuple[list[str], list[str]]:
    """Return texts and answers of days that training never saw."""
    rng = random.Random(1)
    chosen = days[:TEST_SIZE]
    return [dates.spell(day, rng) for day in chosen], [str(day) for day in chosen]


def write_test_set(texts: list[str], answers: list[str], folder: Path) -> None:
    """Write dates_test.json, one pair of text and answer a line."""
    folder.mkdir(parents=True, exist_ok=True)
    pairs = zip(texts, answers, strict=True)
    lines = ",\n".join(json.dumps(pair) for pair in pairs)
    (folder / "dates_test.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("core/runtime/demo"))
    folder = parser.parse_args().output
    torch.manual_seed(0)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    train_days, test_days = dates.days()
    model = train(train_days)
    texts, answers = held_out(test_days)

    def in_torch(tokens: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(tokens)).numpy()

    accuracy = _share(dates.complete(in_torch, texts), answers)
    path = folder / "dates_transformer.onnx"
    sentence = "A small character transformer that rewrites dates as ISO 8601 does."
    onnx_file.write(export(model), path, sentence, metadata(accuracy))
    write_test_set(texts, answers, folder)
    session = onnx_file.session(path)

    def in_peer(tokens: np.ndarray) -> np.ndarray:
        return session.run(None, {"tokens": tokens})[0]

    for count, width in ((1, 1), (3, 17), (2, dates.CONTEXT)):
        tokens = dates.encode(texts[:count], dates.CONTEXT)[:, :width]
        onnx_file.agree(in_peer(tokens), in_torch(tokens))
    exported = _share(dates.complete(in_peer, texts), answers)
    print(f"test exact match: torch {accuracy:.4f}, onnxruntime {exported:.4f}")


def _share(found: list[str], expected: list[str]) -> float:
    return float(np.mean([a == b for a, b in zip(found, expected, strict=True)]))


if __name__ == "__main__":
    main()
