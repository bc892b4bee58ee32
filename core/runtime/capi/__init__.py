"""Where onnxruntime's clients import exceptions from."""
