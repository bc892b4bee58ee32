"""Calls of the operators that ONNX has no node case of."""

TEMPLATES = {}
