"""Train the demo's gradient boosted trees on handwritten digits and write them as ONNX.

The trees take the same `image` input as the convolutional network, so that the demo can
put the same picture before both.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import digits
import numpy as np
import onnx
import onnx_file
from onnx import TensorProto, helper
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import GradientBoostingClassifier

ML_OPSET = 3


def train(features: np.ndarray, labels: np.ndarray) -> GradientBoostingClassifier:
    """Boost 80 rounds of ten small trees; cross-validation chose the settings."""
    model = GradientBoostingClassifier(
        n_estimators=80,
        max_leaf_nodes=8,
        max_features=8,
        learning_rate=0.2,
        random_state=0,
    )
    return model.fit(features, labels)


def export(model: GradientBoostingClassifier) -> onnx.ModelProto:
    """Convert to a TreeEnsembleClassifier behind a Flatten of the image."""
    converted = convert_sklearn(
        model,
        name="digits_trees",
        initial_types=[("pixels", FloatTensorType([None, 64]))],
        options={"zipmap": False},
        target_opset={"": onnx_file.OPSET, "ai.onnx.ml": ML_OPSET},
    )
    del converted.opset_import[:]  # the converter lowers them to the oldest that serve
    versions = (("", onnx_file.OPSET), ("ai.onnx.ml", ML_OPSET))
    converted.opset_import.extend(helper.make_opsetid(*pair) for pair in versions)
    graph = converted.graph
    for value, kind, shape in (
        (graph.input[0], TensorProto.FLOAT, (1, 8, 8)),
        (graph.output[0], TensorProto.INT64, ()),
        (graph.output[1], TensorProto.FLOAT, (10,)),
    ):
        tensor = helper.make_tensor_type_proto(kind, ("batch", *shape))
        value.type.CopyFrom(tensor)
    graph.input[0].name = "image"
    graph.node.insert(0, helper.make_node("Flatten", ["image"], ["pixels"], axis=1))
    return converted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("core/runtime/demo"))
    folder = parser.parse_args().output
    split = digits.load()
    image = digits.as_input(split.test_images)
    pixels = image.reshape(len(image), 64)
    model = train(
        digits.as_input(split.train_images).reshape(-1, 64), split.train_labels
    )
    accuracy = float(model.score(pixels, split.test_labels))
    path = folder / "digits_trees.onnx"
    onnx_file.write(
        export(model),
        path,
        "Gradient boosted trees that read handwritten digits of 8 by 8 pixels.",
        digits.metadata(accuracy, len(image)),
    )
    digits.write_test_set(split, folder)
    label, probabilities = onnx_file.session(path).run(None, {"image": image})
    onnx_file.agree(probabilities, model.predict_proba(pixels))
    exported = float(np.mean(label == split.test_labels))
    print(f"test accuracy: scikit-learn {accuracy:.4f}, onnxruntime {exported:.4f}")


if __name__ == "__main__":
    main()
