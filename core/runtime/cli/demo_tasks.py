"""The demo's three tasks: load a model, run it on unseen data, time it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from runtime.cli.arguments import Asked
from runtime.cli.timing import Times, measure
from runtime.explain import Placement

FOLDER = Path(__file__).parent.parent / "demo"
DATES = 24
"""How many dates are read: enough to see, quick on a slow machine."""

SLACK = 0.01
"""How much worse than in training still counts as the same: another order of adding."""


@dataclass(frozen=True, slots=True)
class Example:
    """One thing shown to a model: what it is, what it was taken for, and how surely."""

    given: Any
    expected: str
    found: str
    certainty: float | None = None

    @property
    def right(self) -> bool:
        """Whether the model was right."""
        return self.found == self.expected


@dataclass(frozen=True, slots=True)
class Task:
    """One model of the demo, and the function that runs it on its test data."""

    file: str
    title: str
    unit: str
    read: Callable[[Any, dict[str, str]], tuple[list[Example], dict[str, Any]]]


@dataclass(slots=True)
class Result:
    """What a task found; ``published`` is the accuracy measured when it was trained."""

    task: Task
    path: Path
    about: str
    examples: list[Example]
    published: float
    creation: float
    placement: Placement
    times: Times = field(default_factory=Times)

    @property
    def right(self) -> int:
        """How many examples were right."""
        return sum(example.right for example in self.examples)

    @property
    def total(self) -> int:
        """How many examples there were."""
        return len(self.examples)

    @property
    def accuracy(self) -> float:
        """The share that was right."""
        return self.right / self.total

    @property
    def as_trained(self) -> bool:
        """Whether the model does as well here as where it was trained."""
        return self.accuracy >= self.published - SLACK


def perform(task: Task, asked: Sequence[Asked]) -> Result:
    """Make a session, run the task's test data, then time one input at a time."""
    import runtime as ort
    from runtime.cli.sessions import import_engine, requests

    path = FOLDER / task.file
    import_engine(asked)
    began = time.perf_counter()
    session = ort.InferenceSession(str(path), providers=requests(asked))
    creation = time.perf_counter() - began
    meta = session.get_modelmeta()
    examples, single = task.read(session, meta.custom_metadata_map)
    published = float(meta.custom_metadata_map["accuracy"])
    result = Result(
        *(task, path, meta.description, examples, published, creation),
        session.explain(),
    )
    for _ in range(3):
        session.run(None, single)
    measure(lambda: session.run(None, single), 0.3, 20, 1, result.times)
    return result


def _digits(
    session: Any, facts: dict[str, str]
) -> tuple[list[Example], dict[str, Any]]:
    """Classify the held-out images, all at once."""
    with np.load(FOLDER / facts["test_set"]) as file:
        images, digits = file["images"], file["labels"]
    batch = images[:, None].astype(np.float32) / float(facts["input_scale"])
    [chances] = session.run(["probabilities"], {"image": batch})
    labels = json.loads(facts["labels"])
    examples = [
        Example(image, labels[digit], labels[row.argmax()], float(row.max()))
        for image, digit, row in zip(images, digits, chances, strict=True)
    ]
    return examples, {"image": batch[:1]}


def _dates(session: Any, facts: dict[str, str]) -> tuple[list[Example], dict[str, Any]]:
    """Complete each text by its date, the likeliest character at a time."""
    pairs = json.loads((FOLDER / facts["test_set"]).read_text(encoding="utf-8"))[:DATES]
    characters = json.loads(facts["labels"])
    code = {character: number for number, character in enumerate(characters)}
    texts = [text + facts["separator"] for text, _ in pairs]
    ends = np.array([len(text) for text in texts])
    length = len(pairs[0][1])
    tokens = np.full((len(texts), ends.max() + length), code[facts["end"]], np.int64)
    for row, text in zip(tokens, texts, strict=True):
        row[: len(text)] = [code[character] for character in text]
    rows = np.arange(len(texts))
    for step in range(length):
        [logits] = session.run(["logits"], {"tokens": tokens})
        tokens[rows, ends + step] = logits[rows, ends + step - 1].argmax(-1)
    examples = [
        Example(text, answer, "".join(characters[t] for t in row[end : end + length]))
        for (text, answer), row, end in zip(pairs, tokens, ends, strict=True)
    ]
    return examples, {"tokens": tokens[:1, : ends[0]]}


TASKS = (
    Task("digits_cnn.onnx", "convolutional network", "digits", _digits),
    Task("digits_trees.onnx", "boosted trees", "digits", _digits),
    Task("dates_transformer.onnx", "character transformer", "dates", _dates),
)
