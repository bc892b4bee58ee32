"""Scikit-learn's handwritten digits, cut once and for all into training and test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SCALE = 16  # the images hold 0 to 16; the models take 0 to 1
LABELS = [str(digit) for digit in range(10)]


@dataclass(frozen=True)
class Split:
    """Images as uint8 (count, 8, 8) in 0 to 16, and their digits."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load() -> Split:
    """Return the one split that both digit models are trained and judged on."""
    data = load_digits()
    images, labels = data.images.astype(np.uint8), data.target.astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images, labels, test_size=450, stratify=labels, random_state=0
    )
    return Split(train_images, train_labels, test_images, test_labels)


def as_input(images: np.ndarray) -> np.ndarray:
    """Turn uint8 (count, 8, 8) into the float32 (count, 1, 8, 8) the models take."""
    return images[:, np.newaxis].astype(np.float32) / SCALE


def write_test_set(split: Split, folder: Path) -> None:
    """Write the held-out images, which no demo model has seen, as digits_test.npz."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        folder / "digits_test.npz",
        images=split.test_images,
        labels=split.test_labels,
        scale=np.uint8(SCALE),
    )


def metadata(accuracy: float, images: int) -> dict[str, object]:
    """Return what the demo reads from either digit model."""
    return {
        "task": "image-classification",
        "accuracy": f"{accuracy:.4f}",
        "labels": LABELS,
        "test_set": "digits_test.npz",
        "test_size": images,
        "input_scale": SCALE,
        "license": "model Apache-2.0; data CC BY 4.0, doi.org/10.24432/C50P49",
    }
