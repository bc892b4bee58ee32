"""Train the demo's convolutional network on handwritten digits and write it as ONNX."""

from __future__ import annotations

import argparse
from pathlib import Path

import digits
import numpy as np
import onnx
import onnx_file
import torch
from torch import Tensor, nn

EPOCHS = 60
BATCH = 64


class DigitsCnn(nn.Module):
    """Three convolutions, two poolings and two dense layers; about 40,000 weights."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_convolution(1, 16),
            *_convolution(16, 32),
            nn.MaxPool2d(2),
            *_convolution(32, 64),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.classifier = nn.Sequential(
            nn.Linear(256, 64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10)
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classifier(self.features(image))
        return logits, torch.softmax(logits, dim=1)


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def train(images: Tensor, labels: Tensor) -> DigitsCnn:
    """Fit for a fixed number of epochs; the test set plays no part in any choice."""
    model = DigitsCnn()
    steps = EPOCHS * (len(images) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, steps)
    for epoch in range(EPOCHS):
        order = torch.randperm(len(images))[: len(images) // BATCH * BATCH]
        total = 0.0
        for rows in order.split(BATCH):
            logits, _ = model(_shifted(images[rows]))
            loss = nn.functional.cross_entropy(
                logits, labels[rows], label_smoothing=0.05
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * len(rows)
        if epoch % 10 == 9:
            print(f"epoch {epoch + 1}: loss {total / len(order):.4f}")
    return model.eval()


def _shifted(images: Tensor) -> Tensor:
    """Move a batch by up to one pixel each way, wrapping at the edges."""
    down, right = torch.randint(-1, 2, (2,)).tolist()
    return torch.roll(images, (down, right), (2, 3))


def export(model: DigitsCnn) -> onnx.ModelProto:
    """Export with a free batch dimension ; BatchNormalization is folded."""
    program = torch.onnx.export(
        model,
        (torch.zeros(2, 1, 8, 8),),
        input_names=["image"],
        output_names=["logits", "probabilities"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=onnx_file.OPSET,
        verbose=False,
    )
    return program.model_proto


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("core/runtime/demo"))
    folder = parser.parse_args().output
    torch.manual_seed(0)
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(True)
    split = digits.load()
    model = train(
        torch.from_numpy(digits.as_input(split.train_images)),
        torch.from_numpy(split.train_labels.astype(np.int64)),
    )
    image = digits.as_input(split.test_images)
    with torch.no_grad():
        expected = [output.numpy() for output in model(torch.from_numpy(image))]
    accuracy = float(np.mean(expected[0].argmax(1) == split.test_labels))
    path = folder / "digits_cnn.onnx"
    onnx_file.write(
        export(model),
        path,
        "A small convolutional network that reads handwritten digits of 8 by 8 pixels.",
        digits.metadata(accuracy, len(image)),
    )
    digits.write_test_set(split, folder)
    found = onnx_file.session(path).run(None, {"image": image})
    for mine, theirs in zip(found, expected, strict=True):
        onnx_file.agree(mine, theirs)
    exported = float(np.mean(found[0].argmax(1) == split.test_labels))
    print(f"test accuracy: torch {accuracy:.4f}, onnxruntime {exported:.4f}")


if __name__ == "__main__":
    main()
