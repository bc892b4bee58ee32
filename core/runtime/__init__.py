"""An ONNX runtime whose execution providers are plugins: ``import runtime as ort``."""
